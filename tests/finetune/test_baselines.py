"""Baselines: what the training labels alone would score, by hand."""

import dataclasses

import numpy as np
import pytest

from electra.data.features import Features, collect
from electra.finetune.baselines import baseline_scores, label_priors
from electra.finetune.families.qa.questions import Document, QAExample
from electra.finetune.families.tagging import TaggingExample
from electra.finetune.families.text import TextExample
from electra.finetune.results import readable
from electra.finetune.run_data import TaskSplit
from electra.finetune.task_files import make_task
from electra.finetune.tasks import get_task


def columns(**values):
    values = {name: np.array(column) for name, column in values.items()}
    return Features({"example": np.arange(4), **values}, {})


def texts(*labels):
    return [TextExample(str(i), "w5", None, label) for i, label in enumerate(labels)]


def question(id, *answers):
    return QAExample(id, "w5", Document("w5 w6"), answers, not answers)


def multilabel():
    row = {"name": "my", "family": "multilabel", "files": {"train": "a.csv"}}
    return make_task(row | {"columns": {"text_a": 0}, "labels": ["a", "b"]}, "", "")


MNLI = get_task("mnli")
CHUNK = dataclasses.replace(get_task("chunk"), labels=("B-NP", "O", "S-NP"))
POS = dataclasses.replace(get_task("conll2002pos"), labels=("A", "N"))
WORDS = collect([{"example": 0, "labels": [1, 1, 0]}, {"example": 1, "labels": [1]}])
CASES = {
    "classification": (
        get_task("mrpc"),
        columns(label_ids=[1, 1, 1, 0]),
        [0.25, 0.75],
        texts("1", "1", "0", "1", "0"),
        {"accuracy": 60, "f1": 75},
    ),
    "of three": (
        MNLI,
        columns(label_ids=[2, 2, 1, 0]),
        [0.25, 0.25, 0.5],
        texts(*MNLI.labels, MNLI.labels[2]),
        {"accuracy": 50},
    ),
    "mcc": (
        get_task("cola"),
        columns(label_ids=[1, 1, 1, 0]),
        [0.25, 0.75],
        texts("1", "0"),
        {"mcc": 0},
    ),
    "regression": (
        get_task("sts"),
        columns(targets=[0.0, 0.5, 1.0, 1.0]),
        [0.625],
        texts(0.1, 0.9),
        {"spearman": 0, "pearson": 0},
    ),
    "multilabel": (
        multilabel(),
        columns(label_0=[1, 1, 1, 0], label_1=[0, 0, 0, 1]),
        [0.75, 0.25],
        texts(("a",), ("b",), ()),
        {
            "micro_f1": 200 * 1 / (3 + 2),
            "macro_f1": (100 * 2 / 4 + 0) / 2,
            "average_precision": 100 / 3,
            "accuracy": 100 / 3,
        },
    ),
    "spans": (
        CHUNK,
        WORDS,
        [0.25, 0.75, 0.0],
        [TaggingExample("0", ("w5", "w6"), ("O", "S-NP"))],
        {"f1": 0},
    ),
    "tags": (
        POS,
        WORDS,
        [0.25, 0.75],
        [TaggingExample("0", ("w5", "w6", "w7"), ("N", "A", "A"))],
        {"accuracy": 100 / 3},
    ),
    "no answer": (
        get_task("squad"),
        columns(),
        [],
        [question("a", "w5"), question("b"), question("c", "w6"), question("d", "w6")],
        {"best_f1": 25},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_baselines_by_hand(case):
    task, features, prior, examples, expected = CASES[case]
    priors = label_priors([task], {task.name: features})
    assert priors == {task.name: pytest.approx(prior)}
    dev = TaskSplit("dev", task, "dev", examples, None)
    assert baseline_scores([dev], priors, -2.75) == {"dev": pytest.approx(expected)}
    assert baseline_scores([dev], {}, -2.75) == {}
    assert baseline_scores([dev], {task.name: [0.1] * 9}, -2.75) == {}  # of other labels


def test_where_every_question_has_an_answer_no_answer_is_no_baseline():
    dev = TaskSplit("dev", get_task("squadv1"), "dev", [question("a", "w5")], None)
    assert baseline_scores([dev], {"squadv1": []}, -2.75) == {}


def test_a_baseline_stands_beside_its_score():
    assert readable({"a": {"mcc": 5.0}, "b": {"f1": 1.0}}, {"a": {"mcc": 0.0}}) == (
        "a: mcc: 5.00 - baseline_mcc: 0.00  b: f1: 1.00"
    )
