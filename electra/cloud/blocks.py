"""Blocks of a bucket's files, kept in a file of this machine that ends with the process.

Enters: ranges of Remotes, in any order. Leaves: their bytes. What was read once is not fetched
again, as long as it fits.
"""

import collections
import errno
import functools
import os
import shutil
import tempfile
import threading

from electra.cloud import store
from electra.cloud.urls import cache_dir, setting

BLOCK_BYTES = 1 << 18
_TOGETHER = 64  # blocks that are asked for at once
_SHARE_OF_DISK = 0.5  # of what is free when the first block is fetched


@functools.cache
def pool():
    """Returns the process's Pool: of ELECTRA_BLOCKS_GB, or half of the disk if that is less."""
    os.makedirs(cache_dir(), exist_ok=True)
    free = shutil.disk_usage(cache_dir()).free * _SHARE_OF_DISK
    most = setting("ELECTRA_BLOCKS_GB", 8) * 1e9
    return Pool(cache_dir(), int(min(free, most)))


class Pool:
    """Blocks of files, at most `limit` bytes of them; the one that was not used longest goes.

    Args:
        folder: where they are kept. limit: bytes.
    """

    def __init__(self, folder, limit):
        self.limit, self._lock = limit, threading.Lock()
        self._folder = folder
        self._file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 - to the end
        self._slots = collections.OrderedDict()  # (Remote, number of a block) -> slot
        self._count = max(1, limit // BLOCK_BYTES)

    def read(self, spans, keep=True):
        """Reads ranges.

        Args:
            spans: list of (Remote, start, end).
            keep: whether to fetch and keep whole blocks, else the ranges alone: where the files
                are larger than the pool, few blocks would be used twice.
        Returns: list of bytes.
        """
        if not keep:
            return _in_groups([(remote.url, start, end) for remote, start, end in spans])
        pieces = [list(_pieces(*span)) for span in spans]
        found = {piece: self._kept(piece) for each in pieces for piece in each}
        missing = sorted(
            {piece[:2] for piece, data in found.items() if data is None},
            key=lambda block: (block[0].url, block[1]),
        )
        for at in range(0, len(missing), _TOGETHER):
            blocks = missing[at : at + _TOGETHER]
            fetched = dict(zip(blocks, _in_groups(list(map(_range_of, blocks))), strict=True))
            for block, data in fetched.items():
                self._keep(block, data)
            for piece, data in found.items():
                if data is None and piece[:2] in fetched:
                    found[piece] = fetched[piece[:2]][piece[2] : piece[3]]
        return [b"".join(found[piece] for piece in each) for each in pieces]

    def _kept(self, piece):
        remote, number, start, stop = piece
        with self._lock:
            slot = self._slots.get((remote, number))
            if slot is None:
                return None
            self._slots.move_to_end((remote, number))
            self._file.seek(slot * BLOCK_BYTES + start)
            return self._file.read(stop - start)

    def _keep(self, block, data):
        with self._lock:
            if block in self._slots:  # another thread was faster
                return
            slot = len(self._slots)
            if slot >= self._count:
                _, slot = self._slots.popitem(last=False)
            self._file.seek(slot * BLOCK_BYTES)
            if self._file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._folder)
            self._slots[block] = slot


def _pieces(remote, start, end):
    """Yields (remote, number of a block, first byte in it, behind the last) of a range."""
    for number in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
        at = number * BLOCK_BYTES
        yield remote, number, max(start - at, 0), min(end - at, BLOCK_BYTES)


def _range_of(block):
    remote, number = block
    return remote.url, number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, remote.size)


def _in_groups(spans):
    """Reads ranges as store.read_ranges, so many at once as are good for a store."""
    groups = (spans[at : at + _TOGETHER] for at in range(0, len(spans), _TOGETHER))
    return [data for group in groups for data in store.read_ranges(group)]
