"""A user's own rows of the table of tasks, from task files or flags.

Enters: the path of a JSON task file, or plain values. Leaves: Task.
"""

import json
import os
import re

from electra.finetune.families import FAMILIES, FROM_FILES, FROM_TRAIN
from electra.finetune.spans import all_tags
from electra.finetune.tasks import SPLITS, Source, Task
from electra.hparams import is_text, refuse_unknown
from electra.storage import check_shape, excerpt, read_json_dict

_SHAPE = {
    **dict.fromkeys(("name", "family", "format?", "folder?"), str),
    "files": {str: str},
    "columns?": {str: (str, int)},
    "quoted?": bool,
    "labels?": (list, str),
    "metrics?": ([str], str),
    "label_range?": [float],
    "hparams?": dict,
}


def read_task_file(path):
    """Reads a user's own row.

    Args:
        path: of a JSON dict as `make_task` takes it; its files lie beside it or in its "folder".
    Raises:
        FileNotFoundError: no such file. ValueError: not JSON, or no task.
    """
    values = read_json_dict(os.fspath(path), "Task file", "a .json file")
    return make_task(values, os.fspath(path), os.path.dirname(os.path.abspath(path)))


def make_task(values, where, folder):
    """Makes a row from plain values, of a task file or of flags.

    Args:
        values: dict with name, family, files (dict split -> file name), and as needed columns
            (dict role -> name or number), format, quoted, labels, label_range, metrics, folder,
            hparams.
        where: str, what errors call it; folder: str, what the files' names start from.
    Returns: Task.
    Raises:
        ValueError: a key is missing, unknown, or its value is impossible.
    """
    refuse_unknown(values, [key.removesuffix("?") for key in _SHAPE], f"{where}: key")
    check_shape(values, _SHAPE, f"{where}: ")
    if not re.fullmatch(r"(?!\.)[\w.-]+", values["name"]):  # it begins names of files
        raise ValueError(
            f"{where}: 'name' must be of letters, digits, '_', '-' and '.', and not begin with "
            f"'.'. Received: {excerpt(values['name'])!r}"
        )
    refuse_unknown([values["family"]], FAMILIES, f"{where}: family")
    row = FAMILIES[values["family"]]
    metrics = values.get("metrics") or row.metrics[:1]
    metrics = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    refuse_unknown(metrics, row.metrics, f"{where}: metric")
    if "format" in values:
        refuse_unknown([values["format"]], row.formats, f"{where}: format")
    refuse_unknown(values["files"], SPLITS, f"{where}: split")
    if not values["files"] or not all(values["files"].values()):
        raise ValueError(
            f"{where}: 'files' must name one or more of {', '.join(SPLITS)}. Received: "
            f"{excerpt(values['files'])}"
        )
    label_range = tuple(values.get("label_range", (0, 1)))
    if len(label_range) != 2 or label_range[0] >= label_range[1]:
        received = excerpt(values["label_range"])
        raise ValueError(f"{where}: label_range must be [lowest, highest]. Received: {received}")
    columns = _read_columns(values, row, where)
    file_format, is_quoted = values.get("format", ""), values.get("quoted")
    return Task(
        values["name"],
        values["family"],
        os.path.join(folder, values.get("folder", "")),
        {s: (Source(p, columns, file_format, is_quoted),) for s, p in values["files"].items()},
        metrics,
        labels=_read_labels(values, row, metrics, where),
        label_range=label_range,
        ideographs_are_words=True,
        hparams={**row.hparams, **values.get("hparams", {})},
    )


def _read_columns(values, row, where):
    columns = {**row.own_columns, **values.get("columns", {})}
    needed, others = row.columns
    refuse_unknown(columns, needed + others, f"{where}: column")
    named = [role for role, column in columns.items() if isinstance(column, str)]
    wrong = {*needed} - {*columns} | {*(named if row.counts_columns else ())}
    if wrong:
        raise ValueError(
            f"{where}: columns must give {', '.join(sorted(wrong))} a number"
            f"{'' if row.counts_columns else ' or a name'}. Received: {excerpt(columns)}"
        )
    return columns


def _read_labels(values, row, metrics, where):
    labels = values.get("labels", row.labels or ())
    if isinstance(labels, str):
        refuse_unknown([labels], (FROM_TRAIN, FROM_FILES), f"{where}: labels")
        return labels
    labels = tuple(label if isinstance(label, str) else json.dumps(label) for label in labels)
    if "span_f1" in metrics:
        labels = tuple(sorted(all_tags(labels)))
    is_right = 1 < len(labels) == len(set(labels)) and all(labels) and all(map(is_text, labels))
    if row.labels and not is_right:
        raise ValueError(
            f"{where}: labels must be two or more, each once (of spans tags such as B-X), none "
            f"empty, in UTF-8 without NUL. Received: {excerpt(values['labels'])}"
        )
    return labels
