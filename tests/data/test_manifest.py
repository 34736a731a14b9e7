"""The manifest: whole or absent, of a version that is known."""

import pytest

from electra.data.manifest import MANIFEST_NAME, read_manifest, write_manifest


def test_a_manifest_comes_back_with_its_version(tmp_path):
    write_manifest(tmp_path, {"max_seq_length": 128, "files": []})
    assert read_manifest(tmp_path) == {"version": 1, "max_seq_length": 128, "files": []}
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST_NAME]


def test_a_folder_without_one_has_none(tmp_path):
    assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "nowhere") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3", '{"version": "new"}', "\xff"])
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / MANIFEST_NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="manifest.json is damaged: .*Build the records anew"):
        read_manifest(tmp_path)


def test_a_later_version_is_refused(tmp_path):
    (tmp_path / MANIFEST_NAME).write_text('{"version": 9}')
    with pytest.raises(ValueError, match="has version 9, this code reads up to 1"):
        read_manifest(tmp_path)


def test_a_manifest_with_odd_files_is_damaged(tmp_path):
    (tmp_path / MANIFEST_NAME).write_text('{"version": 1, "files": 3}')
    with pytest.raises(ValueError, match="is damaged"):
        read_manifest(tmp_path)
