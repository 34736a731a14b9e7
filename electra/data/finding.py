"""Finds the files of a corpus: in a folder nested as deep as need be, or in a bucket."""

import os
import stat

from electra.cloud import files
from electra.cloud.urls import is_url, normal

_EXPECTED = "Expected: .txt, .jsonl, .tar; .gz, .xz or .zst may follow"


def find_files(corpus_dir):
    """Returns the paths of a corpus's files, sorted; hidden files and folders are left out.

    Links are followed, a folder that is reached twice is read once.

    Raises:
        FileNotFoundError: no such folder, a link that leads nowhere. ValueError: no file in it.
        PermissionError: a folder in it that may not be read or searched.
    """
    corpus_dir = os.fspath(corpus_dir)
    if is_url(corpus_dir):
        return _find_in_bucket(corpus_dir)
    if not os.path.isdir(corpus_dir):
        raise FileNotFoundError(f"--corpus_dir {corpus_dir} is no folder of text files")
    paths, seen = [], set()
    for folder, folders, names in os.walk(corpus_dir, onerror=_refuse, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = () if real in seen else sorted(n for n in folders if not n.startswith("."))
        if real not in seen:
            paths += [os.path.join(folder, name) for name in names if not name.startswith(".")]
        seen.add(real)
    paths = [path for path in paths if _is_regular(path)]
    if not paths:
        raise ValueError(f"--corpus_dir {corpus_dir} holds no files. {_EXPECTED}")
    return sorted(paths)


def _find_in_bucket(corpus_dir):
    from electra.cloud import store

    corpus_dir = normal(corpus_dir)
    about = store.stat(corpus_dir)
    if about is not None:
        return files.note({corpus_dir: about})
    if corpus_dir.startswith(("http://", "https://")):
        raise ValueError(
            f"--corpus_dir {corpus_dir} is no file, and web servers list no folders. Name one "
            "file, packed as .tar where there are many"
        )
    found = {
        f"{corpus_dir}/{key}": about
        for key, about in store.find(corpus_dir).items()
        if not any(map(_is_hidden, key.split("/")))
    }
    if not found:
        raise ValueError(f"--corpus_dir {corpus_dir} holds no files. {_EXPECTED}")
    return files.note(found)


def _is_hidden(name):
    return name.startswith(".")


def name_in(corpus_dir, path):
    """Returns what a file of a corpus is called in it."""
    if is_url(path):
        root = normal(corpus_dir)
        return os.path.basename(path) if path == root else path.removeprefix(root + "/")
    return os.path.relpath(path, corpus_dir)


def _refuse(error):
    raise error  # os.walk would leave the folder out


def _is_regular(path):
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is a link to nothing. Mend or remove it") from None
