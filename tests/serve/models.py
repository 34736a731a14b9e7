"""Folders of trained models that a test writes itself, weights drawn at random."""

import dataclasses
import json

import keras

from electra.finetune.model import FinetuningModel
from electra.finetune.tasks import make_task
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


def write_finetuned(folder, seed=0):
    """Writes a fine-tuned model's folder with a task of each family. Returns: the folder."""
    (folder / "words.txt").write_text("\n".join(TOKENS) + "\n")
    config = PretrainingConfig("m", str(folder), **TINY)
    rows = [
        {
            "name": "topic",
            "family": "classification",
            "labels": ["no", "yes"],
            "columns": {"text_a": 0, "label": 1},
        },
        {
            "name": "grade",
            "family": "regression",
            "label_range": [0, 5],
            "columns": {"text_a": 0, "label": 1},
        },
        {"name": "chunk", "family": "tagging", "labels": ["O", "B-X"]},
        {"name": "ask", "family": "qa"},
    ]
    tasks = [make_task({**row, "files": {"train": "x.tsv"}}, "a test", "") for row in rows]
    heads = {
        "topic": {"kind": "classification", "num_labels": 2},
        "grade": {"kind": "regression"},
        "chunk": {"kind": "tagging", "num_labels": len(tasks[2].labels)},
        "ask": {"kind": "qa", "beam_size": 3},
    }
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
