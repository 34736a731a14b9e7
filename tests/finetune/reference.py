"""Builds the models of the official fine-tuning values."""

import dataclasses
import json

import numpy as np
import tensorflow as tf

from electra.features import RECORD_FEATURES
from electra.finetune.families import CLASSIFICATION, QA, TAGGING
from electra.finetune.featurize import HOST_FEATURES
from electra.finetune.model import FinetuningModel
from electra.finetune.readers import read_examples
from electra.finetune.tasks import get_task
from electra.model.config import encoder_config
from electra.saving import checkpoints
from tests.shared import FIXTURES

FOLDER = FIXTURES / "finetune"
HEADS = FOLDER / "heads"
VARIANTS = sorted(path.stem for path in HEADS.glob("*.json"))
QA_HPARAMS = (
    "joint_prediction",
    "answerable_classifier",
    "answerable_uses_start_logits",
    "answerable_weight",
    "beam_size",
)

LENGTHS = ("max_seq_length", "max_query_length", "doc_stride")


def values_of(name):
    return json.loads((FOLDER / name).read_text())


def tasks_of(*families, folder="features"):
    """Returns the tasks of some families that a folder has values of."""
    names = sorted(path.stem for path in (FOLDER / folder).glob("*.json"))
    return [name for name in names if get_task(name).family in families]


def heads_of(*families):
    """Returns the (variant, task) of the heads of some families."""
    return [
        (variant, task)
        for variant in VARIANTS
        for task in values_of(f"heads/{variant}.json")["task_names"]
        if get_task(task).family in families
    ]


def pick(hparams, *names):
    """Returns those of the hparams that are given; ours have the official defaults."""
    return {name: hparams[name] for name in names if name in hparams}


def load_model(hparams, tasks, variant="model"):
    """Returns the model with the weights of a variant's checkpoint, if any, and of the model's."""
    files = sorted(HEADS.glob(f"{variant}.ckpt-*.index")) + sorted(HEADS.glob("model.ckpt-*.index"))
    weights = {}
    for checkpoint in map(checkpoints.read, files):
        weights = {**checkpoint.tensors, **weights}
    heads = {}
    for task in tasks:
        family = get_task(task).family
        heads[task] = {"kind": family, **(pick(hparams, *QA_HPARAMS) if family == QA else {})}
        if family in (CLASSIFICATION, TAGGING):
            heads[task]["num_labels"] = len(weights[f"task_specific/{task}/dense/bias"])
    config = encoder_config(
        hparams["model_size"],
        vocab_size=len(weights["electra/embeddings/word_embeddings"]),
        embedding_size=hparams["embedding_size"],
        overrides=hparams["model_hparam_overrides"],
    )
    model = FinetuningModel(config, heads)
    for name, variable in model.named_variables().items():
        variable.assign(weights[name])
    return model


def padded(rows, length, task):
    """Returns the features of rows as the model reads them: dict of arrays, the task's prefixed."""
    arrays = {}
    for name in rows[0].keys() - {*HOST_FEATURES}:
        values = [
            each[name] + [0] * (length - len(each[name]))
            if isinstance(each[name], list)
            else each[name]
            for each in rows
        ]
        kind = np.float32 if name in ("targets", "labels_mask") else np.int32
        arrays[name if name in RECORD_FEATURES else f"{task}_{name}"] = np.array(values, kind)
    return arrays


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
