"""Reads a folder of the official code's pre-training values and builds the model it belongs to."""

import json

import numpy as np
import tensorflow as tf

from electra.pretrain.assembly import build_model
from electra.pretrain.config import PretrainingConfig
from electra.pretrain.model import PretrainingModel
from electra.saving import checkpoints
from electra.text.vocab import read_vocab
from tests.shared import FIXTURES

FOLDERS = sorted(path.parent for path in FIXTURES.glob("pretrain/*/config.json"))


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def load_model(folder, **changes) -> PretrainingModel:
    """Returns the model with the checkpoint's weights and the report of what matched."""
    hparams = {**config_of(folder)["hparams"], **changes}
    config = PretrainingConfig("reference", str(folder), **hparams)
    model = build_model(config, read_vocab(folder.parent / "vocab.txt"))
    checkpoint = checkpoints.read(checkpoints.latest(folder))
    report = checkpoints.restore(model.named_variables(), checkpoint, require_all=True)
    return model, report


def load_batches(folder):
    """Yields (inputs, expected outputs) of each stored batch."""
    for path in sorted(folder.glob("batch_*.npz")):
        values = dict(np.load(path))
        inputs = {k: tf.constant(v) for k, v in values.items() if "/" not in k}
        prefix = "expected/"
        yield inputs, {k[len(prefix) :]: v for k, v in values.items() if k.startswith(prefix)}
