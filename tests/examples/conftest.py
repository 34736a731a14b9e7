"""Packages of sources to read."""

import pytest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that makes a package of a name from a dict of paths and sources."""

    def write(name, sources):
        for path, source in sources.items():
            file = tmp_path / "packages" / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
        monkeypatch.syspath_prepend(tmp_path / "packages")

    return write
