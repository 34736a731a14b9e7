"""Writes examples as TFRecords, many at a time: tf.train.Example encoded by hand in NumPy.

Enters: a matrix of token ids with lengths and segment borders. Leaves: a TFRecord file whose
records hold input_ids, input_mask and segment_ids, int64 lists of max_seq_length values; beside
it the bytes and the tokens of each record.
"""

import errno
import functools
import os

import numpy as np
import tensorflow as tf

from electra.data.join import SIZES

BATCH = 1024  # examples encoded together
FRAME_BYTES = 16  # what a TFRecord file adds to a record: its length and two checksums


class RecordWriter:
    """Writes examples to one TFRecord file, their sizes to `path` + SIZES; a context manager.

    The sizes are written as they come: a compressed corpus of one file is one unit of work,
    however large it is.

    Args:
        path: of the file.
        max_seq_length: L.
    """

    def __init__(self, path, max_seq_length):
        self._path, self._writer = path, tf.io.TFRecordWriter(path)
        self._rows = np.zeros((BATCH, max_seq_length), np.int32)
        self._lengths, self._starts = np.zeros((2, BATCH), np.int32)
        self._waiting = 0

    def __enter__(self):
        self._sizes = open(self._path + SIZES, "wb")
        return self

    def __exit__(self, *error):
        try:
            if error[0] is None:
                self._flush()
            self._writer.close()
            self._sizes.close()
        except tf.errors.OpError as failed:
            if error[0] is None:
                raise _os_error(failed, self._path) from None

    def write(self, builder, example):
        """Writes an example (A, B) of an ExampleBuilder."""
        i = self._waiting
        self._lengths[i], self._starts[i] = builder.write_row(example, self._rows[i])
        self._waiting += 1
        if self._waiting == BATCH:
            self._flush()

    def _flush(self):
        n = self._waiting
        lengths = self._lengths[:n]
        records = encode_examples(self._rows[:n], lengths, self._starts[:n])
        try:
            for record in records:
                self._writer.write(record)
        except tf.errors.OpError as error:
            raise _os_error(error, self._path) from None
        sizes = np.empty((n, 2), np.int32)
        sizes[:, 0] = [len(record) + FRAME_BYTES for record in records]
        sizes[:, 1] = lengths
        self._sizes.write(sizes.tobytes())
        self._rows[:n] = 0
        self._waiting = 0


def _os_error(error, path):
    is_full = isinstance(error, tf.errors.ResourceExhaustedError)
    number = errno.ENOSPC if is_full else errno.EIO
    return OSError(number, os.strerror(number), path)


def encode_examples(input_ids, lengths, segment_starts):
    """Encodes examples as tf.train.Example.

    Args:
        input_ids: int32 (n, L), 0 behind each example.
        lengths: int32 (n,), tokens of each example.
        segment_starts: int32 (n,), where segment 1 begins; the length where there is none.
    Returns: list of n bytes.
    Source: the wire format of Protocol Buffers. A number is a varint: seven bits a byte, the
        lowest first, the top bit says that more follow; 300 is AC 02.
    """
    n, length = input_ids.shape
    place = np.arange(length)
    input_mask = place < lengths[:, None]
    segment_ids = input_mask & (place >= segment_starts[:, None])
    # Zeros and ones are one byte each, so both features have one layout for all examples.
    mask_head, segment_head = (
        np.frombuffer(_feature_head(name, length), np.uint8) for name in (b"input_mask",
                                                                          b"segment_ids")
    )  # fmt: skip
    tails = np.concatenate(
        [np.tile(mask_head, (n, 1)), input_mask, np.tile(segment_head, (n, 1)), segment_ids],
        axis=1, dtype=np.uint8, casting="unsafe",
    )  # fmt: skip
    tail_size, tails = tails.shape[1], tails.tobytes()
    ids, ends = _varints(input_ids)
    records, start = [], 0
    for i, end in enumerate(ends):
        head = _record_head(end - start, tail_size)
        records.append(
            b"".join((head, ids[start:end], tails[i * tail_size : (i + 1) * tail_size]))
        )
        start = end
    return records


def _varints(numbers):
    """Returns the varints of all rows joined, and where each row ends (list)."""
    numbers = numbers.astype(np.uint32)
    width = 1
    while int(numbers.max(initial=0)) >> (7 * width):
        width += 1
    digits = np.empty((*numbers.shape, width), np.uint8)
    used = np.empty(digits.shape, bool)
    for k in range(width):
        more = numbers >= np.uint32(1 << (7 * (k + 1))) if k < width - 1 else False
        digits[..., k] = ((numbers >> np.uint32(7 * k)) & np.uint32(127)) | (
            np.uint32(128) * more if k < width - 1 else 0
        )
        used[..., k] = numbers >= np.uint32(1 << (7 * k)) if k else True
    ends = np.cumsum(used.sum(axis=(1, 2)))
    return digits[used].tobytes(), ends.tolist()


@functools.lru_cache(maxsize=4096)
def _record_head(ids_bytes, tail_size):
    """Everything before the ids' own bytes: the sizes of what encloses them."""
    head = _feature_head(b"input_ids", ids_bytes)
    return b"\x0a" + _varint(len(head) + ids_bytes + tail_size) + head


@functools.lru_cache(maxsize=4096)
def _feature_head(name, size):
    """A map entry {name: Feature(int64_list=...)} up to the list's own bytes, `size` of them."""
    int64_list = b"\x0a" + _varint(size)
    feature = b"\x1a" + _varint(len(int64_list) + size) + int64_list
    key = b"\x0a" + _varint(len(name)) + name
    entry = key + b"\x12" + _varint(len(feature) + size) + feature
    return b"\x0a" + _varint(len(entry) + size) + entry


def _varint(number):
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)
