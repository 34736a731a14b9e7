"""The readers of the fine-tuning files: a task's row and a folder enter, examples leave.

A file is read by its task's family (see families/). What cannot be read is refused with its file
and line.
"""

import dataclasses
import itertools
import os

from electra.cloud import mirror
from electra.finetune.families import FROM_FILES, FROM_TRAIN, get_family
from electra.finetune.spans import all_tags
from electra.storage import excerpt

# Advice for a run that lacks a split.
_WITHOUT = {"train": ", or set do_train to false", "dev": ", or set do_eval to false"}


def read_examples(task, split, folder, *, language="es", double_unordered=True):
    """Reads a split of a task.

    Args:
        task: electra.finetune.tasks.Task. Labels are compared with its own, if it has any.
        split: str, a key of task.sources. Only "train" has QA answers and both orders of pairs.
        folder: str, finetuning_data.
        language: str, for {language} in file names and for columns that name one.
        double_unordered: bool, whether training sees both orders if the task is unordered.
    Returns: list of the family's examples.
    Raises:
        FileNotFoundError: none of the split's files exists.
        ValueError: no such split, or a file cannot be read as the row says; file and line are
            named.
    """
    path, source = find_file(task, split, folder, language)
    examples = get_family(task.family).read(path, source, task, split, language)
    if not examples:
        raise ValueError(
            f"{path} holds no examples for task {task.name!r}, split {split!r}. Is the file cut "
            "off, or the language another?"
        )
    if split == "train" and task.is_unordered and double_unordered:
        examples += [
            dataclasses.replace(e, id=f"{e.id}-swapped", text_a=e.text_b, text_b=e.text_a)
            for e in examples
        ]
    return examples


def find_file(task, split, folder, language="es"):
    """Finds the file of a split.

    Args: as in `read_examples`.
    Returns: (path, Source).
    Raises: as in `read_examples`.
    """
    if split not in task.sources:
        known, remedy = ", ".join(task.sources), _WITHOUT.get(split, "")
        raise ValueError(
            f"Task {task.name!r} has no split {split!r}. It has: {known}. Name its file{remedy}"
        )
    language, tried = task.languages.get(language, language), []
    for source in task.sources[split]:
        path = os.path.join(folder, task.folder, source.path.replace("{language}", language))
        for name in (path, path + ".gz"):
            if os.path.isfile(name):
                return name, source
        tried.append(path)
    raise FileNotFoundError(
        f"Task {task.name!r}, split {split!r}: no file {' or '.join(tried)} (or with .gz). Put it "
        "there, or name another folder, file or language"
    )


def pull_files(task, folder):
    """Brings a task's files from a bucket: of the table's its folder, of one's own those it names.

    Args: as in `read_examples`.
    """
    home = os.path.join(folder, task.folder)
    if task.folder and not os.path.isabs(task.folder):
        mirror.pull(home)
        return
    for source in itertools.chain.from_iterable(task.sources.values()):
        for ending in ("", ".gz"):
            mirror.pull_file(os.path.join(home, source.path) + ending)


def resolve_labels(task, folder, language="es"):
    """Returns the task with its labels: those of its row, or the sorted ones of its files.

    Differs from source: tags "from train" get all four letters of a type, so that
    spans of any length can be predicted.
    """
    if not isinstance(task.labels, str):
        return task
    labels = set()
    for split in task.sources if task.labels == FROM_FILES else ("train",):
        try:
            examples = read_examples(task, split, folder, language=language)
        except FileNotFoundError:
            if split == "train":
                raise
            continue
        path, source = find_file(task, split, folder, language)
        if type(source.columns.get("label")) is int:
            _refuse_header([example.label for example in examples], path)
        labels |= get_family(task.family).labels_in(examples)
    if task.has_spans and task.labels == FROM_TRAIN:
        labels = all_tags(labels)
    labels = tuple(sorted(labels - {None}))
    if len(labels) < 2:
        path, source = find_file(task, "train", folder, language)
        raise ValueError(
            f"{path}: only one label, {excerpt(', '.join(labels))!r}. Expected: two or more. Is it "
            f"another column than {source.columns}?"
        )
    return dataclasses.replace(task, labels=labels)


def _refuse_header(labels, path):
    """Refuses a first label that stands in no other line of a file without header."""
    if labels[0] not in labels[1:] and len(set(labels)) < len(labels):
        raise ValueError(
            f"{path}, line 1: the label {excerpt(labels[0])!r} stands in no other line. If this is "
            "a header, name the columns in place of their numbers; else give the task its labels"
        )


def examples_of(task, rows):
    """Makes examples without labels of values, in place of a file.

    Args:
        task: Task.
        rows: list; of families of texts texts or pairs of texts; of tagging lists of words, or
            strings that are split at white space; of QA pairs (question, text).
    Returns: list of the family's examples; their ids count from 0.
    Raises:
        ValueError: a row of another form.
    """
    examples = []
    for number, row in enumerate(rows):
        try:
            examples.append(get_family(task.family).example(task, str(number), row))
        except ValueError as error:
            raise ValueError(
                f"Row {number} for task {task.name!r} must be {error}. Received: {row!r:.80}"
            ) from None
    return examples
