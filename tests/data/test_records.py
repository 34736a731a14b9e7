"""Records as bytes: what TensorFlow itself parses."""

import os

import numpy as np
import pytest
import tensorflow as tf

from electra.data.examples import ExampleBuilder
from electra.data.join import SIZES
from electra.data.records import BATCH, RecordWriter, encode_examples
from tests.data.tiny import encode, parse

# Ids whose varints take 1, 2, 3 and 4 bytes, at the borders.
IDS = [1, 127, 128, 300, 16383, 16384, 30521, 2_097_151, 2_097_152, 0, 0, 0]


def test_records_are_parsed_to_the_same_numbers():
    ids = np.array([IDS, [5, 6, 3] + [0] * 9, [0] * 12], np.int32)
    records = encode_examples(ids, np.array([9, 3, 0]), np.array([4, 3, 0]))
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
        {"input_ids": [0] * 12, "input_mask": [0] * 12, "segment_ids": [0] * 12},
    ]


@pytest.mark.parametrize("length", [5, 127, 128, 300, 512])
def test_records_are_as_long_as_those_of_tensorflow(length):
    # The order of a map's entries is free, their bytes are not.
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 70000, (3, length), np.int32)
    ours = encode_examples(ids, np.full(3, length), np.full(3, 4))
    for record, row in zip(ours, ids, strict=True):
        theirs = encode(row, [1] * length, [0] * 4 + [1] * (length - 4))
        assert parse(record) == parse(theirs)
        assert len(record) == len(theirs)


def test_a_vocabulary_below_128_takes_one_byte_an_id():
    (record,) = encode_examples(np.full((1, 8), 7, np.int32), np.array([8]), np.array([8]))
    assert bytes([7] * 8) in record
    assert parse(record)["input_ids"] == [7] * 8


def test_a_writer_writes_more_examples_than_it_encodes_together(tmp_path):
    builder = ExampleBuilder(2, 3, 8, None)
    path = str(tmp_path / "records")
    with RecordWriter(path, 8) as writer:
        for i in range(BATCH + 3):
            # Every second one is shorter: nothing of the example before it may be left.
            first = [10 + i] * (1 if i % 2 else 4)
            writer.write(builder, ([first], [[i % 5]] if i % 2 else []))
    records = [parse(record) for record in tf.data.TFRecordDataset(path).as_numpy_iterator()]
    sizes = np.fromfile(path + SIZES, np.int32).reshape(-1, 2)
    assert len(records) == len(sizes) == BATCH + 3
    assert records[BATCH]["input_ids"] == [2, *[10 + BATCH] * 4, 3, 0, 0]
    assert records[1] == {
        "input_ids": [2, 11, 3, 1, 3, 0, 0, 0],
        "input_mask": [1, 1, 1, 1, 1, 0, 0, 0],
        "segment_ids": [0, 0, 0, 1, 1, 0, 0, 0],
    }
    assert sizes[:2, 1].tolist() == [6, 5]
    assert [sum(record["input_mask"]) for record in records] == sizes[:, 1].tolist()
    assert sizes[:, 0].sum() == os.path.getsize(path)
