"""Builds the models of the official fine-tuning values."""

import dataclasses
import json

import numpy as np
import tensorflow as tf

from electra.finetune.model import FinetuningModel
from electra.finetune.readers import read_examples
from electra.finetune.tasks import get_task
from electra.model.config import encoder_config
from electra.train import checkpoints
from tests.shared import FIXTURES

FOLDER = FIXTURES / "finetune"
HEADS = FOLDER / "heads"
SENTENCE_HEADS = {
    "chunk": {"kind": "tagging", "num_labels": 25},
    "cola": {"kind": "classification", "num_labels": 2},
    "mnli": {"kind": "classification", "num_labels": 3},
    "sts": {"kind": "regression"},
}
QA_HPARAMS = ("joint_prediction", "answerable_classifier", "answerable_uses_start_logits")


def values_of(name):
    return json.loads((FOLDER / name).read_text())


def qa_arguments(hparams):
    return {k: v for k, v in hparams.items() if k in QA_HPARAMS}


def load_model(hparams, tasks, *extra_checkpoints):
    """Returns the model with the weights of model.ckpt-0 and of further checkpoints."""
    qa = {"kind": "qa", **qa_arguments(hparams)}
    config = encoder_config(
        hparams["model_size"], vocab_size=30522, embedding_size=hparams["embedding_size"],
        overrides=hparams["model_hparam_overrides"],
    )  # fmt: skip
    model = FinetuningModel(config, {task: SENTENCE_HEADS.get(task, qa) for task in tasks})
    variables, missing = model.named_variables(), None
    for name in extra_checkpoints + ("model",):
        checkpoint = checkpoints.read(HEADS / f"{name}.ckpt-0")
        wanted = variables if missing is None else {k: variables[k] for k in missing}
        missing = checkpoints.restore(wanted, checkpoint, require_all=False).missing
    assert not missing
    return model


def load_arrays(path, prefix):
    """Returns the arrays under a prefix of an .npz, by the rest of their names."""
    values = np.load(path)
    return {k[len(prefix) :]: values[k] for k in values if k.startswith(prefix)}


def tensors(arrays):
    return {k: tf.constant(v) for k, v in arrays.items()}


def gold_answers(task, split="dev"):
    """Returns dict question id -> list of gold answers of a sample."""
    row = get_task(task)  # read as "dev", which leaves no question out
    row = dataclasses.replace(row, sources={"dev": row.sources[split]})
    examples = read_examples(row, "dev", FOLDER / "finetuning_data")
    return {each.id: list(each.answers) for each in examples}
