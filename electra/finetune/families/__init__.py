"""The table of the families of tasks, a row each; what a family does is in the file it names.

A family is a file: it reads its formats, makes features, has its head, predicts, averages, scores
and writes. Adding one is adding a file and a row. The rows are light; a file is imported when its
family is first used, since heads need Keras.
"""

import dataclasses
import functools
import importlib

CLASSIFICATION, REGRESSION, QA, TAGGING = "classification", "regression", "qa", "tagging"
MULTILABEL = "multilabel"
# In place of a list of labels: those found in the training file, or in all files; sorted.
FROM_TRAIN, FROM_FILES = "from train", "from files"


@dataclasses.dataclass(frozen=True)
class FamilyRow:
    """What can be said of a family without its code.

    Attributes:
        place: its class, "module.Class" below this folder.
        metrics: tuple of str, the default first.
        ranks_by: dict metric -> the score that ranks trials, where it has another name.
        columns: what a task may say about a file's columns: the needed ones, then the others.
        counts_columns: whether columns have numbers only, no names.
        own_columns: dict role -> column where a user's own task does not say.
        formats: dict format -> the endings of a file's name; .gz may follow.
        labels: FROM_TRAIN or FROM_FILES where a user's own task does not list its labels; "" for a
            family without labels.
        hparams: dict, defaults that differ from those of config.py.
    """

    place: str
    metrics: tuple
    columns: tuple
    formats: dict
    labels: str = ""
    ranks_by: dict = dataclasses.field(default_factory=dict)
    counts_columns: bool = False
    own_columns: dict = dataclasses.field(default_factory=dict)
    hparams: dict = dataclasses.field(default_factory=dict)


_TEXTS = {"tsv": (".tsv",), "csv": (".csv",), "jsonl": (".jsonl", ".json")}

FAMILIES = {
    CLASSIFICATION: FamilyRow(
        "text.Classification",
        metrics=("accuracy", "f1", "mcc"),
        columns=(("text_a",), ("text_b", "label", "id", "target", "language")),
        formats=_TEXTS,
        labels=FROM_TRAIN,
    ),
    REGRESSION: FamilyRow(
        "text.Regression",
        metrics=("spearman", "pearson"),
        columns=(("text_a",), ("text_b", "label", "id", "language")),
        formats=_TEXTS,
    ),
    MULTILABEL: FamilyRow(
        "multilabel.MultiLabel",
        metrics=("micro_f1", "macro_f1", "average_precision", "accuracy"),
        columns=(("text_a",), ("text_b", "label", "id", "language")),
        formats=_TEXTS,
        labels=FROM_TRAIN,
    ),
    QA: FamilyRow(
        "qa.QuestionAnswering",
        # squad_v2 means that questions may have no answer.
        metrics=("squad_v2", "squad_v1", "mrqa"),
        ranks_by={"squad_v2": "best_f1", "squad_v1": "f1", "mrqa": "f1"},
        columns=((), ()),
        formats={"squad": (".json",), "mrqa": (".jsonl",)},
        hparams={"max_seq_length": 512, "num_train_epochs": 2},
    ),
    TAGGING: FamilyRow(
        "tagging.Tagging",
        metrics=("span_f1", "accuracy"),  # span_f1 means that tags mark spans
        ranks_by={"span_f1": "f1"},
        columns=(("words",), ("tags",)),
        counts_columns=True,
        own_columns={"words": 0, "tags": -1},
        formats={"conll": ("",)},
        labels=FROM_FILES,
    ),
}


@functools.cache
def get_family(name):
    """Returns the Family (see base.py) of a name in FAMILIES."""
    module, _, kind = FAMILIES[name].place.rpartition(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), kind)()
