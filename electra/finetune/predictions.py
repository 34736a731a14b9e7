"""Predictions in the files that the leaderboards read, as `Task.leaderboard` names them.

Enters: predictions as label strings, numbers or answers. Leaves: GLUE's zip, SQuAD's JSON, CLUE's
JSON lines, each whole or not at all.
"""

import json
import os
import zipfile

from electra.finetune.tasks import REGRESSION
from electra.hparams import published, write_json, write_text


def write_glue(path, predictions):
    """Writes GLUE's submission: a zip with one file for each test set.

    Args:
        path: of the zip.
        predictions: list of (Task, split, values), the values in the order of the test file:
            label strings, in regression numbers (cut to 0..5). The leaderboard wants all sets.
    Raises:
        ValueError: a split that the leaderboard does not ask for, or an unknown label.
    Source: gluebenchmark.com/faq.
    """
    tables = {}
    for task, split, values in predictions:
        file = _file(task, split, ".tsv")
        if task.family == REGRESSION:
            low, high = task.label_range
            values = [f"{min(high, max(low, float(value))):.3f}" for value in values]
        elif strangers := sorted(set(values) - set(task.labels)):
            raise ValueError(
                f"{task.name}: GLUE's labels are {list(task.labels)}. Received: {strangers}"
            )
        rows = ["index\tprediction", *(f"{i}\t{value}" for i, value in enumerate(values))]
        tables[file] = "\n".join(rows) + "\n"
    with published(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, table in tables.items():
            archive.writestr(name, table)


def write_squad(folder, task, answers, null_odds_threshold=None):
    """Writes a QA task's predictions.

    Args:
        folder: gets <task>_preds.json (id -> text), <task>_null_odds.json (id -> number, high
            for no answer) and <task>_n_best.json (id -> list of answers with scores).
        task: its name.
        answers: dict question id -> what answers.n_best_answers returned.
        null_odds_threshold: above it the text is ""; None for the best text always (the
            official code applies the threshold when it scores).
    """
    preds = {
        key: "" if null_odds_threshold is not None and odds > null_odds_threshold
        else n_best[0]["text"]
        for key, (n_best, odds) in answers.items()
    }  # fmt: skip
    files = {
        "preds": preds,
        "null_odds": {key: odds for key, (_, odds) in answers.items()},
        "n_best": {key: n_best for key, (n_best, _) in answers.items()},
    }
    for name, values in files.items():
        write_json(os.path.join(folder, f"{task}_{name}.json"), values)


def write_clue(folder, task, split, predictions, ids=None):
    """Writes CLUE's JSON lines, e.g. {"id": 0, "label": "1"}.

    Args:
        folder: gets the file.
        task: Task; split: one that its leaderboard asks for.
        predictions: label strings in the order of the test file.
        ids: of the rows; None counts from 0.
    Returns: path of the file.
    Raises:
        ValueError: a split that the leaderboard does not ask for.
    Source: github.com/CLUEbenchmark/CLUE, notes on submissions.
    """
    path = os.path.join(folder, _file(task, split, ".json"))
    ids = range(len(predictions)) if ids is None else ids
    rows = zip(ids, predictions, strict=True)
    lines = [json.dumps({"id": i, "label": label}, ensure_ascii=False) for i, label in rows]
    write_text(path, "".join(line + "\n" for line in lines))
    return path


def _file(task, split, ending):
    name = task.leaderboard.get(split, "")
    if not name.endswith(ending):
        raise ValueError(
            f"Task {task.name!r}, split {split!r}: no leaderboard takes it as {ending}. It takes: "
            f"{task.leaderboard or 'nothing'}"
        )
    return name
