"""Files to read in place, wherever they lie: on this machine as ever, in a bucket by ranges."""

import contextlib
import dataclasses
import fnmatch
import functools
import glob as local_glob
import io
import os

from electra.cloud.urls import is_url, normal, working_copy
from electra.storage import read_at

_AHEAD_BYTES = 4 << 20  # fetched together of a file that is read from its start to its end
_BLOCKS = 4  # of these that are kept, so many bytes of memory


def exists(path):
    """Returns whether a file or folder is there."""
    if not is_url(path):
        return os.path.exists(path)
    from electra.cloud import store

    return store.stat(path) is not None or bool(store.find(path))


def matches(pattern):
    """Returns the paths that a glob stands for; one that is itself a path stands for that."""
    if not is_url(pattern):
        return [pattern] if os.path.exists(pattern) else local_glob.glob(pattern)
    from electra.cloud import store

    pattern = normal(pattern)
    if local_glob.has_magic(pattern):
        return note(store.glob(pattern))
    found = store.stat(pattern)
    if found is not None:
        return note({pattern: found})
    return [pattern] if store.find(pattern) else []


def names_in(folder):
    """Returns the sorted names of the files in a folder; [] where it is not there."""
    if not is_url(folder):
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    from electra.cloud import store

    return sorted(key for key in store.find(folder) if "/" not in key)


def names_like(pattern, folder):
    """Returns the names in a folder that match a pattern."""
    return fnmatch.filter(names_in(folder), pattern)


def about(path):
    """Returns (bytes of a file, what differs where its contents do)."""
    if not is_url(path):
        found = os.stat(path)
        return found.st_size, found.st_mtime_ns
    remote = opened(path)
    return remote.size, remote.version


def size_of(path):
    """Returns the bytes of a file."""
    return opened(path).size if is_url(path) else os.path.getsize(path)


@dataclasses.dataclass(frozen=True)
class Remote:
    """An object of a bucket as it was when it was first asked for; `size` in bytes."""

    url: str
    size: int
    version: str


_known = {}  # URL -> Remote


def opened(url):
    """Returns the Remote of a URL. Raises: FileNotFoundError."""
    if url not in _known:
        from electra.cloud import store

        found = store.stat(url)
        if found is None:
            raise FileNotFoundError(f"{url} is not there")
        note({url: found})
    return _known[url]


def note(found):
    """Keeps what a bucket said of objects, a dict URL -> About. Returns: the URLs, sorted."""
    _known.update({url: Remote(url, about.size, about.version) for url, about in found.items()})
    return sorted(found)


@contextlib.contextmanager
def reading(path):
    """Yields a function that reads a file here and there: (bytes, from which on) -> bytes."""
    if is_url(path):
        from electra.cloud import blocks

        remote = opened(path)
        yield lambda size, at: blocks.pool().read([(remote, at, min(at + size, remote.size))])[0]
    else:
        with open(path, "rb", buffering=0) as file:
            yield functools.partial(read_at, file)


def open_file(path):
    """Opens a file to be read as bytes: from its start to its end, or from where one seeks."""
    if not is_url(path):
        return open(path, "rb")
    return io.BufferedReader(_Stream(opened(path)), 1 << 16)


class _Stream(io.RawIOBase):
    """An object of a bucket as a file; the next block is fetched while one is read."""

    def __init__(self, remote):
        from fsspec.caching import caches

        from electra.cloud import store

        self._remote, self._at = remote, 0
        self._cache = caches["background"](
            _AHEAD_BYTES,
            lambda start, end: store.read(remote.url, start, min(end, remote.size)),
            remote.size,
            maxblocks=_BLOCKS,
        )

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._at

    def seek(self, offset, whence=io.SEEK_SET):
        self._at = offset + {0: 0, 1: self._at, 2: self._remote.size}[whence]
        return self._at

    def readinto(self, buffer):
        end = min(self._at + len(buffer), self._remote.size)
        data = self._cache._fetch(self._at, end) if end > self._at else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self):
        if not self.closed:
            with contextlib.suppress(AttributeError):  # of older versions of fsspec
                self._cache.close()
        super().close()


def fetched(path):
    """Returns the path of a small file on this machine; of a URL that of its copy.

    Raises:
        FileNotFoundError: it is not in the bucket.
    """
    if not is_url(path):
        return path
    from electra.cloud import mirror

    copy = working_copy(path)
    if not mirror.pull_file(copy):
        raise FileNotFoundError(f"{path} is not there")
    return copy
