"""URLs, and the folder of this machine that stands for each.

s3://bucket/data/models/m  <->  $ELECTRA_CACHE/buckets/s3/bucket/data/models/m
"""

import os
import re

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_ONE_SLASH = re.compile(r"(s3|gs|gcs|https?|memory):/[^/]")  # what pathlib makes of a URL
_PASSWORD = re.compile(r"[^/@]*:[^/@]*@")
_LONGEST_NAME = 255  # bytes of a file's name


def is_url(path):
    """Returns whether a path is a URL.

    Raises:
        ValueError: it was one before pathlib took a slash from it.
    """
    if not isinstance(path, str):
        return False
    if _ONE_SLASH.match(path) and not os.path.exists(path):
        raise ValueError(f"{path}: pathlib spoils a URL. Give it as a string, with two slashes")
    return _URL.match(path) is not None


def scheme_of(url):
    """Returns what stands before the colon, as "s3"."""
    return _URL.match(url)[1].lower()


def cache_dir():
    """Returns the folder of all working copies."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.abspath(os.environ.get("ELECTRA_CACHE") or os.path.join(home, "electra"))


def setting(name, default):
    """Returns a number of the environment, at least 0. Raises: ValueError."""
    text = os.environ.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a number, at least 0. Received: {text!r:.80}")
    return value


def working_copy(path):
    """Returns the path on this machine that stands for a URL; any other path as it is.

    Raises:
        ValueError: a part of the URL cannot be the name of a file, or it holds a password.
    """
    if not is_url(path):
        return path
    rest = _URL.match(path)[2]
    if _PASSWORD.match(rest):
        raise ValueError(
            f"A {scheme_of(path)}:// URL holds a password, which files and logs would hold too. "
            "Give it where the store's own tools take it: docs/buckets.md"
        )
    parts = [part for part in rest.split("/") if part]
    if not parts:
        raise ValueError(f"{path} names no bucket. Expected: such as s3://bucket/folder")
    for part in parts:
        check_name(part, path)
    return os.path.join(cache_dir(), "buckets", scheme_of(path), *parts)


def origin(path):
    """Returns the URL that a path stands for; any other path as it is."""
    if not isinstance(path, str) or is_url(path):
        return path
    root = os.path.join(cache_dir(), "buckets") + os.sep
    whole = os.path.abspath(path)
    if not whole.startswith(root):
        return path
    scheme, _, rest = whole[len(root) :].replace(os.sep, "/").partition("/")
    return f"{scheme}://{rest}" if rest else path


def normal(url):
    """Returns a URL as this code spells it: without empty parts, the scheme in small letters."""
    return origin(working_copy(url))


def check_name(name, url):
    """Refuses a part of a key that would lead out of its folder, or is no file's name.

    Raises:
        ValueError: it is such a name.
    """
    is_odd = name in ("", ".", "..") or set(name) & set("\\/") or not name.isprintable()
    if is_odd or len(name.encode("utf-8", "replace")) > _LONGEST_NAME:
        raise ValueError(f"{url} holds the name {name[:80]!r}, which no file here may have")
