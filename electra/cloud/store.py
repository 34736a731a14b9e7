"""Requests to a bucket: each is tried again while it may yet succeed, and says what went wrong.

Enters: URLs. Leaves: bytes whose number was checked, sizes and versions, files.
"""

import contextlib
import dataclasses
import difflib
import functools
import importlib.util
import os
import random
import time

from absl import logging

from electra.cloud.urls import is_url, normal, scheme_of, setting
from electra.storage import published

CHUNK_BYTES = 8 << 20  # of a file that is fetched or sent
_CHUNKS_TOGETHER = 4  # chunks that are fetched at once
_SLOWEST = 20_000  # bytes a second: what is slower counts as hanging
_LONG_LISTING = 1200 * _SLOWEST  # bytes: of a million objects it takes minutes
_FEWEST_TRIES = 3  # however long they took: a machine may have slept meanwhile
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 20.0  # seconds
# In what a store says of an object, the first of these tells one version of it from another.
_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "Content-MD5", "Last-Modified")
_VERSIONS += ("LastModified", "mtime", "created")
_STORES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_STORES |= dict.fromkeys(("http", "https"), "aiohttp")
_FINAL = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError)
_FINAL += (NotADirectoryError, NotImplementedError)
_CLIENTS = {"botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "urllib3", "requests"}
_random = random.Random()  # the global one belongs to the run


class BucketError(OSError):
    """A bucket did not do what was asked of it."""


@dataclasses.dataclass(frozen=True)
class About:
    """What a bucket says of an object: bytes, and what is another where its contents are."""

    size: int
    version: str


def has_package(url):
    """Returns whether the package is installed that opens a URL."""
    names = {"fsspec", _STORES.get(scheme_of(url), "fsspec")}
    return all(map(importlib.util.find_spec, names))


def timeout_seconds():
    """Returns how long a request may take, and a byte of it may be waited for."""
    return setting("ELECTRA_BUCKET_TIMEOUT", 30)


def patience_seconds():
    """Returns how long a request is tried again."""
    return setting("ELECTRA_BUCKET_PATIENCE", 120)


def find(url):
    """Lists a folder and all below it.

    Returns: dict key behind the folder's, as "a/b.txt" -> About; {} of a folder that is not there.
    Raises:
        FileNotFoundError: no such bucket.
    """
    found = _look("list", url, "find", detail=True)
    if not found and _STORES.get(scheme_of(url)) in ("s3fs", "gcsfs"):
        bucket = "/".join(url.split("/")[:3])
        with contextlib.suppress(PermissionError):  # rights may be those to a folder alone
            if _look("find", bucket, "info") is None:
                raise FileNotFoundError(
                    f"{bucket}: there is no such bucket. Make it, or mend its name"
                )
    return dict(_named(url, found or {}))


def glob(pattern):
    """Returns dict URL -> About of what matches a pattern."""
    scheme, found = scheme_of(pattern), _look("list", pattern, "glob", detail=True) or {}
    is_file = {name: info for name, info in found.items() if info.get("type") != "directory"}
    return {normal(_with_scheme(scheme, name)): _about(info) for name, info in is_file.items()}


def stat(url):
    """Returns the About of an object, None where there is none."""
    info = _look("find", url, "info")
    return None if info is None or info.get("type") == "directory" else _about(info)


def read(url, start, end):
    """Returns the bytes of a range, which must lie in the object."""
    return read_ranges([(url, start, end)])[0]


def read_ranges(spans):
    """Reads ranges of objects, those of one store at once.

    Args:
        spans: list of (url, start, end).
    Returns: list of bytes.
    """
    schemes = sorted({scheme_of(url) for url, _, _ in spans})
    if len(schemes) != 1:
        places = {
            s: [i for i, span in enumerate(spans) if scheme_of(span[0]) == s] for s in schemes
        }
        found = {s: iter(read_ranges([spans[i] for i in places[s]])) for s in schemes}
        return [next(found[scheme_of(url)]) for url, _, _ in spans]
    whole = [None] * len(spans)

    def request():
        left = [i for i, data in enumerate(whole) if data is None]
        urls, starts, ends = zip(*(spans[i] for i in left), strict=True)
        fs, problem = _filesystem(scheme_of(urls[0])), None
        paths, more = (
            [fs._strip_protocol(url) for url in urls],
            _deadline(fs, sum(ends) - sum(starts)),
        )
        answers = fs.cat_ranges(paths, list(starts), list(ends), on_error="return", **more)
        for i, data in zip(left, answers, strict=True):
            if isinstance(data, Exception):
                problem = data
            elif len(data) != spans[i][2] - spans[i][1]:
                problem = EOFError(f"{len(data)} of {spans[i][2] - spans[i][1]} bytes came")
            else:
                whole[i] = bytes(data)
        if problem is not None:
            raise problem

    attempt("read", spans[0][0], request)
    return whole


def fetch(url, about, path):
    """Copies an object, of which the bucket said About, to a file, which appears whole.

    Raises:
        BucketError: it changed meanwhile.
    """
    with published(path) as file:
        step = CHUNK_BYTES * _CHUNKS_TOGETHER
        for at in range(0, about.size, step):
            borders = range(at, min(at + step, about.size), CHUNK_BYTES)
            ends = [min(start + CHUNK_BYTES, about.size) for start in borders]
            for data in read_ranges([(url, *span) for span in zip(borders, ends, strict=True)]):
                file.write(data)
        if about.size > CHUNK_BYTES and stat(url) != about:
            raise BucketError(f"{url} changed while it was read. Run the same command again")


def send(path, url):
    """Copies a file to an object, which appears whole. Returns: its About."""
    fs = _filesystem(scheme_of(url))

    def request():
        size, more = os.path.getsize(path), {}
        if scheme_of(url) in ("s3", "s3a"):
            more["chunksize"] = CHUNK_BYTES
        fs.put_file(path, fs._strip_protocol(url), **more, **_deadline(fs, size))
        about = stat(url)
        if about is None or about.size != size:
            raise EOFError(f"{about and about.size} of {size} bytes arrived")
        return about

    return attempt("write", url, request)


def write(url, data, is_new=False):
    """Writes a small object; is_new: only where there is none.

    Returns: whether it was written.
    """
    mode = {"mode": "create"} if is_new else {}
    try:
        _ask("write", url, "pipe_file", data, **mode)
    except FileExistsError:
        return False
    return True


def remove(url):
    """Removes an object, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        _ask("remove", url, "rm_file")


def attempt(what, url, request):
    """Makes a request until it succeeds.

    Args:
        what: a verb, for messages; request: function without arguments.
    Raises:
        FileNotFoundError, FileExistsError: as the store says. PermissionError: it may not be done.
        BucketError: it failed for patience_seconds.
    """
    end, wait, tries = time.monotonic() + patience_seconds(), _FIRST_WAIT, 1
    while True:
        try:
            return request()
        except BucketError:  # of a request in this one, which was tried again
            raise
        except Exception as error:
            message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if not _may_pass(error):
                raise _explained(error, what, url) from None
            pause = wait * _random.uniform(0.5, 1.5)
            if time.monotonic() + pause > end and tries >= _FEWEST_TRIES:
                raise BucketError(
                    f"Cannot {what} {url}: {message} ({tries} tries, "
                    f"{patience_seconds():g} s or more). Run the same command again when the store "
                    "answers; ELECTRA_BUCKET_PATIENCE is how many seconds are tried"
                ) from error
            logging.log_every_n_seconds(
                logging.WARNING, "Cannot %s %s yet: %.200s", 10, what, url, message
            )
        time.sleep(pause)
        wait, tries = min(2 * wait, _LONGEST_WAIT), tries + 1


def _ask(what, url, method, *args, **more):
    """Calls a method of a file system."""
    fs = _filesystem(scheme_of(url))
    fs.invalidate_cache()
    path = fs._strip_protocol(url)
    size = _LONG_LISTING if method in ("find", "glob") else 0
    call = functools.partial(getattr(fs, method), path, *args, **more, **_deadline(fs, size))
    return attempt(what, url, call)


def _look(what, url, method, **more):
    """Calls a method that looks for something; None where it is not there."""
    try:
        return _ask(what, url, method, **more)
    except FileNotFoundError:
        return None


def _may_pass(error):
    if isinstance(error, _FINAL):
        return False
    if isinstance(error, (OSError, EOFError)):  # TimeoutError is one
        return True
    name, module = type(error).__name__, type(error).__module__.split(".")[0]
    is_final = any(word in name for word in ("Credential", "Validation", "Profile", "InvalidURL"))
    return module in _CLIENTS and not is_final


def _explained(error, what, url):
    if isinstance(error, FileNotFoundError):
        if what == "write":
            return BucketError(f"Cannot write {url}: there is no such bucket. Make it")
        return FileNotFoundError(f"{url} is not there")
    if isinstance(error, FileExistsError):
        return error
    message = f"Cannot {what} {url}: {' '.join(str(error).split())[:300] or type(error).__name__}"
    if isinstance(error, PermissionError):
        return PermissionError(f"{message}. Check the bucket's name, credentials and rights")
    if "Credential" in type(error).__name__:
        return PermissionError(
            f"{message}. Set credentials as the store's own tools take them: docs/buckets.md"
        )
    return BucketError(message)


def _about(info):
    version = next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
    return About(int(info.get("size") or 0), version)


def _named(url, found):
    """Yields (key behind the folder's, About) of what `find` of fsspec returned."""
    root = _filesystem(scheme_of(url))._strip_protocol(url).rstrip("/") + "/"
    for name, info in found.items():
        is_folder = info.get("type") == "directory" or name.endswith("/")  # as consoles make them
        if name.startswith(root) and not is_folder:
            yield name[len(root) :], _about(info)


def _with_scheme(scheme, name):
    return name if is_url(name) else f"{scheme}://{name.lstrip('/')}"


def _deadline(fs, size):
    """Returns the argument with which a file system gives up a request that hangs."""
    if not getattr(fs, "async_impl", False):
        return {}
    return {"timeout": 2 * timeout_seconds() + size / _SLOWEST}


@functools.cache
def _filesystem(scheme):
    """Returns the fsspec file system of a scheme, as its own configuration says.

    Raises:
        ValueError: no such scheme. BucketError: a package or a setting is missing.
    """
    package = _STORES.get(scheme, "fsspec")
    try:
        import fsspec

        if scheme in ("file", "local"):
            raise ValueError(f"{scheme}:// is this machine. Give the path without it")
        options = {"use_listings_cache": False} if package in ("s3fs", "gcsfs") else {}
        if package == "s3fs":
            seconds = timeout_seconds()
            times = {"connect_timeout": seconds, "read_timeout": seconds}
            options["config_kwargs"] = {**times, "retries": {"total_max_attempts": 1}}
        fs = fsspec.filesystem(scheme, **options)
    except ImportError as error:
        raise BucketError(
            f"{scheme}:// needs {package}: pip install -e '.[cloud]', or the package that "
            f"fsspec names ({error})"
        ) from None
    except ValueError as error:
        if "not known" not in str(error):
            raise
        closest = difflib.get_close_matches(scheme, fsspec.available_protocols(), n=1)
        hint = f"Closest: {closest[0]}://" if closest else "Expected: such as s3:// or gs://"
        raise ValueError(f"{scheme}:// is unknown. {hint}") from None
    except Exception as error:  # a class of any package
        raise BucketError(
            f"{scheme}:// cannot be opened: {error}. What it needs goes into fsspec's "
            "configuration: docs/buckets.md"
        ) from None
    if package == "s3fs":
        fs.retries = 1  # `attempt` tries again
    return fs
