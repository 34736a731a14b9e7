"""What the commands that answer texts share: flags, reading, answering chunk by chunk, writing.

    --text "..." --text "..."        or  --input FILE, - for standard input
    --output FILE                    else standard output; it appears whole or not at all, packed
                                     where its name ends in .gz

Enters: absl's flags and a function of the loaded model. Leaves: an answer for each row.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from absl import flags

from electra import console
from electra.serve import page, rows
from electra.serve.inputs import TextError
from electra.serve.rows import Column, Row, plain
from electra.serve.views import View
from electra.storage import published

flags.disclaim_key_flags()  # --help shows them with the command that calls define_flags

BOOLEANS = ("quoted",)
_OUTPUTS = {
    "text": (".txt",),
    "json": (".json",),
    "jsonl": (".jsonl",),
    "html": (".html", ".htm"),
    "csv": (".csv",),
    "tsv": (".tsv",),
}


class Use(NamedTuple):
    """What a command does with a model.

    Attributes:
        columns: dict role -> Column; the first is that of --text and of plain lines.
        answer: function of a list of dicts role -> text; returns an answer for each.
        view: View of an answer.
        texts: dict role -> list of str, as flags give them in place of a file.
    """

    columns: dict[str, Column]
    answer: Callable[[list[dict[str, Any]]], list[Any]]
    view: View
    texts: dict[str, list[str]]


def define_flags() -> None:
    """Defines the flags that the commands share."""
    text = flags.DEFINE_string
    text("model_dir", None, "Folder of a run, or a checkpoint.", required=True)
    text("vocab_file", None, "Vocabulary. Default: vocab.txt beside the model.")
    flags.DEFINE_multi_string("text", None, "A text; may be given several times.")
    text("input", None, "File of texts, one a row, also as .gz; - for standard input.")
    about = "Of the input. Default: as its name ends, of standard input text."
    flags.DEFINE_enum("input_format", None, list(rows.ENDINGS), about)
    flags.DEFINE_boolean("quoted", None, "Fields stand in quotes. Default: in csv, not in tsv.")
    text("text_column", None, "Column of the text: a name, or a number where no header is.")
    text("id_column", None, "Column that names a row. Default: id, else rows are numbered.")
    text("output", None, "File to write. Default: standard output.")
    about = "Default: as the output's name ends, on standard output text."
    flags.DEFINE_enum("output_format", None, list(_OUTPUTS), about)
    flags.DEFINE_integer("batch_size", 32, "Texts of full length at once; more of shorter ones.")
    text("precision", "auto", "auto, float32, bfloat16 or float16.")


def run(values: Any, use_of: Callable[[Any], Use]) -> None:
    """Answers what the flags name.

    Args:
        values: absl's flags.
        use_of: function of the LoadedModel; returns its Use.
    Raises:
        FileNotFoundError, ValueError: model, flags or a row cannot be used; file and line are
            named.
    """
    kind, output_kind = _checked(values)
    from electra.serve.model import load

    given = {name: getattr(values, name) for name in ("vocab_file", "precision")}
    use = use_of(load(values.model_dir, streaming=True, **given))
    if output_kind in ("csv", "tsv") and use.view.cells is None:
        raise ValueError(
            f"--output_format {output_kind}: a row has many answers here. Expected: one of text, "
            "json, jsonl, html"
        )
    if values.input is None:
        given = rows.given_rows(use.columns, use.texts)
    else:
        given = rows.read_rows(values.input, kind, use.columns, values.quoted)
    with _opened(values.output, output_kind) as write:
        for part in _RENDER[output_kind](use.view, _answered(given, use, values.output)):
            write(part)


def text_column(values: Any, *usual: str) -> Column:
    """Returns the column of the text as flags say, else the one of the usual names."""
    return Column("text_column", values.text_column, (*usual, "text", "sentence"))


def id_column(values: Any, *usual: str) -> Column:
    """Returns the column of a row's name."""
    return Column("id_column", values.id_column, ("id", *usual), is_needed=False)


def _checked(values: Any) -> tuple[str, str]:
    """Returns the formats of input and output. Raises before a model is loaded."""
    if not values.text and values.input is None:
        raise ValueError(
            "There is no text to score. Give one or more with --text, or a file with --input"
        )
    if values.text and values.input is not None:
        raise ValueError("--text and --input exclude each other. Leave one out")
    kind = "text"
    if values.input is not None:
        rows.refuse_unreadable(values.input)
        kind = values.input_format
        if kind is None and values.input != "-":
            kind = rows.format_of(values.input, None, rows.ENDINGS, "--input_format")
    output = values.output
    if output is None:
        return kind or "text", values.output_format or "text"
    if os.path.exists(output) and not os.path.isfile(output):
        raise ValueError(
            f"--output {output} is there and no file. Name a file, or leave --output out for "
            "standard output"
        )
    return kind or "text", rows.format_of(output, values.output_format, _OUTPUTS, "--output_format")


def _answered(given: Iterator[Row], use: Use, output: str | None) -> Iterator[tuple[Row, Any]]:
    """Yields rows with their answers; memory does not grow with their number."""
    is_hidden = output is None and _is_terminal(sys.stdout)
    look: dict[str, Any] = {"unit": " rows", "delay": 2, "leave": False}
    with console.bar(desc="answered", disable=is_hidden, **look) as bar:
        for chunk in rows.chunks(given):
            try:
                answers = use.answer([row.values for row in chunk])
            except TextError as error:
                where = chunk[error.number].where
                raise ValueError(f"{where}: the text {error.problem}") from None
            yield from zip(chunk, answers, strict=True)
            bar.update(len(chunk))


def _is_terminal(file: Any) -> bool:
    return file is not None and file.isatty()


@contextlib.contextmanager
def _opened(path: str | None, kind: str) -> Iterator[Callable[[str], None]]:
    """Opens the output; yields the function that writes a text to it."""
    if path is None:
        if sys.stdout and kind != "text":
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        yield lambda text: print(text, end="", flush=True)
        return
    with published(path) as file, contextlib.ExitStack() as stack:
        if path.endswith(".gz"):
            file = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0))
        yield lambda text: file.write(text.encode("utf-8", "backslashreplace"))


Answered = Iterable[tuple[Row, Any]]


def _text(view: View, answered: Answered) -> Iterator[str]:
    for row, answer in answered:
        heading = [plain(value) for role, value in row.values.items() if role != "context"]
        yield "\n".join(["", *heading, view.text(answer), ""])


def _records(view: View, answered: Answered) -> Iterator[str]:
    for row, answer in answered:
        record = {"id": row.id, **row.values, **view.record(answer)}
        yield json.dumps(record, ensure_ascii=False, allow_nan=False)


def _jsonl(view: View, answered: Answered) -> Iterator[str]:
    for record in _records(view, answered):
        yield f"{record}\n"


def _json(view: View, answered: Answered) -> Iterator[str]:
    before = "[\n"
    for record in _records(view, answered):
        yield before + record
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _html(view: View, answered: Answered) -> Iterator[str]:
    yield page.head("ELECTRA", view.legend)
    for row, answer in answered:
        yield f"<article>\n{view.html(row.values, answer)}</article>\n"
    yield page.FOOT


def _csv(view: View, answered: Answered) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    for cells in _cells(view, answered):
        writer.writerow(cells)
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def _tsv(view: View, answered: Answered) -> Iterator[str]:
    for cells in _cells(view, answered):
        yield "\t".join(" ".join(str(cell).split()) for cell in cells) + "\n"


def _cells(view: View, answered: Answered) -> Iterator[list[Any]]:
    """Yields the header, and then rows: the input's fields and what is predicted beside them."""
    names: list[str] = []
    for row, answer in answered:
        cells = view.cells(answer)
        if not names:
            names = list(cells)
            header = list(row.names)
            for name in names:
                while name in header:  # it may have been predicted before
                    name += "_"
                header.append(name)
            yield header
        yield [*row.fields, *(cells[name] for name in names)]


_RENDER = {
    "text": _text,
    "json": _json,
    "jsonl": _jsonl,
    "html": _html,
    "csv": _csv,
    "tsv": _tsv,
}
