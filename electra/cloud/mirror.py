"""Working copies: folders of this machine that stand for folders of a bucket.

The bucket is the truth. `pull` makes the copy equal to it; `push` brings what changed here there:
logs first, then file by file in the order of their last change, so that what a checkpoint or a
result goes with is there before it; last, checkpoints that are gone here are removed. Whoever is
killed leaves the bucket with whole files, and with a whole older checkpoint.

<folder>/.sync.json holds what the last pull or push saw of each file: bytes and time of change
here, version there.
"""

import contextlib
import os
import re
import shutil

from absl import logging

from electra.cloud import store
from electra.cloud.urls import check_name, is_url, origin
from electra.storage import LockedError, locked, read_json, write_json

STATE = ".sync.json"
_SHAPE = {str: [(int, str)]}
_CHECKPOINT = re.compile(r"model\.ckpt-(\d+)\.(safetensors|json|index|meta|data-.*)")
_pulled = set()  # what this process pulled: (path, how)
_covered = {}  # folder -> names of its subfolders that were left out; what may be pushed
guards = set()  # functions that raise where this process may push no more


def pull_file(path):
    """Brings a file of a working copy up to date, once a process.

    Returns: whether it is there, in the bucket and here.
    """
    url, (folder, name) = origin(path), os.path.split(path)
    if not is_url(url) or (path, "file") in _pulled:
        return os.path.exists(path)
    if os.path.exists(path) and _is_at_work(folder):
        return True
    about = store.stat(url)
    _bring(folder, *(({}, [name]) if about is None else ({name: about}, ())))
    _pulled.add((path, "file"))
    return about is not None


def pull(folder, *, left_out=(), newest=False, fresh=False, is_shared=False):
    """Makes a folder of a working copy equal to the bucket's, once a process.

    While another process trains in it nothing happens: its copy is newer than the bucket.

    Args:
        folder: path; one that is no working copy stays as it is.
        left_out: names of subfolders to leave alone.
        newest: only what it takes to read a model: the files of the folder itself, and of its
            checkpoints the newest. Nothing of this is pushed.
        fresh: whether to look again: the process has the folder.
        is_shared: whether other commands may write there too: nothing is removed here.
    """
    url = origin(folder)
    how = "newest" if newest else "whole"
    if not is_url(url) or (not fresh and {(folder, how), (folder, "whole")} & _pulled):
        return
    if not fresh and _is_at_work(folder):
        return
    found = store.find(url)
    gone = () if is_shared else set(_files(folder, left_out)) - set(found)
    if newest:
        found, gone = _newest(found), {key for key in gone if "/" not in key}
    found = {key: about for key, about in found.items() if key.split("/")[0] not in left_out}
    _bring(folder, found, gone)
    _pulled.add((folder, how))


def pull_model(path):
    """Pulls what it takes to read a model: a folder, a checkpoint in it, or TF1's prefix of one."""
    url = origin(path)
    if not is_url(url) or (path, "model") in _pulled:
        return
    if store.find(url):
        pull(path, newest=True)
    else:
        folder, name = os.path.split(path)
        pull(folder, newest=True)
        for key in store.find(origin(folder)):
            if key.startswith(name) and "/" not in key:
                pull_file(os.path.join(folder, key))
    _pulled.add((path, "model"))


def pull_like(prefix):
    """Pulls the folders whose paths begin with a prefix, once a process; none if a process has one:
    the lock of a run's trials is that of the first."""
    if is_url(origin(prefix)) and (prefix, "like") not in _pulled:
        folders = folders_like(prefix)
        for folder in folders if not any(map(_is_at_work, folders)) else ():
            pull(folder)
        _pulled.add((prefix, "like"))


def push(path):
    """Brings what changed under a path of a working copy into the bucket.

    What is not `covered` stays as it is.
    """
    path = os.fspath(path)
    if _covered and is_url(origin(path)):
        _check()
    for root, left_out in _covered.items():
        if path == root or path.startswith(root + os.sep):
            _push(root, path, left_out)
        elif root.startswith(path + os.sep):
            _push(root, root, left_out)


def push_file(path):
    """Brings a file of a working copy into the bucket, as it is."""
    if is_url(origin(path)):
        _check()
        store.send(path, origin(path))


def _check():
    for guard in tuple(guards):
        guard()


@contextlib.contextmanager
def covered(folder, **how):
    """Pulls a folder, as `pull` with `fresh`, and pushes it at the end; meanwhile `push` may."""
    pull(folder, fresh=True, **how)
    _covered[folder] = frozenset(how.get("left_out", ()))
    try:
        yield
    except BaseException as error:
        if not isinstance(error, store.BucketError):  # else it would be waited for again
            with contextlib.suppress(OSError):
                push(folder)
        raise
    else:
        push(folder)
    finally:
        _covered.pop(folder, None)


@contextlib.contextmanager
def pushed(*folders, shared=()):
    """Pulls folders of working copies and, at the end, pushes them; others stay as they are.

    Args:
        folders: paths, of what this process has; shared: of what other commands may write to too.
    """
    with contextlib.ExitStack() as stack:
        for folder in reversed(dict.fromkeys((*folders, *shared))):  # the first leaves first
            is_covered = any(f"{folder}{os.sep}".startswith(root + os.sep) for root in _covered)
            if is_url(origin(folder)) and not is_covered:
                stack.enter_context(covered(folder, is_shared=folder in shared))
        yield


def _push(root, path, left_out):
    """Pushes what lies under `path` of the folder `root`."""

    def is_under(key):
        return (os.path.join(root, key) + os.sep).startswith(path + os.sep)

    states, changed = _States(root), []
    here = {key for key in _files(root, left_out) if is_under(key)}
    for key in here:
        found = os.stat(os.path.join(root, key))
        if states.local(key) != (found.st_size, found.st_mtime_ns):
            changed.append((not _is_log(key), found.st_mtime_ns, key, found.st_size))
    for _, time, key, size in sorted(changed):
        _check()  # what came before may have taken long
        about = store.send(os.path.join(root, key), f"{origin(root)}/{key}")
        states.set(key, size, time, about.version)
    states.write()
    for key in states.keys() - here:
        # Nothing else goes in a run: what somebody cleared away here stays in the bucket.
        is_due = _CHECKPOINT.fullmatch(os.path.basename(key)) or _is_log(key)
        if is_under(key) and key.partition("/")[0] not in left_out and is_due:
            store.remove(f"{origin(root)}/{key}")
            states.drop(key)
    states.write()


def _is_log(key):
    return key.endswith(".jsonl") or ".tfevents." in os.path.basename(key)


def _bring(root, found, gone):
    """Fetches what differs of `found` (key -> About), removes what the bucket lacks (keys)."""
    states = _States(root)
    for key in found:
        for part in key.split("/"):
            check_name(part, f"{origin(root)}/{key}")
    wanted = {}
    for key, about in found.items():
        path = os.path.join(root, key)
        is_same = os.path.isfile(path) and states.is_known(key, os.stat(path), about)
        if not is_same and not _is_hidden(key):
            wanted[key] = about
    size = sum(about.size for about in wanted.values())
    if wanted:
        os.makedirs(root, exist_ok=True)
        if size > shutil.disk_usage(root).free:
            raise store.BucketError(
                f"{origin(root)}: {size} bytes are to be copied to {root}, whose disk has fewer. "
                "Make room, or set ELECTRA_CACHE to a folder on another disk"
            )
        logging.info("Copying %d files, %d bytes, from %s", len(wanted), size, origin(root))
    try:
        for key, about in wanted.items():
            path = os.path.join(root, key)
            store.fetch(f"{origin(root)}/{key}", about, path)
            stat = os.stat(path)
            states.set(key, stat.st_size, stat.st_mtime_ns, about.version)
    finally:
        states.write()  # what came need not come again
    for key in gone:
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(root, key))
        states.drop(key)
    states.write()


class _States:
    """What the .sync.json of a folder and of those below it hold; `key` is "sub/folder/file"."""

    def __init__(self, root):
        self._root, self._read, self._changed = root, {}, set()

    def _of(self, key):
        folder = os.path.dirname(key)
        if folder not in self._read:
            path, known = os.path.join(self._root, folder, STATE), {}
            if os.path.exists(path):
                try:
                    known = read_json(path, "It is made anew", _SHAPE)
                except ValueError as error:
                    logging.warning("%s", error)
            self._read[folder] = known
        return self._read[folder]

    def local(self, key):
        return tuple(self._of(key).get(os.path.basename(key), ())[:2])

    def is_known(self, key, stat, about):
        known = [stat.st_size, stat.st_mtime_ns, about.version]
        return about.size == stat.st_size and self._of(key).get(os.path.basename(key)) == known

    def keys(self):
        """Returns the set of the keys of all files that are known in the folder and below."""
        for folder, _, names in os.walk(self._root):
            if STATE in names:
                self._of(os.path.join(os.path.relpath(folder, self._root), "x").removeprefix("./"))
        return {
            os.path.join(folder, name) for folder, known in self._read.items() for name in known
        }

    def set(self, key, size, time, version):
        self._of(key)[os.path.basename(key)] = [size, time, version]
        self._changed.add(os.path.dirname(key))

    def drop(self, key):
        if self._of(key).pop(os.path.basename(key), None) is not None:
            self._changed.add(os.path.dirname(key))

    def write(self):
        for folder in self._changed:
            if os.path.isdir(os.path.join(self._root, folder)):
                write_json(os.path.join(self._root, folder, STATE), self._read[folder])
        self._changed.clear()


def _files(root, left_out):
    """Yields the keys of a folder's files and of those below, hidden and unfinished left out."""
    for folder, folders, names in os.walk(root):
        inside = os.path.relpath(folder, root)
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and not (inside == "." and name in left_out)
        ]
        for name in sorted(names):
            if not _is_hidden(name) and not os.path.islink(os.path.join(folder, name)):
                yield name if inside == "." else f"{inside.replace(os.sep, '/')}/{name}"


def folders_like(prefix):
    """Returns the folders whose paths begin with a prefix: of a working copy the bucket's."""
    folder, begin = os.path.split(prefix)
    url = origin(folder)
    keys = store.find(url) if is_url(url) else ()
    names = {key.split("/")[0] for key in keys if "/" in key}
    return sorted(os.path.join(folder, name) for name in names if name.startswith(begin))


def _is_hidden(key):
    return any(part.startswith(".") for part in key.split("/")) or key.endswith(".tmp")


def _newest(found):
    """Returns what it takes to read a model, of what a folder and those below hold."""
    own = {key: about for key, about in found.items() if "/" not in key}
    steps = [int(match[1]) for key in own if (match := _CHECKPOINT.fullmatch(key))]
    if steps:
        ending = f"model.ckpt-{max(steps)}."
        return {
            k: v for k, v in own.items() if not _CHECKPOINT.fullmatch(k) or k.startswith(ending)
        }
    # Of other libraries, and converted: a pair of folders, or a preset's.
    beside = ("discriminator/", "generator/", "assets/")
    return own | {key: about for key, about in found.items() if key.startswith(beside)}


def _is_at_work(folder):
    """Returns whether a process has a folder, or one below or above it."""
    candidates = [folder, os.path.dirname(folder)]
    if os.path.isdir(folder):
        candidates += [entry.path for entry in os.scandir(folder) if entry.is_dir()]
    for each in candidates:
        if os.path.exists(os.path.join(each, ".lock")):
            try:
                with locked(each, ""):
                    pass
            except LockedError:
                return True
    return False
