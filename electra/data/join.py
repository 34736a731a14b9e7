"""Joins the TFRecord files of a build's units to the final ones.

Enters: per unit a TFRecord file and, beside it, the number of tokens of each of its examples.
Leaves: files of equal numbers of examples, cut without regard to the units. One unit is in memory
at a time.
"""

import os

import numpy as np

from electra.data.reader import index_file

FILE_BYTES = 64 << 20  # size of a final file, if their number is not given
_LENGTHS = ".lengths"


def write_lengths(path, lengths, unfinished):
    """Writes the tokens of each example of `path` beside it, under an unfinished name first."""
    np.array(lengths, np.int32).tofile(path + _LENGTHS + unfinished)
    os.replace(path + _LENGTHS + unfinished, path + _LENGTHS)


def count_examples(paths):
    """Returns how many examples the files hold, by their lengths."""
    return sum(os.path.getsize(path + _LENGTHS) for path in paths) // np.int32().nbytes


def join_files(paths, work, output_dir, name, number):
    """Joins TFRecord files.

    Args:
        paths: of the units' files, in order.
        work: folder on output_dir's file system for files that are not finished.
        output_dir, name: the files become <output_dir>/<name>.tfrecord-<i>-of-<n>.
        number: n, or 0 for files of about FILE_BYTES. No file is empty.
    Returns: the manifest's entries of the files, list of dicts: name, examples, tokens.
    """
    if not number:
        number = max(1, round(sum(os.path.getsize(path) for path in paths) / FILE_BYTES))
    examples = count_examples(paths)
    number = min(number, examples)
    entries, chunks = [], _Chunks(paths)
    for i in range(number):
        count = examples * (i + 1) // number - examples * i // number
        entry = {"name": f"{name}.tfrecord-{i}-of-{number}", "examples": count, "tokens": 0}
        unfinished = os.path.join(work, entry["name"])
        with open(unfinished, "wb") as file:
            for records, tokens in chunks.take(count):
                file.write(records)
                entry["tokens"] += tokens
        os.replace(unfinished, os.path.join(output_dir, entry["name"]))
        entries.append(entry)
    return entries


class _Chunks:
    """The records of several TFRecord files one after another."""

    def __init__(self, paths):
        self._paths, self._at, self._lengths = iter(paths), 0, ()

    def take(self, count):
        """Yields the next `count` records in chunks: (their bytes, their tokens)."""
        while count:
            left = len(self._lengths) - self._at
            if not left:
                path = next(self._paths)
                self._lengths, self._at = np.fromfile(path + _LENGTHS, np.int32), 0
                self._data, starts, _ = index_file(path)
                self._borders = [*(starts - 12).tolist(), len(self._data)]
                continue
            some = min(count, left)
            stop = self._at + some
            yield (
                self._data[self._borders[self._at] : self._borders[stop]],
                int(self._lengths[self._at : stop].sum()),
            )
            self._at = stop
            count -= some
