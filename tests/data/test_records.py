"""Records as bytes: what TensorFlow itself parses."""

import errno
import os

import numpy as np
import pytest
import tensorflow as tf

from electra.data.join import SIZES
from electra.data.records import BATCH, RecordWriter, encode_examples
from tests.data.tiny import encode, parse

# Ids whose varints take 1, 2, 3 and 4 bytes, at the borders.
IDS = [1, 127, 128, 300, 16383, 16384, 30521, 2_097_151, 2_097_152, 0, 0, 0]


def example(ids, start):
    """An example as ExampleBuilder gives it, in two pieces."""
    ids = np.array(ids, np.int32)
    return [ids[:2], ids[2:]], start, len(ids)


def test_records_are_parsed_to_the_same_numbers():
    records, sizes = encode_examples([example(IDS[:9], 4), example([5, 6, 3], 3)], 12)
    assert [parse(record) for record in records] == [
        {
            "input_ids": IDS,
            "input_mask": [1] * 9 + [0] * 3,
            "segment_ids": [0] * 4 + [1] * 5 + [0] * 3,
        },
        {
            "input_ids": [5, 6, 3] + [0] * 9,
            "input_mask": [1] * 3 + [0] * 9,
            "segment_ids": [0] * 12,
        },
    ]
    assert sizes.tolist() == [[len(records[0]) + 16, 9], [len(records[1]) + 16, 3]]


@pytest.mark.parametrize("length", [5, 127, 128, 300, 512])
def test_records_are_as_long_as_those_of_tensorflow(length):
    # The order of a map's entries is free, their bytes are not.
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 70000, (3, length), np.int32)
    ours, _ = encode_examples([example(row, 4) for row in ids], length)
    for record, row in zip(ours, ids, strict=True):
        theirs = encode(row, [1] * length, [0] * 4 + [1] * (length - 4))
        assert parse(record) == parse(theirs)
        assert len(record) == len(theirs)


def test_a_vocabulary_below_128_takes_one_byte_an_id():
    (record,), _ = encode_examples([example([7] * 8, 8)], 8)
    assert bytes([7] * 8) in record
    assert parse(record)["input_ids"] == [7] * 8


@pytest.mark.parametrize("together", [1, 3 * BATCH])
def test_a_writer_writes_more_examples_than_it_encodes_together(tmp_path, together):
    path = str(tmp_path / "records")
    numbers = range(BATCH + 3 if together == 1 else together)
    # Every second example is shorter: nothing of the one before it may be left.
    examples = [
        example([2, 10 + i, 3, i % 5, 3], 3) if i % 2 else example([2, *[10 + i] * 4, 3], 6)
        for i in numbers
    ]
    with RecordWriter(path, 8) as writer:
        for start in range(0, len(examples), together):
            writer.write(examples[start : start + together])
    records = [parse(record) for record in tf.data.TFRecordDataset(path).as_numpy_iterator()]
    sizes = np.fromfile(path + SIZES, np.int32).reshape(-1, 2)
    assert len(records) == len(sizes) == len(numbers)
    assert records[BATCH]["input_ids"] == [2, *[10 + BATCH] * 4, 3, 0, 0]
    assert records[1] == {
        "input_ids": [2, 11, 3, 1, 3, 0, 0, 0],
        "input_mask": [1, 1, 1, 1, 1, 0, 0, 0],
        "segment_ids": [0, 0, 0, 1, 1, 0, 0, 0],
    }
    assert sizes[:2, 1].tolist() == [6, 5]
    assert [sum(record["input_mask"]) for record in records] == sizes[:, 1].tolist()
    assert sizes[:, 0].sum() == os.path.getsize(path)


@pytest.mark.parametrize("method", ["__init__", "write", "close"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EFBIG])
def test_what_the_system_refuses_is_named_with_the_file(tmp_path, monkeypatch, method, number):
    """TensorFlow gives the first three the class of too little memory."""

    def refuse(*_):
        raise tf.errors.ResourceExhaustedError(None, None, f"records; {os.strerror(number)}")

    path = str(tmp_path / "records")
    monkeypatch.setattr(tf.io.TFRecordWriter, method, refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as raised, RecordWriter(path, 8) as out:
        out.write([example([2, 10, 3], 3)])
    assert (raised.value.errno, raised.value.filename) == (number, path)
