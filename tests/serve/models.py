"""Folders of trained models that a test writes itself, weights drawn at random."""

import dataclasses
import json

import keras

from electra.finetune.model import FinetuningModel
from electra.finetune.task_files import make_task
from electra.pretrain.assembly import build_model
from electra.pretrain.config import PretrainingConfig
from electra.saving import checkpoints
from electra.saving.folder import write_folder
from electra.text.vocab import read_vocab
from tests.pretrain.runs import TINY, TOKENS

TEXTS = ["w5 w6 w7", "w8", "w9 w10 w11 w12", "w5 w5"]


def write_pretrained(folder, seed=0, tokens=TOKENS, **hparams):
    """Writes a pre-trained model's folder. Returns: the folder."""
    (folder / "words.txt").write_text("\n".join(tokens) + "\n")
    config = PretrainingConfig("m", str(folder), **{**TINY, **hparams})
    write_folder(str(folder / "m"), config.to_json(), str(folder / "words.txt"))
    keras.utils.set_random_seed(seed)
    model = build_model(config, read_vocab(folder / "words.txt"))
    checkpoints.save(str(folder / "m"), 7, model.named_variables(), {})
    return folder / "m"


# Of each task: what its row has, and what its head takes.
_TEXT = {"columns": {"text_a": 0, "label": 1}}
_PAIR = {"columns": {"text_a": 0, "text_b": 1, "label": 2}}
_TASKS = {
    "topic": ("classification", {**_TEXT, "labels": ["no", "yes"]}, {"num_labels": 2}),
    "grade": ("regression", {**_TEXT, "label_range": [0, 5]}, {}),
    "chunk": ("tagging", {"labels": ["O", "B-X"]}, {"num_labels": 5}),
    "ask": ("qa", {}, {"beam_size": 3}),
    "many": ("multilabel", {**_TEXT, "labels": ["a", "b", "c"]}, {"num_labels": 3}),
    "word": ("tagging", {"labels": ["N", "V"], "metrics": ["accuracy"]}, {"num_labels": 2}),
    "nli": (
        "classification",
        {**_PAIR, "labels": ["contradiction", "entailment", "neutral"]},
        {"num_labels": 3},
    ),
    "two": ("classification", {**_PAIR, "labels": ["1", "0"]}, {"num_labels": 2}),
}


def write_finetuned(folder, seed=0, names=("topic", "grade", "chunk", "ask")):
    """Writes a fine-tuned model's folder with the tasks of these names. Returns: the folder."""
    (folder / "words.txt").write_text("\n".join(TOKENS) + "\n")
    config = PretrainingConfig("m", str(folder), **TINY)
    tasks, heads = [], {}
    for name in names:
        family, row, head = _TASKS[name]
        row = {"name": name, "family": family, **row, "files": {"train": "x.tsv"}}
        tasks.append(make_task(row, "a test", ""))
        heads[name] = {"kind": family, **head}
    recorded = {
        **config.to_json(),
        "tasks": json.loads(json.dumps(list(map(dataclasses.asdict, tasks)))),
        "beam_size": 3,
        "max_query_length": 4,
        "doc_stride": 4,
        "trial_seed": 0,
        "inputs": {},
        "qa_na_threshold": -2.75,
    }
    write_folder(str(folder / "f"), recorded, str(folder / "words.txt"))
    keras.utils.set_random_seed(seed)
    model = FinetuningModel(config.encoder, heads)
    checkpoints.save(str(folder / "f"), 9, model.named_variables(), {})
    return folder / "f"
