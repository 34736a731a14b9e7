"""JSON read strictly, files that appear whole, their digests, folders kept by one process."""

import collections
import contextlib
import glob
import hashlib
import json
import os
import threading
import time

try:
    import fcntl
except ImportError:  # on Windows, where two processes in one folder go unnoticed
    fcntl = None

_DEEPEST = 100  # brackets inside brackets: what follows a value to its end may recurse
_LONGEST_NUMBER = 300  # digits: every whole number is one that a float can hold
_SHOWN = 80  # characters of a foreign text in a message: the file may be one that is no data
_LARGEST_FLOAT = 1e100  # of a number that this code wrote: its square is finite
KIND_NAMES = {
    str: "a string",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    list: "a list",
    dict: "a dict",
}
_LARGEST = 1 << 20  # bytes of a file that a user writes by hand
_SEEKING = threading.Lock()  # where a file's place must be set to read from it
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
            limit = f"longer than {_LARGEST} bytes"
            raise ValueError(f"{what}: {path!r} is {limit}. Expected: {expected}")
        return parse_json_dict(data.decode("utf-8-sig"), path)
    except OSError as error:
        raise FileNotFoundError(
            f"{what}: cannot read {path!r} ({error.strerror}). Expected: {expected}"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{what}: {path!r} is not UTF-8 text ({error}). Convert it") from None


def excerpt(value, at=0):
    """Returns what a message shows of a foreign text, or of a value's `repr`: a few characters,
    around the character `at`."""
    text = value if isinstance(value, str) else repr(value)
    if "\0" in text[at:]:  # it is no text, such as a file of /proc
        text = text[: text.index("\0", at) + 1]
    start = max(0, min(at - _SHOWN // 2, len(text) - _SHOWN))
    return text[start : start + _SHOWN]


def _open_now(path, flags):
    """Opens a file as open does, but does not wait until somebody writes to a named pipe."""
    if not hasattr(os, "O_NONBLOCK"):  # on Windows, where no file is such a pipe
        return os.open(path, flags)
    number = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(number, True)
    return number


def read_at(file, size, start):
    """Returns up to `size` bytes of an unbuffered file from `start` on; several threads may."""
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), size, start)
    with _SEEKING:  # on Windows
        file.seek(start)
        return file.read(size)


def parse_json_dict(text, where, shape=None):
    """Parses a JSON dict strictly.

    Args:
        text: string.
        where: what errors call it.
        shape: as in read_json.
    Returns: dict.
    Raises:
        ValueError: not JSON, NaN or Infinity, a number or nesting beyond use, a key given twice,
            not a dict, another shape.
    """

    def unique(pairs):
        result = dict(pairs)
        if len(result) < len(pairs):
            counts = collections.Counter(name for name, _ in pairs)
            twice = sorted(name for name in counts if counts[name] > 1)
            raise ValueError(f"{where}: {excerpt(twice)} given more than once. Keep one of each")
        return result

    def finite(constant):
        raise ValueError(f"{where}: {constant} is no JSON number. Give a finite one")

    def whole(digits):
        if len(digits) > _LONGEST_NUMBER:
            raise ValueError(f"{where}: {digits[:9]}... has {len(digits)} digits. Give fewer")
        return int(digits)

    try:
        hooks = {"object_pairs_hook": unique, "parse_constant": finite, "parse_int": whole}
        result = json.loads(text, **hooks)
        if text.count("[") + text.count("{") > _DEEPEST and _is_deep(result):
            raise RecursionError
    except RecursionError:
        raise ValueError(f"{where}: brackets are nested too deep for a JSON dict") from None
    except json.JSONDecodeError as error:
        line = excerpt(text.split("\n")[error.lineno - 1], error.colno)
        raise ValueError(
            f"{where}: not JSON at line {error.lineno}, column {error.colno}: {error.msg}. "
            f"Received: {line!r}. JSON wants double quotes and true, false, null"
        ) from error
    if type(result) is not dict:
        raise ValueError(f"{where}: expected a JSON dict. Received: {excerpt(text)!r}")
    check_shape(result, shape or {}, part=where)
    return result


def _is_deep(value):
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def read_json(path, advice, shape=None):
    """Reads a JSON dict that this code wrote.

    Args:
        path: file.
        advice: what to do when it is damaged; ends the message.
        shape: as check_shape takes it.
    Returns: dict.
    Raises:
        FileNotFoundError: no such file. ValueError: damaged.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return parse_json_dict(file.read(), "it", shape)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} is damaged: {error}. {advice}") from None


def check_shape(value, shape, where="", part="it"):
    """Checks what a JSON value holds.

    Args:
        value: JSON value.
        shape: str, int, float (any finite number), bool, list, dict; [shape] of a list's items;
            a dict key -> shape, where "key?" may be missing, str stands for all keys, and others
            are not looked at; or a tuple of such shapes, of which one is needed.
        where: begins the errors; part: what they call the value.
    Raises:
        ValueError: it has another shape.
    """
    shapes = shape if isinstance(shape, tuple) else (shape,)
    kinds = [shape if isinstance(shape, type) else type(shape) for shape in shapes]
    place = next((i for i, kind in enumerate(kinds) if _is_a(value, kind)), None)
    if place is None:
        expected = " or ".join(KIND_NAMES[kind] for kind in kinds)
        raise ValueError(f"{where}{part} is {excerpt(repr(value))}, expected {expected}")
    shape = shapes[place]
    if isinstance(shape, list):
        for item in value:
            check_shape(item, shape[0], where, f"an item of {part}")
    elif isinstance(shape, dict):
        for key, inner in shape.items():
            for name in value if key is str else [key.removesuffix("?")]:
                if name in value:
                    check_shape(value[name], inner, where, f"{name!r} of {part}")
                elif name == key:
                    raise ValueError(f"{where}{part} lacks {name!r}")


def _is_a(value, kind):
    if kind is float:
        return type(value) in (int, float) and abs(value) <= _LARGEST_FLOAT
    return type(value) is kind


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


def refuse_link(path):
    """Refuses a file to write that is a link: what it points to would be written in its place.

    Raises:
        OSError: it is one, or a folder or such.
    """
    if os.path.islink(path):
        raise OSError(
            f"{os.fspath(path)} is a link to {os.readlink(path)!r}, and would be written through. "
            "Remove the link"
        )
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{os.fspath(path)} is no file, and cannot be written. Remove it")


@contextlib.contextmanager
def published(path):
    """Opens a binary file that takes the place of `path` when it is whole and on the disk.

    Args:
        path: its folder is made if missing. What fails inside leaves the old file.
    """
    path = os.fspath(path)
    if "://" in path:
        raise ValueError(f"{path} is a URL, to which this is not written. Give a path and copy it")
    folder = os.path.dirname(path) or "."
    try:
        os.makedirs(folder, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{folder} or a part of it is a file. Name a folder") from None
    _remove_left_behind(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    refuse_link(temporary)
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


class LockedError(ValueError):
    """Another process has what is to be locked."""


@contextlib.contextmanager
def locked(folder, advice, name=".lock", shared=False):
    """Keeps a folder for this process; the kernel frees it however the process ends.

    Args:
        folder: made if missing; an empty file in it stays.
        advice: what to do when another process has it; ends the message.
        name: of that file: each is a lock of its own.
        shared: let others in that share it too.
    Raises:
        LockedError: another process has it.
        OSError: the file is a link.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    refuse_link(path)
    with open(path, "a") as lock:
        try:
            if fcntl is not None:
                kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"Another process is at work in {folder}. {advice}") from None
        except OSError:  # a file system without locks
            pass
        yield
