"""Writes programs of this project as HLO; compile_for_tpu.py compiles them for TPUs.

    python benchmarks/dump_for_tpu.py FOLDER

The programs are those that one core runs: whole training steps of pre-training (small, base,
large), an evaluation step, and a training step of fine-tuning (base, one classification task).
"""

import os
import pathlib
import sys

import pretraining_step
import tensorflow as tf

from electra.finetune.model import FinetuningModel
from electra.finetune.step import FinetuningStep
from electra.optim.adamw import AdamW
from electra.pretrain import assembly
from electra.pretrain.evaluation import Evaluator
from electra.train.strategy import choose_placement


def main(folder):
    os.makedirs(folder, exist_ok=True)
    for name, (make, flags) in PROGRAMS.items():
        function, inputs = make(pretraining_step.options().parse_args(flags.split()))
        compiled = tf.function(function, jit_compile=True, autograph=False)
        text = compiled.experimental_get_compiler_ir(*inputs)(stage="hlo_serialized")
        path = os.path.join(folder, f"{name}.hlo")
        pathlib.Path(path).write_bytes(text)
        print(path, flush=True)


def training(args):
    config, placement, model, batch = _pretraining(args)
    optimizer = assembly.build_optimizer(config, model, compiled=False)
    step = assembly.build_step(config, model, optimizer, placement)
    return step._step, (batch, tf.constant(0, tf.int64))


def evaluation(args):
    config, placement, model, batch = _pretraining(args)
    slots = config.max_predictions_per_seq
    evaluator = Evaluator(model, placement, None, num_slots=slots, seed=0)

    def program(batch, index):
        return evaluator.compute(batch, index, args.batch_size)["sums"]

    return program, (batch, tf.constant(0, tf.int64))


def finetuning(args):
    config, _, _, batch = _pretraining(args)
    head = {"kind": "classification", "num_labels": 2}
    model = FinetuningModel(config.encoder, {"cola": head}, dtype="mixed_bfloat16")
    optimizer = AdamW(
        model.variables_by_path(),
        learning_rate=lambda step: 1e-4,
        weight_decay_rate=0.0,
        compiled=False,
    )
    step = FinetuningStep(model, optimizer, compile_step=True)
    zeros = tf.zeros((args.batch_size,), tf.int32)
    batch = {**batch, "task_id": zeros, "cola_label_ids": zeros}
    number = tf.constant(0, tf.int64)
    return step._step, (batch, number, number)


def _pretraining(args):
    config = pretraining_step.config_of(args)
    placement = choose_placement("one", precision=args.precision, xla=True)
    model = assembly.build_model(config, pretraining_step.VOCAB, placement.dtype)
    return config, placement, model, next(iter(pretraining_step.one_batch(args)))


_LONG = "--max_seq_length 512"
# name -> (function that makes it, flags of pretraining_step.py): what one core computes.
PROGRAMS = {
    "small": (training, "--model_size small --batch_size 128"),
    "base": (training, f"--model_size base --batch_size 32 {_LONG}"),
    "large": (training, f"--model_size large --batch_size 16 {_LONG} --recompute_layers"),
    "small-evaluation": (evaluation, "--model_size small --batch_size 128"),
    "base-finetuning": (finetuning, "--model_size base --batch_size 32"),
}

if __name__ == "__main__":
    main(*sys.argv[1:])
