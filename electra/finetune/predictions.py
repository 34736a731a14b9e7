"""Predictions as files: those that the leaderboards read, and rows for a user's own.

Enters: predictions as label strings or numbers. Leaves: GLUE's tables and zip, CLUE's JSON lines,
named as `Task.leaderboard` says, each whole or not at all; rows to write as JSON lines, and as
columns beside those of the table that was predicted.
"""

import csv
import io
import json
import os
import re
import zipfile

from electra.finetune.files import layout, split_lines
from electra.finetune.tasks import TASKS
from electra.storage import published, write_text

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
    if not task.labels:
        low, high = task.label_range
        values = [f"{min(high, max(low, float(value))):.3f}" for value in values]
    elif strangers := sorted(set(values) - set(task.labels)):
        labels = list(task.labels)
        raise ValueError(f"{task.name}: GLUE's labels are {labels}. Received: {strangers}")
    rows = ["index\tprediction", *(f"{i}\t{value}" for i, value in enumerate(values))]
    write_text(os.path.join(folder, file), "\n".join(rows) + "\n")
    names = {name for row in TASKS.values() for name in row.leaderboard.values()}
    names = sorted(name for name in names if name.endswith(".tsv"))
    written = [name for name in names if os.path.exists(os.path.join(folder, name))]
    with (
        published(os.path.join(folder, GLUE_ZIP)) as archive,
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as tables,
    ):
        for name in written:
            with open(os.path.join(folder, name), encoding="utf-8") as table:
                tables.writestr(zipfile.ZipInfo(name), table.read(), zipfile.ZIP_DEFLATED)
    return [name for name in names if name not in written]


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
    write_lines(path, [{"id": i, "label": label} for i, label in rows])
    return path


def write_rows(path, examples, rows):
    """Writes dicts as JSON lines, each with its example's id."""
    rows = ({"id": e.id, **values} for e, values in zip(examples, rows, strict=True))
    write_lines(path, rows)


def write_table(stem, task, path, source, cells):
    """Writes a table again, with columns for what is predicted behind its own: <stem>.csv or .tsv.

    Args:
        stem: path without ending.
        task: Task; path, source: of the table, as readers.find_file returns them. A table without
            header gets none.
        cells: list of dicts of equal keys, one for each row of the table.
    Returns: path of the file, None where the input is no table or cells are missing.
    """
    read_as = layout(path, source, task)
    if read_as is None or None in cells:
        return None
    delimiter, is_quoted, has_header = read_as
    lines = [fields for _, fields in split_lines(path, is_quoted, delimiter)]
    width = max(map(len, lines))
    lines = [fields + [""] * (width - len(fields)) for fields in lines]
    if has_header:
        for name in cells[0]:
            while name in lines[0]:  # it may have been predicted before
                name += "_"
            lines[0].append(name)
    for fields, values in zip(lines[has_header:], cells, strict=True):
        fields += map(str, values.values())
    text = io.StringIO()
    if is_quoted:
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(lines)
    else:
        rows = (delimiter.join(re.sub("[\t\r\n]", " ", field) for field in row) for row in lines)
        text.writelines(row + "\n" for row in rows)
    path = stem + {",": ".csv", "\t": ".tsv"}[delimiter]
    write_text(path, text.getvalue())
    return path


def write_lines(path, rows):
    """Writes dicts as JSON lines."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    write_text(path, "".join(lines))


def _file(task, split, ending):
    name = task.leaderboard.get(split, "")
    if not name.endswith(ending):
        problem = f"no leaderboard takes it as {ending}"
        raise ValueError(f"Task {task.name!r}, split {split!r}: {problem}")
    return name
