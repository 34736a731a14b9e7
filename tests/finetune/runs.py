"""A tiny pre-trained model and tasks that a test writes itself, and runs on them."""

import json

import keras
import numpy as np

from electra.finetune.config import FinetuningConfig
from electra.finetune.model import FinetuningModel
from electra.finetune.runner import Finetuning
from electra.pretrain.config import PretrainingConfig
from electra.saving import checkpoints
from electra.saving.folder import write_folder
from tests.pretrain.runs import LENGTH, TINY, TOKENS

SIZES = {k: TINY[k] for k in ("model_hparam_overrides", "embedding_size", "vocab_size")}
HPARAMS = {
    "task_names": ["cola"],
    "learning_rate": 1e-2,
    "layerwise_lr_decay": 1.0,
    "num_train_epochs": 3,
    "train_batch_size": 8,
    "eval_batch_size": 8,
    "max_seq_length": LENGTH,
    "max_query_length": 4,
    "doc_stride": 4,
    "beam_size": 2,
    "log_every_steps": 5,
    "precision": "float32",
}

SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": "w5 w6",
                    "qas": [
                        {"id": "a", "question": "w7"},
                        {"id": "b", "question": "w8 w8"},
                    ],
                }
            ]
        }
    ]
}


def make_data(folder):
    """Writes D with the model "m", and rows of cola, chunk, sts and squad that a rule labels.

    A text of cola is "1" if w5 is in it, a word of chunk a span if it is w6, the score of sts 5 if
    w7 is in the first text, the answer of squad the word w7 or w8.
    Returns: folder.
    """
    model = folder / "models" / "m"
    model.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    config = PretrainingConfig("m", str(folder), **TINY)
    write_folder(str(model), config.to_json(), config.vocab_file)
    keras.utils.set_random_seed(1)
    variables = FinetuningModel(config.encoder, {"x": {"kind": "regression"}}).named_variables()
    encoder = {k: v for k, v in variables.items() if k.startswith("electra/")}
    checkpoints.save(str(model), 12, encoder, {})
    rng = np.random.default_rng(0)
    for split, count in (("train", 48), ("dev", 20)):
        write_split(folder / "finetuning_data", split, count, rng)
    return folder


def write_split(folder, split, count, rng):
    texts = []
    for i in range(count):
        words = [f"w{n}" for n in rng.integers(9, 40, rng.integers(2, 11))]
        words[::2] = [f"w{5 + i % 4}"] * len(words[::2])
        texts.append(words)
    lines = {
        "cola": [f"x\t{int('w5' in words)}\t*\t{' '.join(words)}" for words in texts],
        "sts": ["index\tsentence1\tsentence2\tscore"]
        + [f"{i}\t{' '.join(words)}\tw9\t{5 * ('w7' in words)}" for i, words in enumerate(texts)],
        "chunk": [
            "\n".join(f"{word} X {'B-NP' if word == 'w6' else 'O'}" for word in words) + "\n"
            for words in texts
        ],
    }
    paragraphs = []
    for i, words in enumerate(texts):
        text = " ".join(words)
        answers = [
            {"text": word, "answer_start": text.index(word)}
            for word in ("w7", "w8")
            if word in words
        ]
        asked = {"id": str(i), "question": "w8", "answers": answers, "is_impossible": not answers}
        paragraphs.append({"context": text, "qas": [asked]})
    for name, ending in (("cola", "tsv"), ("sts", "tsv"), ("chunk", "txt")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{split}.{ending}").write_text("\n".join(lines[name]) + "\n")
    (folder / "squad").mkdir(exist_ok=True)
    squad = {"data": [{"paragraphs": paragraphs}]}
    (folder / "squad" / f"{split}.json").write_text(json.dumps(squad))


def config_of(data, **hparams):
    return FinetuningConfig("m", str(data), **HPARAMS | hparams)


def finetune(data, **hparams):
    """Runs in this process. Returns (Finetuning, its results; None if it was stopped)."""
    run = Finetuning(config_of(data, **hparams))
    if run.run():
        return run, None
    path = run.config.results_txt.removesuffix(".txt") + ".json"
    with open(path, encoding="utf-8") as file:
        return run, json.load(file)
