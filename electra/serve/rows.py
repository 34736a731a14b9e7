"""What the commands read: a file, standard input or flags enter, rows leave one by one.

A text a line, a table (tsv, csv) or a JSON object a line; each also packed as .gz. What cannot be
read is refused with its file and line.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from electra.finetune.command import column as name_or_number
from electra.finetune.files import (
    DELIMITERS,
    STANDARD_INPUT,
    format_by_name,
    json_lines,
    read_lines,
    split_lines,
)
from electra.storage import excerpt

ENDINGS = {"text": (".txt",), "tsv": (".tsv",), "csv": (".csv",), "jsonl": (".jsonl", ".json")}
_CHUNK_ROWS, _CHUNK_CHARACTERS = 2000, 1 << 22  # read and answered at once


@dataclasses.dataclass(frozen=True)
class Column:
    """Where a table or a JSON object holds what a row is made of.

    Attributes:
        flag: the flag that names the column; given: what it says, None for nothing.
        usual: names that are looked for where the flag says nothing, in order.
        is_needed: whether each row has it.
        may_be_words: whether a list of strings is one of words, not to be joined.
    """

    flag: str
    given: str | None
    usual: tuple[str, ...]
    is_needed: bool = True
    may_be_words: bool = False

    @property
    def key(self) -> str | int | None:
        """The column as given: a name, or a number, and then a table has no header."""
        return None if self.given is None else name_or_number(self.given)

    def find(self, names: Iterable[str]) -> str | None:
        """Returns which of the names the column has."""
        tried = self.usual if self.given is None else (self.given,)
        return next((name for name in tried if name in names), None)


class Row(NamedTuple):
    """One row.

    Attributes:
        where: file and line, for messages.
        id: str, the row's own, else its number from 0.
        values: dict role -> text (or list of words); a role that the row lacks is left out.
        names, fields: the columns as they stood in a table, else id and roles with their values.
    """

    where: str
    id: str
    values: dict[str, str | list[str]]
    names: list[str]
    fields: list[str]


def format_of(path: str, given: str | None, endings: dict[str, tuple[str, ...]], flag: str) -> str:
    """Returns a file's format: as given, else as its name ends.

    Raises:
        ValueError: the name does not tell it.
    """
    if kind := given or format_by_name(path, endings):
        return kind
    raise ValueError(
        f"{path}: the name does not tell the format. Expected: a name that ends in "
        f"{', '.join(end for ends in endings.values() for end in ends)}; or give {flag} one of "
        f"{', '.join(endings)}"
    )


def read_rows(
    path: str, kind: str, columns: dict[str, Column], is_quoted: bool | None = None
) -> Iterator[Row]:
    """Reads a file row by row.

    Args:
        path: "-" for standard input.
        kind: a key of ENDINGS.
        columns: dict role -> Column; the first is that of a plain text's line.
        is_quoted: whether a table's fields stand in double quotes; None: in csv, not in tsv.
    Raises:
        OSError, ValueError: the file cannot be read; file and line are named.
    """
    path = STANDARD_INPUT if path == "-" else path
    if kind == "text":
        return _text_rows(path, columns)
    if kind == "jsonl":
        return _json_rows(path, columns)
    return _table_rows(path, DELIMITERS[kind], columns, is_quoted)


def given_rows(columns: dict[str, Column], texts: dict[str, list[str]]) -> Iterator[Row]:
    """Makes rows of what flags say.

    Args: texts: dict role -> list of str, as many for each; a role without texts is left out.
    """
    found, remedy = [role for role in texts if texts[role]], "Give --text_b as often as --text"
    _refuse_missing(columns, found, "Command line", remedy)
    texts = {role: given for role, given in texts.items() if given}
    for number, parts in enumerate(zip(*texts.values(), strict=True)):
        where = f"Command line, text {number + 1}"
        yield _row(where, number, columns, dict(zip(texts, parts, strict=True)))


def plain(value: str | list[str]) -> str:
    """Returns a text, or words as one."""
    return value if isinstance(value, str) else " ".join(value)


def chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yields lists of rows, each to be answered at once: memory does not grow with the input."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += sum(map(len, row.fields)) + sum(len(value) for value in row.values.values())
        if len(chunk) == _CHUNK_ROWS or size >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _text_rows(path: str, columns: dict[str, Column]) -> Iterator[Row]:
    role = next(iter(columns))
    _refuse_missing(columns, [role], path)
    lines = ((n, line.rstrip("\r\n")) for n, line in read_lines(path) if line.strip())
    for number, (line, text) in enumerate(lines):
        yield _row(f"{path}, line {line}", number, columns, {role: text})


def _json_rows(path: str, columns: dict[str, Column]) -> Iterator[Row]:
    for number, (line, values) in enumerate(json_lines(path)):
        where = f"{path}, line {line}"
        keys = {role: column.find(values) for role, column in columns.items()}
        _refuse_not_found(columns, keys, list(values), where, "key")
        found = {role: values[key] for role, key in keys.items() if key is not None}
        yield _row(where, number, columns, found)


def _table_rows(
    path: str, delimiter: str, columns: dict[str, Column], is_quoted: bool | None
) -> Iterator[Row]:
    quoted = delimiter == "," if is_quoted is None else is_quoted
    rows = split_lines(path, quoted, delimiter)
    given = [column.key for column in columns.values() if column.key is not None]
    if not given or any(isinstance(key, str) for key in given):
        first, names = next(rows, (1, []))
        if not names:
            return
        keys = {role: column.find(names) for role, column in columns.items()}
        _refuse_not_found(columns, keys, names, f"{path}, line {first}", "column")
        _refuse_doubled(names, keys, f"{path}, line {first}")
        places = {role: names.index(key) for role, key in keys.items() if key is not None}
    else:
        keys = {role: column.key for role, column in columns.items()}
        _refuse_missing(columns, [role for role, key in keys.items() if key is not None], path)
        places, names = {role: key for role, key in keys.items() if key is not None}, []
    for number, (line, fields) in enumerate(rows):
        where = f"{path}, line {line}"
        names = names or [f"column_{place}" for place in range(len(fields))]
        if len(fields) != len(names):
            raise ValueError(
                f"{where}: {len(fields)} columns, before it {len(names)}. Received: "
                f"{excerpt(fields)}. Mend the line; is the delimiter right?"
            )
        outside = [role for role, i in places.items() if not -len(fields) <= i < len(fields)]
        if outside:
            raise ValueError(
                f"{where}: {len(fields)} columns, none for {', '.join(outside)}. Received: "
                f"{excerpt(fields)}. Columns count from 0"
            )
        found = {role: fields[place] for role, place in places.items()}
        yield _row(where, number, columns, found)._replace(names=names, fields=fields)


def _row(where: str, number: int, columns: dict[str, Column], found: dict) -> Row:
    from electra.finetune.families.text import as_text  # with Keras, which --help needs not

    values = {}
    for role, value in found.items():
        if columns[role].may_be_words and isinstance(value, list):
            if not all(isinstance(word, str) and word.strip() for word in value):
                raise ValueError(
                    f"{where}: {role} must be a text, or a list of words, none empty. Received: "
                    f"{excerpt(value)}. Mend the line"
                )
            text = " ".join(value)
        else:
            value = text = as_text(value)
        if not (text or "").strip():
            if columns[role].is_needed:
                raise ValueError(f"{where}: no {role}. Mend the line, or take it out")
            continue
        values[role] = value
    id_ = values.pop("id", str(number))
    names = ["id", *(role for role in columns if role != "id")]
    return Row(where, id_, values, names, [id_, *(plain(values.get(r, "")) for r in names[1:])])


def _refuse_missing(
    columns: dict[str, Column], found: list[str], where: str, remedy: str = ""
) -> None:
    for role, column in columns.items():
        if column.is_needed and role not in found:
            a_file = f"Give a tsv, csv or jsonl file with a column for it, named by --{column.flag}"
            beside = f" beside {', '.join(found)}" if found else ""
            raise ValueError(
                f"{where}: no {role}, which this model needs{beside}. {remedy or a_file}"
            )


def _refuse_not_found(
    columns: dict[str, Column],
    keys: dict[str, str | None],
    names: list[str],
    where: str,
    what: str,
) -> None:
    for role, column in columns.items():
        if keys[role] is None and (column.is_needed or column.given is not None):
            tried = column.given or " or ".join(column.usual)
            number = ", or number it from 0 if there is no header" * (what == "column")
            raise ValueError(
                f"{where}: no {what} {tried} ({role}). Received: {excerpt(', '.join(names))}. Name "
                f"it with --{column.flag}{number}"
            )


def _refuse_doubled(names: list[str], keys: dict[str, str | None], where: str) -> None:
    for role, key in keys.items():
        if key is not None and names.count(key) > 1:
            raise ValueError(
                f"{where}: {names.count(key)} columns {key!r} ({role}). Received: "
                f"{excerpt(', '.join(names))}. Rename all but one"
            )


def refuse_unreadable(path: str) -> None:
    """Refuses an input that is not there, before a model is loaded. Raises: FileNotFoundError."""
    if path != "-" and not os.path.exists(path):
        raise FileNotFoundError(
            f"No file {path}. Expected: a file of texts, or - for standard input"
        )
