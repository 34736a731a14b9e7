"""The index of a folder's TFRecord files: where each record begins, so that opening reads no data.

<folder>/records.index holds a magic word, the length of its head (8 bytes, little-endian), the head
as JSON, zeros up to a multiple of 8, and uint64 numbers: file after file where the frame of each
record begins, and last where the file ends. It has no checksums of its own: those of the frames are
checked whenever a record is read. It may be removed at any time.
"""

import json
import os

import numpy as np
from absl import logging

from electra.cloud import mirror
from electra.cloud.files import names_in, size_of
from electra.cloud.urls import is_url, working_copy
from electra.storage import parse_json_dict, published

INDEX_NAME = "records.index"
_MAGIC = b"TFRINDEX"
_LARGEST_HEAD = 1 << 28  # bytes
_SHAPE = {"files": [{"name": str, "examples": int}]}


def write_index(folder, examples, parts):
    """Writes a folder's index atomically.

    Args:
        examples: dict name of a file -> how many records it holds.
        parts: iterable of int arrays; joined they are the files' offsets, in that order.
    """
    files = [{"name": name, "examples": number} for name, number in examples.items()]
    head = json.dumps({"files": files}).encode()
    with published(os.path.join(working_copy(folder), INDEX_NAME)) as file:
        file.write(_MAGIC + len(head).to_bytes(8, "little") + head + bytes(-len(head) % 8))
        for part in parts:
            file.write(part.astype("<u8").tobytes())


def read_index(folder):
    """Maps a folder's index.

    Returns: dict name of a file -> its offsets, uint64 (records + 1,); {} where there is no index
        or it is damaged, of which a warning tells.
    """
    path = os.path.join(working_copy(folder), INDEX_NAME)
    if is_url(folder) and INDEX_NAME in names_in(folder):  # else what was found out here counts
        mirror.pull_file(path)
    if not os.path.isfile(path):
        return {}
    try:
        return _mapped(path)
    except (OSError, ValueError) as error:
        logging.warning("%s is damaged and made anew: %s", path, error)
        return {}


def _mapped(path):
    with open(path, "rb") as file:
        start = file.read(16)
        length = int.from_bytes(start[8:], "little")
        if len(start) < 16 or start[:8] != _MAGIC or length > _LARGEST_HEAD:
            raise ValueError("it does not begin as an index does")
        files = parse_json_dict(file.read(length).decode(), "its head", _SHAPE)["files"]
    counts = [max(entry["examples"], 0) + 1 for entry in files]
    at = 16 + length + -length % 8
    if os.path.getsize(path) != at + 8 * sum(counts):
        raise ValueError(f"it has {os.path.getsize(path)} bytes, expected {at + 8 * sum(counts)}")
    # Mapped: nobody makes it shorter, since it is replaced as a whole.
    numbers = np.memmap(path, "<u8", "r", at, (sum(counts),)).view(np.ndarray)
    parts = np.split(numbers, np.cumsum(counts)[:-1])
    return {entry["name"]: part for entry, part in zip(files, parts, strict=True)}


def keep_index(folder, offsets):
    """Writes an index of files that had none, beside what it holds already.

    Args:
        folder: of the files.
        offsets: dict name of a file -> its offsets, int (records + 1,).
    Returns: the offsets, from now on mapped where the index could be written.
    """
    known = {name: part for name, part in read_index(folder).items() if name not in offsets}
    kept = {name: part for name, part in known.items() if _size(folder, name) == part[-1]}
    kept.update(offsets)
    try:
        write_index(folder, {name: len(part) - 1 for name, part in kept.items()}, kept.values())
    except OSError as error:
        logging.info("The index of %s is made anew at every start: %s", folder, error.strerror)
        return offsets
    written = read_index(folder)  # maybe by another machine meanwhile, whose process has our number
    return {
        name: written[name] if np.array_equal(written.get(name), part) else part
        for name, part in offsets.items()
    }


def _size(folder, name):
    path = os.path.join(folder, os.path.basename(name))
    try:
        return size_of(path)
    except FileNotFoundError:
        return None
