"""Multi-label classification: any number of labels a row."""

import json

import numpy as np
import pytest

import electra
from electra.data.features import collect
from electra.finetune.families import FROM_TRAIN, MULTILABEL, get_family
from electra.finetune.families.text import TextExample
from electra.finetune.featurize import featurize
from electra.finetune.readers import read_examples, resolve_labels
from electra.finetune.task_files import make_task
from electra.text.vocab import Vocabulary
from electra.text.wordpiece import WordPieceTokenizer
from tests.finetune.runs import HPARAMS, finetune, make_data
from tests.pretrain.runs import TOKENS


def task_of(folder, file="train.csv", **values):
    columns = {"text_a": "text", "label": "labels"}
    row = {"name": "my", "family": "multilabel", "files": {"train": file}, "columns": columns}
    return make_task({**row, **values}, "a test", str(folder))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("train.csv", 'text,labels\nw5,"b,a"\nw6,\nw7,c\n'),
        ("train.tsv", "text\tlabels\nw5\tb; a\nw6\t\nw7\tc|c\n"),
        (
            "train.jsonl",
            '{"text": "w5", "labels": ["b", "a"]}\n{"text": "w6", "labels": []}\n'
            '{"text": "w7", "labels": "c"}\n',
        ),
    ],
)
def test_labels_are_read_in_every_format(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    task = task_of(tmp_path, file)
    assert task.labels == FROM_TRAIN
    task = resolve_labels(task, "")
    assert task.labels == ("a", "b", "c")
    labels = [each.label for each in read_examples(task, "train", "")]
    assert labels == [("a", "b"), (), ("c",)]


def test_unknown_and_missing_labels_are_refused(tmp_path):
    task = task_of(tmp_path, "train.jsonl", labels=["a", "b"])
    (tmp_path / "train.jsonl").write_text('{"text": "w5", "labels": ["a", "x"]}\n')
    with pytest.raises(ValueError, match=r"train.jsonl, line 1: label 'x' is unknown"):
        read_examples(task, "train", "")
    (tmp_path / "train.jsonl").write_text('{"text": "w5", "labels": null}\n')
    with pytest.raises(ValueError, match=r"train.jsonl, line 1: no label"):
        read_examples(task, "train", "")


def test_every_label_is_a_feature(tmp_path):
    task = task_of(tmp_path, labels=["a", "b", "c"])
    examples = [TextExample("0", "w5", None, ("a", "c")), TextExample("1", "w6", None, None)]
    tokenizer = WordPieceTokenizer(Vocabulary(TOKENS))
    features = collect(featurize(task, examples, tokenizer, max_seq_length=4, is_training=True))
    batch = features.padded([0, 1], 3)  # shorter than the labels are many
    assert [batch[f"label_{i}"].tolist() for i in range(3)] == [[1, 0], [0, 0], [1, 0]]


def test_scores_by_hand(tmp_path):
    task = task_of(tmp_path, labels=["a", "b", "c"])
    examples = [TextExample(str(i), "", None, each) for i, each in enumerate([("a", "b"), ("a",)])]
    predictions = np.float32([[0.9, 0.2, 0.6], [0.8, 0.7, 0.1]])
    scores = get_family(MULTILABEL).score(task, examples, predictions)
    # a: two of two; b: one missed, one wrong, and ranked below the wrong one; c: one wrong.
    assert scores == pytest.approx(
        {
            "micro_f1": 100 * 2 * 2 / (4 + 3),
            "macro_f1": 100 / 3,
            "average_precision": 100 * (1 + 1 / 2) / 2,
            "accuracy": 0.0,
        }
    )
    assert not get_family(MULTILABEL).is_constant(task, examples, predictions)
    assert get_family(MULTILABEL).is_constant(task, examples, np.float32([[0.9, 0, 0]] * 2))
    rows = get_family(MULTILABEL).rows(task, examples, predictions)
    assert [row["labels"] for row in rows] == [["a", "c"], ["a", "b"]]
    assert rows[0]["probabilities"] == {"a": 0.9, "b": 0.2, "c": 0.6}


def test_a_model_learns_labels_and_predicts_them(tmp_path):
    data = make_data(tmp_path / "data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 64), ("dev", 16), ("test", 4)):
        rows = [rng.integers(0, 2, 2).tolist() for _ in range(count)]
        lines = [
            json.dumps(
                {
                    "text": " ".join(["w9", *["w5"] * has[0], *["w6"] * has[1]]),
                    "labels": [name for name, there in zip("xy", has, strict=True) if there],
                }
            )
            for has in rows
        ]
        (data / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    files = {split: f"{split}.jsonl" for split in ("train", "dev", "test")}
    columns = {"text_a": "text", "label": "labels"}
    row = {"name": "my", "family": "multilabel", "files": files, "columns": columns}
    (data / "my.json").write_text(json.dumps(row))
    hparams = {
        **HPARAMS,
        "task_names": ["my"],
        "task_files": [str(data / "my.json")],
        "num_train_epochs": 24,
        "learning_rate": 1e-3,
        "write_test_outputs": True,
    }
    run, results = finetune(data, **hparams)
    assert results["main_metrics"] == {"my": "micro_f1"}
    assert results["summary"]["my"]["micro_f1"]["best"] > 75  # all labels everywhere: 67
    written = (data / "models/m/test_predictions/trial_1/my.jsonl").read_text().splitlines()
    assert [set(json.loads(line)) for line in written] == [{"id", "labels", "probabilities"}] * 4
    model = electra.load(f"{run.config.model_dir}_1", precision="float32")
    x, y = (each["probabilities"] for each in model.predict(["w9 w5", "w9 w6"]))
    assert x["x"] > y["x"] and y["y"] > x["y"]
