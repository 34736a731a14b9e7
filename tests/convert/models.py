"""Trained models of ours that the tests convert, weights drawn at random."""

import dataclasses
import importlib.util
import json

import keras
import pytest

from electra.finetune.model import FinetuningModel
from electra.finetune.task_files import make_task
from electra.pretrain.config import PretrainingConfig
from electra.saving import checkpoints
from electra.saving.folder import write_folder
from tests.pretrain.runs import TINY, TOKENS

SIZES = TINY["model_hparam_overrides"]


def needs_interop(test):
    """Marks a test that compares with the real libraries."""
    missing = [name for name in ("torch", "transformers") if not importlib.util.find_spec(name)]
    skip = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
    return pytest.mark.interop(skip(test))


def write_task(folder, family, *, head=None, hparams=None, **row):
    """Writes a model of ours that is fine-tuned on a task "t". Returns: its folder."""
    (folder / "words.txt").write_text("\n".join(TOKENS) + "\n")
    config = PretrainingConfig("m", str(folder), **TINY)
    columns = {} if family in ("tagging", "qa") else {"columns": {"text_a": 0, "label": 1}}
    row = {"name": "t", "family": family, "files": {"train": "x.tsv"}, **columns, **row}
    task = make_task(row, "a test", "")
    labels = {} if family in ("regression", "qa") else {"num_labels": len(task.labels)}
    tasks = json.loads(json.dumps([dataclasses.asdict(task)]))
    recorded = {**config.to_json(), "tasks": tasks, "beam_size": 3, **(hparams or {})}
    recorded |= {"max_query_length": 4, "doc_stride": 4, "qa_na_threshold": -2.75}
    write_folder(str(folder / "f"), recorded, str(folder / "words.txt"))
    keras.utils.set_random_seed(1)
    model = FinetuningModel(config.encoder, {"t": {"kind": family, **labels, **(head or {})}})
    for name, variable in model.named_variables().items():  # biases are 0 at first
        if name.startswith("task_specific"):
            variable.assign(keras.random.normal(variable.shape, stddev=0.5, seed=len(name)))
    checkpoints.save(str(folder / "f"), 9, model.named_variables(), {})
    return folder / "f"


LINEAR = {"joint_prediction": False, "answerable_classifier": False}
# Families of texts with a row each, and what a model with their classifier has besides.
TEXT_TASKS = [
    ("classification", {"labels": ["no", "yes", "maybe"]}),
    ("regression", {"label_range": [1, 5]}),
    ("multilabel", {"labels": ["a", "b"]}),
]
_THEIRS = {"classifier_head": "huggingface"}
THEIR_HEAD = {"head": _THEIRS, "hparams": _THEIRS}
