"""A model's folder: what it records is found, and said to be damaged with one advice."""

import json

import pytest

from electra.saving.folder import ModelFolder, write_folder

TASK = {"name": "cola", "family": "text", "folder": "cola", "sources": {}, "metrics": ["mcc"]}


def test_what_is_written_is_found_from_the_folder_and_from_a_checkpoint_in_it(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    write_folder(tmp_path / "m", {"vocab_size": 1}, tmp_path / "vocab.txt")
    for place in (tmp_path / "m", tmp_path / "m" / "model.ckpt-3", f"{tmp_path}/m/a.safetensors"):
        folder = ModelFolder.of(place)
        assert folder.recorded("vocab_size") == {"vocab_size": 1}
        assert folder.vocab_file == str(tmp_path / "m" / "vocab.txt")


def test_a_folder_without_hparams_has_none(tmp_path):
    assert ModelFolder(tmp_path).recorded("vocab_size") is None
    assert ModelFolder(tmp_path / "nothing").recorded() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON dict"),
        ("\xff", "utf-8"),
        ("{}", "it lacks model_size, tasks. "),
        (json.dumps({"tasks": 5}), "'tasks' of it is 5"),
        (json.dumps({"tasks": [{**TASK, "labels": "01"}]}), "'labels' of an item of 'tasks'"),
        (json.dumps({"tasks": [TASK]}), "lacks 'labels'"),
        (json.dumps({"inputs": {"cola train": 5}}), "'cola train' of 'inputs' of it is 5"),
    ],
)
def test_damaged_hparams_are_named_with_the_remedy(tmp_path, text, message):
    (tmp_path / "hparams.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"hparams.json is damaged: .*{message}.*Write it anew"):
        ModelFolder(tmp_path).recorded("model_size", "tasks")
