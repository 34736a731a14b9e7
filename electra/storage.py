"""JSON read strictly, files that appear whole, their digests, folders kept by one process."""

import contextlib
import glob
import hashlib
import json
import os
import time

try:
    import fcntl
except ImportError:  # on Windows, where two processes in one folder go unnoticed
    fcntl = None

_LARGEST = 1 << 20  # bytes of a file that a user writes by hand
_MOST_DIGITS = 1000  # of a whole number; Python refuses some thousands
_SURELY_DEAD = 600  # seconds since the last byte of a file whose process cannot be seen


def read_json_dict(path, what, expected):
    """Reads a user's JSON file strictly; what and expected (str) are for messages.

    Returns: dict.
    Raises:
        FileNotFoundError: it cannot be read. ValueError: as parse_json_dict, not UTF-8, too long.
    """
    try:
        with open(path, "rb", opener=_open_now) as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(
                f"{what}: {path!r} is longer than {_LARGEST} bytes. Expected: {expected}"
            )
        return parse_json_dict(data.decode("utf-8-sig"), path)
    except OSError as error:
        raise FileNotFoundError(
            f"{what}: cannot read {path!r} ({error.strerror}). Expected: {expected}"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{what}: {path!r} is not UTF-8 text ({error}). Convert it") from None


def _open_now(path, flags):
    """Opens a file as open does, but does not wait until somebody writes to a named pipe."""
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    os.set_blocking(number, True)
    return number


def parse_json_dict(text, where):
    """Parses a JSON dict strictly.

    Args:
        text: string.
        where: what errors call it.
    Returns: dict.
    Raises:
        ValueError: not JSON, NaN or Infinity, an endless number, a key given twice, not a dict.
    """

    def unique(pairs):
        result = dict(pairs)
        if len(result) < len(pairs):
            names = [name for name, _ in pairs]
            twice = sorted(name for name in result if names.count(name) > 1)
            raise ValueError(f"{where}: {twice!s:.200} given more than once. Keep one of each")
        return result

    def finite(constant):
        raise ValueError(f"{where}: {constant} is no JSON number. Give a finite one")

    def whole(digits):
        if len(digits) > _MOST_DIGITS:
            raise ValueError(f"{where}: {digits[:9]}... has {len(digits)} digits. Give fewer")
        return int(digits)

    try:
        result = json.loads(text, object_pairs_hook=unique, parse_constant=finite, parse_int=whole)
    except RecursionError:
        raise ValueError(f"{where}: brackets are nested too deep for a JSON dict") from None
    except json.JSONDecodeError as error:
        lines = text.splitlines() or [""]
        line = lines[min(error.lineno, len(lines)) - 1]
        raise ValueError(
            f"{where}: not JSON at line {error.lineno}, column {error.colno}: {error.msg}. "
            f"Received: {line[:200]!r}. JSON wants double quotes and true, false, null"
        ) from error
    if type(result) is not dict:
        raise ValueError(f"{where}: expected a JSON dict. Received: {text[:200]!r}")
    return result


def read_json(path, advice):
    """Reads a JSON dict that this code wrote.

    Args:
        path: file.
        advice: what to do when it is damaged; ends the message.
    Returns: dict.
    Raises:
        FileNotFoundError: no such file. ValueError: damaged.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return parse_json_dict(file.read(), "it")
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} is damaged: {error}. {advice}") from None


def write_json(path, values):
    """Writes values as JSON so that a reader finds the whole file or the old one.

    Args:
        path: file; its folder is made if missing.
        values: what json can write.
    """
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path, text):
    """Writes a UTF-8 text as `write_json` does."""
    with published(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))  # a lone surrogate: as in JSON


def file_digest(path):
    """Returns the SHA-256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def published(path):
    """Opens a binary file that takes the place of `path` when it is whole and on the disk.

    Args:
        path: its folder is made if missing. What fails inside leaves the old file.
    """
    path = os.fspath(path)
    folder = os.path.dirname(path) or "."
    try:
        os.makedirs(folder, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{folder} or a part of it is a file. Name a folder") from None
    _remove_left_behind(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = path  # what a full disk refuses has no name
        raise


def _remove_left_behind(path):
    """Removes temporary files of `published` whose process was killed.

    A process of another machine cannot be seen: files that were just written stay.
    """
    for temporary in glob.glob(glob.escape(path) + ".*.tmp"):
        process = temporary[len(path) + 1 : -len(".tmp")]
        if fcntl is not None and process.isdecimal() and not _is_alive(int(process)):
            with contextlib.suppress(OSError):
                if os.path.getmtime(temporary) < time.time() - _SURELY_DEAD:
                    os.remove(temporary)


def _is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return True


@contextlib.contextmanager
def locked(folder, advice):
    """Keeps a folder for this process; the kernel frees it however the process ends.

    Args:
        folder: made if missing; the empty file .lock in it stays.
        advice: what to do when another process has it; ends the message.
    Raises:
        ValueError: another process has it.
    """
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "a") as lock:
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"Another process is at work in {folder}. {advice}") from None
        except OSError:  # a file system without locks
            pass
        yield
