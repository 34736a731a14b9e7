"""Blocks of a bucket's files, and files that are read from their start to their end."""

import os
import random

import pytest

from electra.cloud import blocks, files, store

DATA = {"a": os.urandom(1 << 20), "b": os.urandom(300_001)}


@pytest.fixture
def remotes(bucket):
    for name, data in DATA.items():
        store.write(f"{bucket}/{name}", data)
    return {name: files.opened(f"{bucket}/{name}") for name in DATA}


@pytest.fixture
def asked(monkeypatch):
    """Returns a list that fills with the ranges that the bucket is asked for."""
    spans, read_ranges = [], store.read_ranges
    monkeypatch.setattr(store, "read_ranges", lambda s: spans.extend(s) or read_ranges(s))
    return spans


@pytest.mark.parametrize("count", [2, 3, 100])
def test_ranges_are_right_however_few_blocks_are_kept(count, remotes, tmp_path):
    pool, rng = blocks.Pool(tmp_path, count * blocks.BLOCK_BYTES), random.Random(0)
    for _ in range(20):
        spans = []
        for name in rng.choices(sorted(DATA), k=5):
            start = rng.randrange(len(DATA[name]))
            spans.append((name, start, rng.randint(start, min(start + 600_000, len(DATA[name])))))
        read = pool.read([(remotes[name], start, end) for name, start, end in spans])
        assert read == [DATA[name][start:end] for name, start, end in spans]
    assert os.fstat(pool._file.fileno()).st_size <= count * blocks.BLOCK_BYTES


def test_a_block_is_fetched_once(remotes, asked, tmp_path):
    pool = blocks.Pool(tmp_path, 1 << 30)
    for _ in range(2):
        assert pool.read([(remotes["a"], 5, 9), (remotes["a"], 7, 300_000)]) == [
            DATA["a"][5:9],
            DATA["a"][7:300_000],
        ]
    url, size = remotes["a"].url, blocks.BLOCK_BYTES
    assert asked == [(url, 0, size), (url, size, 2 * size)]


def test_a_block_that_does_not_fit_on_the_disk_is_an_error(remotes, tmp_path):
    resource = pytest.importorskip("resource")
    pool, limits = blocks.Pool(tmp_path, 1 << 30), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=str(tmp_path)):
            pool.read([(remotes["a"], 5, 9)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_without_keeping_the_ranges_alone_are_fetched(remotes, asked, tmp_path):
    pool = blocks.Pool(tmp_path, 1 << 30)
    assert pool.read([(remotes["b"], 7, 9)] * 2, keep=False) == [DATA["b"][7:9]] * 2
    assert asked == [(remotes["b"].url, 7, 9)] * 2


def test_a_file_is_read_and_sought(remotes, asked, monkeypatch):
    monkeypatch.setattr(files, "_AHEAD_BYTES", 100_000)
    data = DATA["a"]
    with files.open_file(remotes["a"].url) as file:
        assert b"".join(iter(lambda: file.read(77_777), b"")) == data
        assert file.read(1) == b""
        file.seek(500_000)
        assert file.read(10) == data[500_000:500_010]
        file.seek(-5, os.SEEK_END)
        assert file.read() == data[-5:]
    assert max(end - start for _, start, end in asked) == 100_000


def test_ranges_of_several_stores_come_in_their_order(remotes):
    store.write("memory://blocks/c", b"0123456789")
    spans = [(remotes["a"].url, 0, 3), ("memory://blocks/c", 2, 4), (remotes["b"].url, 5, 9)]
    assert store.read_ranges(spans) == [DATA["a"][:3], b"23", DATA["b"][5:9]]
    assert store.read_ranges([]) == []
