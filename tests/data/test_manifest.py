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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "3",
        "\xff" * 3_000_000,
        "[" * 60_000,
        '{"version": "new"}',
        '{"version": 1e999}',
        '{"version": Infinity}',
        '{"version": 1, "files": 3}',
        '{"version": 1, "files": [{"name": 5, "examples": 1}]}',
        '{"version": 1, "files": ["a"]}',
        '{"version": 1, "files": [{"name": "a", "examples": 1e999}]}',
        '{"version": 1, "identity": {}}',
        '{"version": 1, "identity": null, "files": []}',
        '{"version": 1, "identity": [], "files": []}',
    ],
)
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / MANIFEST_NAME).write_bytes(text.encode("latin-1"))
    expected = "manifest.json is damaged: .*Build the records anew"
    with pytest.raises(ValueError, match=expected) as raised:
        read_manifest(tmp_path)
    assert len(str(raised.value)) < 1000


def test_a_later_version_is_refused(tmp_path):
    (tmp_path / MANIFEST_NAME).write_text('{"version": 9}')
    with pytest.raises(ValueError, match="has version 9, this code reads up to 1"):
        read_manifest(tmp_path)
