"""Patterns that name files of records: globs with commas between them, as the official code's."""

import glob
import os
import re

from electra.cloud.files import matches
from electra.cloud.urls import is_url


def find_files(pattern):
    """Returns the sorted paths that match a glob, or several with commas between them.

    A pattern that is itself the path of a file stands for that file.
    """
    return sorted({path for part in split(pattern) for path in matches(part)})


def escaped(path):
    """Returns the pattern that matches a path alone."""
    return glob.escape(path).replace(",", "[,]")


def split(pattern):
    """Returns the patterns of one argument."""
    # A comma in brackets is part of a name.
    is_path = not is_url(pattern) and os.path.exists(pattern)
    return [pattern] if is_path else re.split(r",(?![^\[]*\])", pattern)
