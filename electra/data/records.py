"""Writes examples as TFRecords, many at a time: tf.train.Example encoded by hand in NumPy.

Enters: examples of an ExampleBuilder. Leaves: a TFRecord file whose records hold input_ids,
input_mask and segment_ids, int64 lists of max_seq_length values; beside it the bytes and the tokens
of each record.
"""

import contextlib
import errno
import functools
import itertools
import os

import numpy as np
import tensorflow as tf

from electra.data.join import SIZES

BATCH = 1024  # examples encoded together
FRAME_BYTES = 16  # what a TFRecord file adds to a record: its length and two checksums
_FIRST_BYTES = np.tri(5, 4, -1, dtype=bool)  # row n: the first n of four bytes


class RecordWriter:
    """Writes examples to one TFRecord file, their sizes to `path` + SIZES; a context manager.

    The sizes are written as they come: a compressed corpus of one file is one unit of work,
    however large it is.

    Args:
        path: of the file.
        max_seq_length: L.
    """

    def __init__(self, path, max_seq_length):
        with _os_errors(path):
            self._path, self._writer = path, tf.io.TFRecordWriter(path)
        self._max_seq_length, self._waiting = max_seq_length, []

    def __enter__(self):
        self._sizes = open(self._path + SIZES, "wb")
        return self

    def __exit__(self, *error):
        try:
            if error[0] is None:
                self._flush()
            with _os_errors(self._path):
                self._writer.close()
                self._sizes.close()
        except OSError:
            if error[0] is None:
                raise

    def write(self, examples):
        """Writes examples of an ExampleBuilder; a list of any length."""
        self._waiting += examples
        while len(self._waiting) >= BATCH:
            self._flush()

    def _flush(self):
        examples, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        records, sizes = encode_examples(examples, self._max_seq_length)
        with _os_errors(self._path):
            for record in records:
                self._writer.write(record)
            self._sizes.write(sizes.tobytes())


@contextlib.contextmanager
def _os_errors(path):
    """Names the file; TensorFlow gives a full disk and a quota the class of too little memory."""
    try:
        yield
    except tf.errors.OpError as error:
        ends = (n for n in errno.errorcode if error.message.endswith(os.strerror(n)))
        number = next(ends, errno.EIO)
        raise OSError(number, os.strerror(number), path) from None
    except OSError as error:
        error.filename = path  # what a full disk refuses has no name
        raise


def encode_examples(examples, max_seq_length):
    """Encodes examples as tf.train.Example.

    Args:
        examples: list, as ExampleBuilder gives them.
        max_seq_length: L; behind an example's ids are zeros.
    Returns: list of bytes; the bytes of each record in a file and its tokens, int32 (n, 2).
    Source: the wire format of Protocol Buffers. A number is a varint: seven bits a byte, the
        lowest first, the top bit says that more follow; 300 is AC 02.
    """
    if not examples:
        return [], np.zeros((0, 2), np.int32)
    pieces, starts, lengths = zip(*examples, strict=True)
    starts, lengths = np.array([starts, lengths])[..., np.newaxis]
    places = np.arange(max_seq_length)
    input_mask = places < lengths  # (n, L)
    segment_ids = input_mask & (places >= starts)
    input_ids = np.zeros(input_mask.shape, np.intp)
    input_ids[input_mask] = np.concatenate(list(itertools.chain.from_iterable(pieces)))
    # Zeros and ones are one byte each, so both features have one layout for all examples.
    tails = []
    for name, flags in ((b"input_mask", input_mask), (b"segment_ids", segment_ids)):
        head = np.frombuffer(_feature_head(name, max_seq_length), np.uint8)
        tails += [np.tile(head, (len(flags), 1)), flags.view(np.uint8)]
    tails = np.concatenate(tails, axis=1)
    tail_size, tails = tails.shape[1], tails.tobytes()
    ids, ends = _varints(input_ids)
    records, start, tail = [], 0, 0
    for end in ends:
        head = _record_head(end - start, tail_size)
        records.append(b"".join((head, ids[start:end], tails[tail : tail + tail_size])))
        start, tail = end, tail + tail_size
    sizes = np.array([len(record) + FRAME_BYTES for record in records], np.int32)
    return records, np.stack([sizes, lengths[:, 0].astype(np.int32)], axis=1)


def _varints(numbers):
    """Returns the varints of all rows joined, and where each row ends (list)."""
    packed, sizes = _varint_table(int(numbers.max()).bit_length())
    sizes = sizes.take(numbers)
    digits = packed.take(numbers).view(np.uint8)
    used = _FIRST_BYTES.take(sizes, axis=0)
    # np.compress is twice as fast as digits[used] here.
    joined = np.compress(used.ravel(), digits.ravel())
    return joined.tobytes(), np.cumsum(sizes.sum(axis=1)).tolist()


@functools.lru_cache(maxsize=4)
def _varint_table(bits):
    """The varints of all numbers of `bits` bits, 28 at most.

    Returns: uint32 (2^bits,), four bytes each, and int (2^bits,), how many of them are used.
    """
    numbers = np.arange(1 << bits, dtype=np.uint32)
    packed, sizes = numbers & 127, np.ones(len(numbers), np.intp)
    for k in range(1, 4):
        goes_on = numbers >= 1 << 7 * k
        sizes += goes_on
        packed |= goes_on.astype(np.uint32) << (8 * k - 1) | (numbers >> 7 * k & 127) << 8 * k
    return packed.astype("<u4"), sizes


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
