"""Writes programs of this project as HLO; compile_for_tpu.py compiles them for TPUs.

    python benchmarks/dump_for_tpu.py FOLDER

The programs are those that one core runs: whole training steps of pre-training (small, base,
large), an evaluation step, and a training step of fine-tuning (base, one classification task).
"""

import os
import pathlib
import sys
import types

import pretraining_step
import tensorflow as tf

from electra.finetune.model import FinetuningModel
from electra.finetune.step import FinetuningStep
from electra.optim.adamw import AdamW
from electra.pretrain import assembly
from electra.pretrain.evaluation import Evaluator
from electra.train.strategy import choose_placement

# name -> sizes of a program: model_size, batch_size of one core, max_seq_length.
TRAINING = {
    "small": ("small", 128, 128),
    "base": ("base", 32, 512),
    "large, layers recomputed": ("large", 16, 512),
}
EVALUATION = {"small evaluation": ("small", 128, 128)}
FINETUNING = {"base fine-tuning": ("base", 32, 128)}


def main(folder):
    os.makedirs(folder, exist_ok=True)
    for programs, make in (
        (TRAINING, training),
        (EVALUATION, evaluation),
        (FINETUNING, finetuning),
    ):
        for name, sizes in programs.items():
            args = dict(zip(("model_size", "batch_size", "max_seq_length"), sizes, strict=True))
            function, inputs = make(types.SimpleNamespace(**args, precision="bfloat16"))
            compiled = tf.function(function, jit_compile=True, autograph=False)
            text = compiled.experimental_get_compiler_ir(*inputs)(stage="hlo_serialized")
            path = os.path.join(
                folder, f"{name.replace(' ', '_').replace(',', '')}_{sizes[1]}x{sizes[2]}.hlo"
            )
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
    config = config.replace(recompute_layers=args.model_size == "large")
    placement = choose_placement("one", precision=args.precision, xla=True)
    model = assembly.build_model(config, pretraining_step.VOCAB, placement.dtype)
    return config, placement, model, next(iter(pretraining_step.one_batch(args)))


if __name__ == "__main__":
    main(*sys.argv[1:])
