"""Features as arrays, and their cache."""

import numpy as np
import pytest
import safetensors.numpy

from electra.data.features import cached, collect

ROWS = [
    {"example": 0, "input_ids": [7, 8], "targets": 0.5, "is_max": [True, False]},
    {"example": 1, "input_ids": [9], "targets": 1.0, "is_max": [True]},
    {"example": 1, "input_ids": [300, 2, 3], "targets": 0.0, "is_max": []},
]


def test_rows_are_laid_side_by_side():
    features = collect(ROWS)
    assert len(features) == 3
    assert features.lengths().tolist() == [2, 1, 3]
    batch = features.padded([2, 0], 4, leave=("is_max",))
    assert batch["input_ids"].tolist() == [[300, 2, 3, 0], [7, 8, 0, 0]]
    assert batch["targets"].tolist() == [0.0, 0.5]
    assert {name: values.dtype.name for name, values in batch.items()} == {
        "example": "int32",
        "input_ids": "int32",
        "targets": "float32",
    }
    assert features.padded([2], 2)["input_ids"].tolist() == [[300, 2]]
    assert features.padded([], 2)["input_ids"].shape == (0, 2)


def test_a_row_comes_back():
    row = collect(ROWS).row(2)
    assert (row["example"], row["input_ids"].tolist(), row["is_max"].tolist()) == (
        1,
        [300, 2, 3],
        [],
    )


def test_some_rows_are_taken():
    taken = collect(ROWS).take([2, 1])
    assert taken.padded([0, 1], 3)["input_ids"].tolist() == [[300, 2, 3], [9, 0, 0]]
    assert taken.columns["example"].tolist() == [1, 1]


def test_the_cache_makes_each_key_once_and_damaged_files_anew(tmp_path, caplog):
    made = []

    def make():
        made.append(1)
        return collect(ROWS)

    for key, refresh in (("a", False), ("a", False), ("b", False), ("b", True)):
        features = cached(tmp_path, key, make, refresh)
        assert features.padded([0, 1, 2], 3)["input_ids"].sum() == 329
    assert len(made) == 3
    path = tmp_path / "a.safetensors"
    right = path.read_bytes()
    tensors = safetensors.numpy.load(right)
    tensors["input_ids"][0] = 10**6
    foreign = safetensors.numpy.save({"w": np.ones(3, np.float32)})
    others = [
        b"damaged",
        b"",
        right[:-1],
        right[:-1] + bytes([right[-1] ^ 1]),
        foreign,
        safetensors.numpy.save(tensors),
        safetensors.numpy.save({}, {"sha256": "0"}),
        right.replace(b"input_ids", b"other_ids"),
        (tmp_path / "b.safetensors").read_bytes(),
    ]
    for number, other in enumerate(others):
        path.write_bytes(other)
        with caplog.at_level("WARNING"):
            np.testing.assert_array_equal(cached(tmp_path, "a", make).lengths(), [2, 1, 3])
        assert len(made) == 4 + number
        assert "a.safetensors is damaged" in caplog.text
        assert path.read_bytes() == right
        caplog.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_what_cannot_be_made_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        cached(tmp_path, "a", lambda: 1 / 0)
    assert list(tmp_path.iterdir()) == []
