"""Joins the TFRecord files of a build's units to the final ones.

Enters: per unit a TFRecord file and, beside it, the bytes and the tokens of each of its examples.
Leaves: files of equal numbers of examples, cut without regard to the units.
"""

import contextlib
import dataclasses
import os
import platform

import numpy as np

from electra.cloud import mirror
from electra.cloud.urls import is_url, origin
from electra.storage import published

SIZES = ".sizes"  # of a file's records beside it, int32 (n, 2): bytes, tokens
FILE_BYTES = 64 << 20  # size of a final file, if their number is not given
_TOGETHER = 4096  # records that are copied together


def count_examples(paths):
    """Returns how many examples the files hold."""
    return sum(os.path.getsize(path + SIZES) for path in paths) // (2 * np.int32().nbytes)


def count_bytes(path):
    """Returns how long a unit's file is by the sizes of its examples."""
    return int(_read_sizes(path)[:, 0].sum(dtype=np.int64))


def join_files(paths, work, output_dir, name, number, engine):
    """Joins TFRecord files.

    Args:
        paths: of the units' files, in order.
        work: folder on output_dir's file system for files that are not finished.
        output_dir, name: the files become <output_dir>/<name>.tfrecord-<i>-of-<n>.
        number: n, or 0 for files of about FILE_BYTES. No file is empty.
        engine: writes each of them, see engines.py.
    Returns: the manifest's entries of the files, list of dicts: name, examples, tokens.
    """
    if not number:
        number = max(1, round(sum(os.path.getsize(path) for path in paths) / FILE_BYTES))
    examples = count_examples(paths)
    number = min(number, examples)
    ends = [examples * (i + 1) // number for i in range(number)]
    entries = []

    def jobs():
        for i, pieces in enumerate(_cut(paths, ends)):
            file, first = f"{name}.tfrecord-{i}-of-{number}", ends[i - 1] if i else 0
            tokens = sum(piece.tokens for piece in pieces)
            entries.append({"name": file, "examples": ends[i] - first, "tokens": tokens})
            yield os.path.join(output_dir, file), pieces

    with contextlib.closing(engine(_write_file, jobs(), {"work": work})) as written:
        for _ in written:
            pass
    return entries


def _write_file(path, pieces, work):
    """Writes a final file from pieces of units; work is a folder for what is not finished."""
    # Of this machine, as a node that was given up as lost may still be writing.
    unfinished = os.path.join(work, platform.node(), os.path.basename(path))
    with published(unfinished) as file:
        for piece in pieces:
            with open(piece.path, "rb") as source:
                source.seek(piece.start)
                file.write(source.read(piece.num_bytes))
    os.replace(unfinished, path)
    if is_url(origin(path)):  # it does not stay on this machine
        mirror.push_file(path)
        os.remove(path)


def offsets_of(paths, entries):
    """Yields where the records of joined files begin, and each file ends, as its index has them.

    Args:
        paths: of the units' files, in order; entries: what join_files returned of them.
    Returns: iterator of int64 arrays.
    """
    left, at = [entry["examples"] for entry in entries], 0
    for path in paths:
        sizes = _read_sizes(path)[:, 0]
        while len(sizes):
            taken, sizes = np.split(sizes, [min(left[0], _TOGETHER)])
            ends = at + np.cumsum(taken, dtype=np.int64)
            yield np.append(at, ends[:-1])
            left[0], at = left[0] - len(taken), int(ends[-1])
            if not left[0]:
                yield np.array([at])
                left, at = left[1:], 0


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Records that lie together in a unit's file."""

    path: str
    start: int
    num_bytes: int
    tokens: int


def _cut(paths, ends):
    """Cuts the records of several TFRecord files, one after another, where final files end.

    Args:
        ends: rising numbers of records, the last of all of them.
    Yields: a list of _Piece for each end.
    """
    pieces, number, place = [], 0, 0
    for path in paths:
        sizes, start = _read_sizes(path), 0
        while len(sizes):
            taken, sizes = np.split(sizes, [min(ends[place] - number, _TOGETHER)])
            num_bytes, num_tokens = taken.sum(axis=0, dtype=np.int64).tolist()
            pieces.append(_Piece(path, start, num_bytes, num_tokens))
            start, number = start + num_bytes, number + len(taken)
            if number == ends[place]:
                yield pieces
                pieces, place = [], place + 1


def _read_sizes(path):
    """Returns the sizes of a file's records, int32 (n, 2), mapped: a unit may be a whole corpus."""
    if not os.path.getsize(path + SIZES):  # nothing to map
        return np.zeros((0, 2), np.int32)
    return np.memmap(path + SIZES, np.int32, "r").reshape(-1, 2)
