"""The formats of the fine-tuning files: a path enters, lines, rows and objects leave.

Tab- and comma-separated tables, a JSON object a line, plain lines; each also packed as .gz. What
cannot be read is refused with its file and line.
"""

import csv
import functools
import io
import itertools

from absl import logging

from electra.data import compressed
from electra.finetune.families import FAMILIES
from electra.storage import excerpt, parse_json_dict

STANDARD_INPUT = "standard input"
DELIMITERS = {"tsv": "\t", "csv": ","}
_LONGEST_LINE = 1 << 28  # bytes: a few packed ones may hold a line without an end


def format_of(path, source, task):
    """Returns the format of a file: as its row says, else as family and name say."""
    formats = FAMILIES[task.family].formats
    if kind := source.format or format_by_name(path, formats):
        return kind
    known = ", ".join(formats)
    raise ValueError(f"{path}: the name does not tell the format. Give the task one of {known}")


def format_by_name(path, formats):
    """Returns which of the formats a file's name tells, None for none.

    Args: formats: dict format -> tuple of the endings of a name; .gz may follow.
    """
    name = path.removesuffix(".gz")
    return next((kind for kind, endings in formats.items() if name.endswith(endings)), None)


def layout(path, source, task):
    """Returns (delimiter, whether fields are quoted, whether a header is there) of a tsv or csv
    file, None of others."""
    delimiter = DELIMITERS.get(format_of(path, source, task))
    if delimiter is None:
        return None
    is_quoted = delimiter == "," if source.is_quoted is None else source.is_quoted
    return delimiter, is_quoted, any(isinstance(c, str) for c in source.columns.values())


def table_rows(path, source, task, needs_label):
    """Yields (line number, dict role -> field) of a tsv or csv file."""
    delimiter, is_quoted, has_header = layout(path, source, task)
    rows = split_lines(path, is_quoted, delimiter)
    columns, skipped, optional = source.columns, 0, _optional(needs_label)
    first_line, header = next(rows, (0, []))
    if has_header:
        for role, column in columns.items() if first_line else ():
            count = header.count(column)
            if count > 1 or not (count or role in optional):
                problem = f"{count} columns" if count else "no column"
                raise ValueError(
                    f"{path}, line 1: {problem} {column!r} ({role}). Received: "
                    f"{excerpt(', '.join(header))}. {_advice(header, delimiter, column)}"
                )
        columns = {r: header.index(c) for r, c in columns.items() if c in header}
    elif first_line:
        rows = itertools.chain([(first_line, header)], rows)
    # Where labels are learnt from the file, a tab inside a text would make labels of its own.
    is_strict = is_quoted or isinstance(task.labels, str)
    for line, fields in rows:
        if is_strict and len(fields) > len(header):
            raise ValueError(
                f"{path}, line {line}: {len(fields)} columns, in line {first_line} {len(header)}. "
                f"Received: {excerpt(fields)}. Mend the line; is there a delimiter inside a text?"
            )
        missing = {r for r, c in columns.items() if not -len(fields) <= c < len(fields)}
        short = sorted(missing - optional)
        if short and not task.skips_short_rows:
            raise ValueError(
                f"{path}, line {line}: {len(fields)} columns, none for {', '.join(short)}. "
                f"Received: {excerpt(fields)}. Mend the line; is the delimiter right?"
            )
        skipped += bool(short)
        if not short:
            yield line, {r: fields[c] for r, c in columns.items() if r not in missing}
    if skipped:
        logging.warning("%s: %d rows that lack columns were left out.", path, skipped)


def _advice(header, delimiter, column):
    """Returns what to do where a header lacks a column, or has it twice."""
    for other in ",;\t|":
        if other != delimiter and len(header) == 1 and column in header[0].split(other):
            expected, received = map(repr, (delimiter, other))
            return f"Columns are cut at {expected}, these at {received}: save it with {expected}"
    return "Number them from 0 if there is no header"


def _optional(needs_label):
    """The roles that a file may lack."""
    return {"id"} if needs_label else {"id", "label"}


def split_lines(path, is_quoted, delimiter):
    """Yields (line number, fields) of the lines of a table that are not blank."""
    if not is_quoted:
        for number, line in read_lines(path):
            if line.strip("\r\n"):
                yield number, line.rstrip("\r\n").split(delimiter)
        return
    csv.field_size_limit(2**31 - 1)  # a text may be long; the module's default is 2^17 characters
    reader = csv.reader((line for _, line in read_lines(path)), delimiter=delimiter, strict=True)
    try:
        yield from ((reader.line_num, fields) for fields in reader if fields)
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}: {error}. Expected: fields in double quotes, quotes "
            "inside them doubled"
        ) from None


def json_rows(path, columns, needs_label):
    """Yields (line number, dict role -> value) of a file with a JSON object a line."""
    for line, values in json_lines(path):
        for role, key in columns.items():
            if key not in values and role not in _optional(needs_label):
                keys = excerpt(", ".join(values))
                raise ValueError(f"{path}, line {line}: no key {key!r} ({role}). Received: {keys}")
        yield line, {role: values[key] for role, key in columns.items() if key in values}


def json_lines(path):
    """Yields (line number, dict) of a file with a JSON object a line."""
    for number, line in read_lines(path):
        if line.strip():
            yield number, parse_json_dict(line.strip(), f"{path}, line {number}")


def read_lines(path):
    """Yields (line number, line with its end) of a text file, packed or not.

    Args: path: str; STANDARD_INPUT for what is piped in.
    """
    number, is_piped = 0, path == STANDARD_INPUT
    try:
        with open(0 if is_piped else path, "rb", closefd=not is_piped) as file:
            if path.endswith(".gz"):
                file = io.BufferedReader(compressed.unpack(file, ".gz"))
            lines = iter(functools.partial(file.readline, _LONGEST_LINE), b"")
            for number, line in enumerate(lines, 1):
                if len(line) == _LONGEST_LINE:
                    raise ValueError(
                        f"{path}, line {number} has {_LONGEST_LINE} bytes or more. Cut it"
                    )
                text = line.decode("utf-8")
                yield number, text.removeprefix("\ufeff") if number == 1 else text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, line {number} is not UTF-8 ({error.reason}). Convert the file"
        ) from None
    except compressed.DAMAGE as error:
        raise ValueError(f"{path} is damaged behind line {number}: {error}. Get it anew") from None
    except OSError as error:
        error.filename = error.filename or path  # what fails while it is read has no name
        raise
