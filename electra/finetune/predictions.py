"""Predictions as files: those that the leaderboards read, and rows for a user's own.

Enters: predictions as label strings, numbers or answers. Leaves: GLUE's tables and zip, SQuAD's
JSON, CLUE's JSON lines, named as `Task.leaderboard` says, each whole or not at all; rows to write
as JSON lines.
"""

import json
import os
import zipfile

from electra.finetune import scoring
from electra.finetune.tasks import CLASSIFICATION, QA, REGRESSION, TASKS
from electra.storage import published, write_json, write_text

GLUE_ZIP = "glue.zip"


def write_glue(folder, task, split, values):
    """Writes the table of a test set, and GLUE's submission anew from the tables that are there.

    So the tasks of several commands end in one submission.

    Args:
        folder: gets the table, e.g. CoLA.tsv, and glue.zip.
        task: Task; split: one that the leaderboard asks for.
        values: in the order of the test file: label strings, in regression numbers (cut to the
            task's range).
    Returns: list of the names of tables that the leaderboard wants besides.
    Raises:
        ValueError: a split that the leaderboard does not ask for, or an unknown label.
    Source: gluebenchmark.com/faq.
    """
    file = _file(task, split, ".tsv")
    if task.family == REGRESSION:
        low, high = task.label_range
        values = [f"{min(high, max(low, float(value))):.3f}" for value in values]
    elif strangers := sorted(set(values) - set(task.labels)):
        raise ValueError(
            f"{task.name}: GLUE's labels are {list(task.labels)}. Received: {strangers}"
        )
    rows = ["index\tprediction", *(f"{i}\t{value}" for i, value in enumerate(values))]
    write_text(os.path.join(folder, file), "\n".join(rows) + "\n")
    names = {name for row in TASKS.values() for name in row.leaderboard.values()}
    names = sorted(name for name in names if name.endswith(".tsv"))
    found = [name for name in names if os.path.exists(os.path.join(folder, name))]
    with (
        published(os.path.join(folder, GLUE_ZIP)) as archive,
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as tables,
    ):
        for name in found:
            with open(os.path.join(folder, name), encoding="utf-8") as table:
                tables.writestr(zipfile.ZipInfo(name), table.read(), zipfile.ZIP_DEFLATED)
    return [name for name in names if name not in found]


def write_squad(preds_file, odds_file, answers, null_odds_threshold=None):
    """Writes a QA task's predictions.

    Args:
        preds_file: gets id -> text; odds_file: id -> number, high for no answer; None for none.
        answers: dict question id -> what answers.n_best_answers returned.
        null_odds_threshold: above it the text is ""; None for the best text always (the
            official code applies the threshold when it scores).
    """
    write_json(
        preds_file, {key: answer_text(each, null_odds_threshold) for key, each in answers.items()}
    )
    if odds_file is not None:
        write_json(odds_file, {key: odds for key, (_, odds) in answers.items()})


def answer_text(answer, null_odds_threshold=None):
    """Returns the best text of n_best_answers' (answers, null odds); "" above the threshold."""
    n_best, null_odds = answer
    is_null = null_odds_threshold is not None and null_odds > null_odds_threshold
    return "" if is_null else n_best[0]["text"]


def write_clue(folder, task, split, predictions, ids=None):
    """Writes CLUE's JSON lines, e.g. {"id": 0, "label": "1"}; it wants no more than these keys.

    Args:
        folder: gets the file.
        task: Task; split: one that its leaderboard asks for.
        predictions: label strings in the order of the test file.
        ids: of the rows, numbers as int or str; None counts from 0.
    Returns: path of the file.
    Raises:
        ValueError: a split that the leaderboard does not ask for.
    Source: github.com/CLUEbenchmark/CLUE, notes on submissions.
    """
    path = os.path.join(folder, _file(task, split, ".json"))
    ids = range(len(predictions)) if ids is None else ids
    ids = [int(i) if str(i).isdecimal() else i for i in ids]
    rows = zip(ids, predictions, strict=True)
    write_rows(path, [{"id": i, "label": label} for i, label in rows])
    return path


def rows_of(task, examples, predictions, null_odds_threshold):
    """Says all that is predicted of each example.

    Args:
        task: Task; examples: list.
        predictions: of them, as in scoring.py.
        null_odds_threshold: of QA with unanswerable questions, see write_squad.
    Returns: list of dicts, one an example, with its id and
        classification: label, and probabilities of every label; regression: value, in the task's
        range; tagging: words and tags (BIOES where they mark spans); QA: text, null_odds and
        n_best, see answers.n_best_answers.
    """
    if task.family == CLASSIFICATION:
        labels = scoring.labels_of(task, examples, predictions)
        found = [
            {"label": label, "probabilities": dict(zip(task.labels, map(_short, row), strict=True))}
            for label, row in zip(labels, predictions, strict=True)
        ]
    elif task.family == REGRESSION:
        found = [{"value": _short(value)} for value in in_range(task, predictions)]
    elif task.family == QA:
        threshold = null_odds_threshold if task.has_unanswerable else None
        found = [
            {"text": answer_text(each, threshold), "null_odds": each[1], "n_best": each[0]}
            for each in predictions.values()
        ]
    else:
        tags = scoring.labels_of(task, examples, predictions)
        found = [{"words": e.words, "tags": t} for e, t in zip(examples, tags, strict=True)]
    return [{"id": e.id, **values} for e, values in zip(examples, found, strict=True)]


def write_rows(path, rows):
    """Writes dicts as JSON lines."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    write_text(path, "".join(lines))


def in_range(task, predictions):
    """Returns a regression task's predictions, 0 to 1, in the range of its labels."""
    low, high = task.label_range
    return [low + (high - low) * float(value) for value in predictions]


def _short(value):
    return float(f"{value:.6g}")


def _file(task, split, ending):
    name = task.leaderboard.get(split, "")
    if not name.endswith(ending):
        raise ValueError(
            f"Task {task.name!r}, split {split!r}: no leaderboard takes it as {ending}. It takes: "
            f"{task.leaderboard or 'nothing'}"
        )
    return name
