"""The readers of the fine-tuning files: a task's row and a folder enter, examples leave.

Formats: tsv, csv, JSON lines, CoNLL columns, SQuAD's JSON, MRQA's JSON lines; each also with .gz.
What cannot be read is refused with its file and line.
"""

import dataclasses
import json
import math
import os
import re

from electra.finetune.files import format_of, json_rows, read_lines, table_rows
from electra.finetune.questions import read_questions
from electra.finetune.spans import all_tags, read_spans, write_spans
from electra.finetune.tasks import FROM_FILES, FROM_TRAIN, QA, REGRESSION, TAGGING
from electra.hparams import is_text
from electra.storage import excerpt

_SPACES = re.compile("[ \t\r\n]+")  # a no-break space is part of a word
# Advice for a run that lacks a split.
_WITHOUT = {"train": ", or set do_train to false", "dev": ", or set do_eval to false"}


@dataclasses.dataclass(frozen=True, slots=True)
class TextExample:
    """A text or two with a label.

    Attributes:
        id: str, the file's own, else the number of the example.
        text_a, text_b: str; text_b is None for one text.
        label: str, or float (0..1) in regression; None where the file has none.
    """

    id: str
    text_a: str
    text_b: str | None
    label: str | float | None


@dataclasses.dataclass(frozen=True, slots=True)
class TaggingExample:
    """A sentence.

    Attributes:
        id: str, the sentence's number.
        words: tuple of str.
        tags: tuple of str, in BIOES where the task has spans; None where the file has none.
    """

    id: str
    words: tuple
    tags: tuple | None


def read_examples(task, split, folder, *, language="es", double_unordered=True):
    """Reads a split of a task.

    Args:
        task: electra.finetune.tasks.Task. Labels are compared with its own, if it has any.
        split: str, a key of task.sources. Only "train" has QA answers and both orders of pairs.
        folder: str, finetuning_data.
        language: str, for {language} in file names and for columns that name one.
        double_unordered: bool, whether training sees both orders if the task is unordered.
    Returns: list of TextExample, QAExample or TaggingExample.
    Raises:
        FileNotFoundError: none of the split's files exists.
        ValueError: no such split, or a file cannot be read as the row says; file and line are
            named.
    """
    path, source = find_file(task, split, folder, language)
    needs_labels = not split.startswith("test")
    if task.family == QA:
        examples = read_questions(path, source, task, split)
    elif task.family == TAGGING:
        examples = _read_sentences(path, source, task, needs_labels)
    else:
        examples = _read_texts(path, source, task, needs_labels, language)
    if not examples:
        raise ValueError(
            f"{path} holds no examples for task {task.name!r}, split {split!r}. Expected: at "
            "least one. Is the file cut off, or the language another?"
        )
    if split == "train" and task.is_unordered and double_unordered:
        examples += [
            dataclasses.replace(
                each, id=f"{each.id}-swapped", text_a=each.text_b, text_b=each.text_a
            )
            for each in examples
        ]
    return examples


def find_file(task, split, folder, language="es"):
    """Finds the file of a split.

    Args: as in `read_examples`.
    Returns: (path, Source).
    Raises: as in `read_examples`.
    """
    if split not in task.sources:
        raise ValueError(
            f"Task {task.name!r} has no split {split!r}. It has: {', '.join(task.sources)}. Name a "
            f"file for it{_WITHOUT.get(split, '')}"
        )
    language, tried = task.languages.get(language, language), []
    for source in task.sources[split]:
        path = os.path.join(folder, task.folder, source.path.replace("{language}", language))
        for each in (path, path + ".gz"):
            if os.path.isfile(each):
                return each, source
        tried.append(path)
    raise FileNotFoundError(
        f"Task {task.name!r}, split {split!r}: no file {' or '.join(tried)} (or with .gz). Put it "
        "there, or name another folder, file or language"
    )


def resolve_labels(task, folder, language="es"):
    """Returns the task with its labels: those of its row, or the sorted ones of its files.

    Differs from source: tags "from train" get all four letters of a type, so that
    spans of any length can be predicted.
    """
    if not isinstance(task.labels, str):
        return task
    found = set()
    for split in task.sources if task.labels == FROM_FILES else ("train",):
        try:
            examples = read_examples(task, split, folder, language=language)
        except FileNotFoundError:
            if split == "train":
                raise
            continue
        if task.family == TAGGING:
            found.update(tag for each in examples for tag in each.tags or ())
            continue
        labels = [each.label for each in examples]
        path, source = find_file(task, split, folder, language)
        is_header = labels[0] not in labels[1:] and len(set(labels)) < len(labels)
        if is_header and not isinstance(source.columns["label"], str):
            raise ValueError(
                f"{path}, line 1: the label {excerpt(labels[0])!r} stands in no other line. Is "
                "this a header? Then name the columns in place of their numbers; else give the "
                "task its labels"
            )
        found.update(labels)
    if task.has_spans and task.labels == FROM_TRAIN:
        found = all_tags(found)
    labels = tuple(sorted(found - {None}))
    if len(labels) < 2:
        path, source = find_file(task, "train", folder, language)
        raise ValueError(
            f"{path}: only one label, {excerpt(', '.join(labels))!r}. Expected: two or more. "
            f"Is it another column? Received: {source.columns}"
        )
    return dataclasses.replace(task, labels=labels)


# ---- texts ------------------------------------------------------------------------------------


def _read_texts(path, source, task, needs_label, language):
    if format_of(path, source, task) == "jsonl":
        rows = json_rows(path, source.columns, needs_label)
    else:
        rows = table_rows(path, source, task, needs_label)
    examples = []
    for line, values in rows:
        if values.get("language", language) != language:
            continue
        where = f"{path}, line {line}"
        label = _as_text(values.get("label"))
        label = task.label_aliases.get(label, label) or None
        if label in task.skipped_labels:
            continue
        if label is None and needs_label:
            raise ValueError(f"{where}: no label. Name its column, or take the line out")
        if label is not None and task.family == REGRESSION:
            label = _score(label, task.label_range, where)
        elif label is not None:
            _check_label(label, task.labels, where)
        text_a, text_b = _as_text(values["text_a"]), _as_text(values.get("text_b"))
        if text_a is None:
            raise ValueError(f"{where}: no text. Mend the line, or take it out")
        if "target" in values:
            text_a = _mark_spans(text_a, values["target"], where)
        id = _as_text(values.get("id", len(examples)))
        examples.append(TextExample(id, text_a, text_b, label))
    return examples


def _as_text(value):
    """A JSON value as text; a list is joined by spaces."""
    if isinstance(value, list):
        return " ".join(_as_text(each) or "null" for each in value)
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _score(label, label_range, where):
    low, high = label_range
    try:
        score = float(label)
    except ValueError:
        score = math.nan
    if not low <= score <= high:
        raise ValueError(
            f"{where}: the score {excerpt(label)!r} is no number from {low:g} to {high:g}. Mend "
            "it, or give the task another label_range"
        )
    return (score - low) / (high - low)


def _check_label(label, labels, where):
    if not is_text(label):
        raise ValueError(
            f"{where}: label {excerpt(label)!r} is no text. Expected: UTF-8 without NUL. Mend the "
            "line, or take it out"
        )
    if not isinstance(labels, str) and label not in labels:
        raise ValueError(
            f"{where}: label {excerpt(label)!r} is unknown. Expected: "
            f"{excerpt(', '.join(labels))}. Mend the line, or the task's labels or column"
        )


def _mark_spans(text, target, where):
    """Marks two spans: the noun as _noun_, the pronoun as [pronoun], as CLUE's baselines do."""
    try:
        spans = [
            (target["span1_index"], target["span1_text"], "_", "_"),
            (target["span2_index"], target["span2_text"], "[", "]"),
        ]
        for start, span, before, after in sorted(spans, reverse=True):
            if (type(start), type(span)) != (int, str):
                raise TypeError
            stop = start + len(span)
            text = text[:start] + before + text[start:stop] + after + text[stop:]
    except (KeyError, TypeError):
        raise ValueError(
            f"{where}: the target must hold span1_index, span1_text, span2_index and span2_text. "
            f"Received: {excerpt(repr(target))}"
        ) from None
    return text


# ---- sentences ----------------------------------------------------------------------------------


def _read_sentences(path, source, task, needs_tags):
    examples, words, tags, places, width = [], [], [], [], 0
    known = set() if isinstance(task.labels, str) else set(task.labels)
    word_at, tag_at = source.columns["words"], source.columns.get("tags")

    def end_sentence():
        if words:
            kept = tuple(tags) if len(tags) == len(words) else None
            if kept and task.has_spans:
                kept = tuple(write_spans(read_spans(kept), len(kept)))
            if kept and not set(kept) <= known:
                for number, tag in zip(places, kept, strict=True):
                    _check_label(tag, task.labels, f"{path}, line {number}")
            examples.append(TaggingExample(str(len(examples)), tuple(words), kept))
            for each in (words, tags, places):
                each.clear()

    lines = list(read_lines(path))
    has_tabs = any("\t" in line for _, line in lines)
    for number, line in lines:
        if not line.strip() or line.startswith("-DOCSTART-"):
            end_sentence()
            continue
        if has_tabs and line.startswith("#") and "\t" not in line:
            continue  # a comment of CoNLL-U
        if has_tabs:
            fields = [field.strip() for field in line.rstrip("\r\n").split("\t")]
        else:
            fields = _SPACES.split(line.strip())
        has_tag = tag_at is not None and len(fields) > 1 and -len(fields) <= tag_at < len(fields)
        has_tag = has_tag and fields[tag_at] != ""
        width = width if words else len(fields)
        if (
            not -len(fields) <= word_at < len(fields)
            or (needs_tags and not has_tag)
            or len(fields) != width
        ):
            before = f", {width} in the line before" if len(fields) != width else ""
            raise ValueError(
                f"{path}, line {number}: {len(fields)} columns{before}. Expected: the word in "
                f"column {word_at}, its tag in column {tag_at}, {'tabs' if has_tabs else 'spaces'} "
                f"between. Received: {excerpt(line.strip())!r}"
            )
        words.append(fields[word_at])
        places.append(number)
        if has_tag:
            tag = fields[tag_at]
            if task.has_spans and tag != "O" and (tag[0] not in "BIES" or tag[1:2] != "-"):
                raise ValueError(
                    f"{path}, line {number}: tag {excerpt(tag)!r} marks no span. Expected: O, or "
                    "B-, I-, E- or S- and a type. Is it another column? Tags of single words want "
                    "the metric accuracy"
                )
            tags.append(tag)
    end_sentence()
    return examples
