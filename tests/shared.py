"""Where the reference values and the real corpora lie, and the marks of tests that need them.

A user's machine has neither: those tests skip there.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = Path(os.environ.get("ELECTRA_FIXTURES", ROOT.parent / "shared" / "fixtures"))
DATA = Path(os.environ.get("ELECTRA_DATA", ROOT.parent / "shared" / "data"))


def _needs(path, what):
    def mark(test):
        skip = pytest.mark.skipif(not path.exists(), reason=f"{what} not found at {path}")
        return pytest.mark.shared(skip(test))

    return mark


needs_fixtures = _needs(FIXTURES, "reference values of the official code")
needs_data = _needs(DATA, "real corpora")
