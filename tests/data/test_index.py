"""The index of records: made once, kept, left alone where it fits, made anew where it does not."""

import json
import os
import shutil

import numpy as np
import pytest

from electra.data import frames, index
from electra.data.index import INDEX_NAME, read_index, write_index
from electra.data.reader import Records
from tests.data.tiny import write_records

ROWS = [[2, 5, 6, 3], [2, 7, 3, 0], [2, 8, 3, 0], [2, 9, 10, 3], [2, 11, 3, 0]]
NAMES = ("a.tfrecord-0-of-2", "a.tfrecord-1-of-2")


@pytest.fixture
def folder(tmp_path):
    for name, rows in zip(NAMES, (ROWS[:3], ROWS[3:]), strict=True):
        write_records(tmp_path / name, rows)
    return tmp_path


@pytest.fixture
def indexed(monkeypatch):
    """Returns the list of the files that are read through."""
    files, index_file = [], frames.index_file
    monkeypatch.setattr(
        frames, "index_file", lambda path: files.append(os.path.basename(path)) or index_file(path)
    )
    return files


def ids_of(folder, pattern="*"):
    records = Records(f"{folder}/{pattern}")
    return records.read(np.arange(len(records)))["input_ids"].tolist()


def test_files_are_read_through_once(folder, indexed):
    assert ids_of(folder) == ROWS
    assert indexed == [*NAMES]
    assert ids_of(folder) == ROWS
    assert ids_of(folder, "*-1-of-2") == ROWS[3:]
    assert indexed == [*NAMES]


def test_a_file_that_comes_later_joins_the_index(folder, indexed):
    assert ids_of(folder, NAMES[0]) == ROWS[:3]
    assert ids_of(folder) == ROWS
    assert ids_of(folder) == ROWS
    assert indexed == [*NAMES]


def test_an_index_that_another_machine_is_writing_is_not_used(folder, monkeypatch):
    def write_zeros(place, examples, parts):
        write_index(place, examples, [part * 0 for part in parts])

    monkeypatch.setattr(index, "write_index", write_zeros)
    assert ids_of(folder) == ROWS


def test_a_file_without_records_is_indexed_too(folder, indexed):
    (folder / "empty").touch()
    assert ids_of(folder) == ids_of(folder) == ROWS
    assert indexed == [*NAMES, "empty"]


def test_every_folder_has_its_own_index(folder, tmp_path, indexed):
    other = shutil.copytree(folder, tmp_path / "b")
    for _ in range(2):
        assert ids_of(tmp_path, f"{NAMES[0]},{other}/*") == [*ROWS[:3], *ROWS]
    assert indexed == [NAMES[0], *NAMES]


def test_a_file_that_changed_is_read_through_again(folder, indexed):
    ids_of(folder)
    rows = [[2, 300, 4, 3], [2, 8, 3, 0]]  # one byte more
    write_records(folder / NAMES[1], rows)
    assert ids_of(folder) == [*ROWS[:3], *rows]
    rows.reverse()  # as long as before
    write_records(folder / NAMES[1], rows)
    assert ids_of(folder) == [*ROWS[:3], *rows]
    assert indexed == [*NAMES, NAMES[1], NAMES[1]]
    assert sorted(read_index(folder)) == [*NAMES]


def test_a_file_that_is_gone_leaves_the_index_when_it_is_next_written(folder):
    ids_of(folder)
    (folder / NAMES[1]).unlink()
    write_records(folder / "b", ROWS[:1])
    assert ids_of(folder) == [*ROWS[:3], ROWS[0]]
    assert sorted(read_index(folder)) == [NAMES[0], "b"]


def spoilt(data):
    """Yields damaged indexes: cut off, of another kind, with a head that is none or tells lies."""
    yield from (b"", data[:5], data[:16], data[:40], data[:-8], data + bytes(8))
    yield b"x" + data[1:]
    yield data[:8] + (2**63).to_bytes(8, "little") + data[16:]
    yield data[:16] + b"[" + data[17:]
    yield data[:16] + b"\xff" + data[17:]
    for files in ([{"name": NAMES[0], "examples": -7}], [{"name": 3}], [], {}):
        head = json.dumps({"files": files}).encode()
        yield data[:8] + len(head).to_bytes(8, "little") + head + bytes(-len(head) % 8)
    yield data[:8] + (2).to_bytes(8, "little") + b"{}" + bytes(6)


def test_a_damaged_index_is_made_anew(folder, indexed):
    ids_of(folder)
    whole = (folder / INDEX_NAME).read_bytes()
    for data in spoilt(whole):
        (folder / INDEX_NAME).write_bytes(data)
        indexed.clear()
        assert ids_of(folder) == ROWS
        assert indexed == [*NAMES]
        assert (folder / INDEX_NAME).read_bytes() == whole


@pytest.mark.parametrize("value", [0, 7, 2**31, 2**62, 2**63, 2**64 - 1])
@pytest.mark.parametrize("number", [1, 2])
def test_wrong_offsets_never_give_wrong_records(folder, value, number):
    """Found at the opening, or else the record that the index is wrong about is named."""
    write_records(folder / NAMES[0], [ROWS[0]] * 9)
    right = frames.index_file(folder / NAMES[0])
    for place in range(len(right)):
        offsets = right.copy()
        for i in range(min(number, len(right) - place)):
            offsets[place + i] = (value + 60 * i) % 2**64
        write_index(folder, {NAMES[0]: 9}, [offsets])
        try:
            assert ids_of(folder, NAMES[0]) == [ROWS[0]] * 9
        except ValueError as error:
            assert f"{NAMES[0]}, record " in str(error)
            assert f"remove {folder / INDEX_NAME}" in str(error) or "became shorter" in str(error)


def test_a_folder_that_cannot_be_written_is_read_without_an_index(folder, monkeypatch, caplog):
    def refuse(*args):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("electra.data.index.write_index", refuse)
    with caplog.at_level("INFO", logger="absl"):
        assert ids_of(folder) == ROWS
    assert "Read-only file system" in caplog.text
    assert not (folder / INDEX_NAME).exists()
