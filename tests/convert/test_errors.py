"""What cannot be converted: what was found, what was expected, what to do."""

import builtins
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from electra.pretrain.config import PretrainingConfig
from electra.publish.formats import convert
from electra.saving import checkpoints
from electra.saving.tensors import open_safetensors, write_safetensors
from tests.pretrain.runs import TOKENS
from tests.serve.models import write_pretrained
from tests.shared import ROOT


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    convert(write_pretrained(folder), "huggingface", folder / "o")
    return folder / "o"


@pytest.fixture
def folder(good, tmp_path):
    shutil.copytree(good / "discriminator", tmp_path / "m")
    return tmp_path / "m"


def refused(folder, message, kind=ValueError, **options):
    with pytest.raises(kind, match=message) as error:
        convert(folder, "electra", folder.parent / "out", **options)
    assert not (folder.parent / "out").exists()
    return str(error.value)


def rewrite(folder, change):
    """Rewrites the weights: change is a function of the dict of arrays."""
    tensors = dict(open_safetensors(folder / "model.safetensors"))
    change(tensors)
    with open(folder / "model.safetensors", "wb") as file:
        write_safetensors(file, tensors, {})


def configure(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_folder_that_is_no_model(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "has no config.json. Expected: a folder of Hugging Face")
    refused(tmp_path / "none", "has no config.json")
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        convert(tmp_path / "empty", "huggingface", tmp_path / "out")
    (folder / "model.safetensors").unlink()
    refused(folder, "holds no weights. Expected: model.safetensors", FileNotFoundError)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "roberta"}, "model_type is .*roberta.*, expected 'electra' or 'bert'"),
        ({"model_type": None}, "model_type is None"),
        ({"hidden_size": "16"}, "'hidden_size' of the config is .* expected a whole number"),
        ({"hidden_size": 10**9}, "hidden_size must be a whole number of at least 1 and at most"),
        ({"num_hidden_layers": -1}, "num_hidden_layers must be"),
        ({"num_attention_heads": 3}, "hidden_size must be a multiple of num_attention_heads"),
        ({"num_attention_heads": True}, "expected a whole number"),
        ({"hidden_act": "relu"}, "hidden_act must be 'gelu'"),
        ({"hidden_dropout_prob": "a"}, "hidden_dropout_prob must be a finite number"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type must be 'absolute'"),
        ({"num_hidden_layers": 2}, "lacks electra.encoder.layer.1.* Do the layers in config.json"),
        ({"intermediate_size": 32}, r"has shape \(64, 16\), by config.json \(32, 16\)"),
        ({"vocab_size": 39}, "holds 40 tokens, the word table of the model 39 rows"),
        ({"vocab_size": 41}, r"word_embeddings.weight has shape \(40, 8\), by config.json \(41, 8"),
        ({"model_type": "bert"}, "lacks bert.embeddings.word_embeddings.weight: .*Name another"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit(values, message, folder):
    configure(folder, **values)
    refused(folder, message)


def test_a_config_that_lacks_a_size(folder):
    values = json.loads((folder / "config.json").read_text())
    del values["intermediate_size"]
    (folder / "config.json").write_text(json.dumps(values))
    refused(folder, "the config lacks 'intermediate_size'")
    (folder / "config.json").write_text("{")
    refused(folder, "config.json: not JSON at line 1")


def test_weights_that_are_no_file_are_not_waited_for(folder):
    for make in (os.mkdir, os.mkfifo):
        (folder / "model.safetensors").unlink(missing_ok=True)
        make(folder / "model.safetensors")
        refused(folder, "model.safetensors is no file. Copy the model anew")
        if make is os.mkdir:
            (folder / "model.safetensors").rmdir()


def test_a_kind_of_problem_that_is_no_text_counts_for_nothing(folder):
    rows = np.eye(16, dtype=np.float32)
    names = {"dense.weight": rows, "dense.bias": rows[0], "out_proj.weight": rows[:2]}
    names = {f"classifier.{name}": value for name, value in names.items()}
    rewrite(
        folder, lambda tensors: tensors.update(names, **{"classifier.out_proj.bias": rows[0, :2]})
    )
    configure(folder, problem_type=["x"], id2label={"0": "a", "1": "b"})
    (written,) = convert(folder, "electra", folder.parent / "out")
    (task,) = json.loads((folder.parent / "out" / "hparams.json").read_text())["tasks"]
    assert written and task["family"] == "classification"


def test_weights_that_are_damaged(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for data in (
        b"",
        whole[:4],
        b"\xff" * 8 + whole[8:],
        whole[:-4],
        whole[:9] + b"x" + whole[10:],
    ):
        path.write_bytes(data)
        refused(folder, "model.safetensors is no readable safetensors file: .* Copy it anew")
    path.write_bytes(whole)
    head = "discriminator_predictions.dense.bias"
    rewrite(folder, lambda tensors: tensors.pop(head))
    refused(folder, f"lacks {head}, expected of shape \\(16,\\)")
    rewrite(folder, lambda tensors: tensors.update({head: np.full(16, np.nan, np.float32)}))
    refused(folder, f"{head} holds numbers that are not finite")
    rewrite(folder, lambda tensors: tensors.update({head: np.zeros(16, np.int32)}))
    refused(folder, f"{head} is of type int32, expected float32")


def cut(folder):
    """Cuts the weights into two files with an index, as large models are. Returns: the index."""
    tensors = dict(open_safetensors(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    places = {}
    for i in (1, 2):
        name = f"model-0000{i}-of-00002.safetensors"
        mine = {key: tensors[key] for key in sorted(tensors)[i - 1 :: 2]}
        places |= dict.fromkeys(mine, name)
        with open(folder / name, "wb") as file:
            write_safetensors(file, mine, {"format": "pt"})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


def test_weights_in_parts(good, folder, tmp_path):
    index = cut(folder)
    convert(good / "discriminator", "electra", tmp_path / "whole")
    convert(folder, "electra", tmp_path / "parts")
    name = "model.ckpt-0.safetensors"
    assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    about, first = json.loads(index.read_text()), folder / "model-00001-of-00002.safetensors"
    bias = "discriminator_predictions.dense.bias"
    for place in ("../m/model-00001-of-00002.safetensors", "/etc/x.safetensors", "pytorch.bin"):
        index.write_text(json.dumps({"weight_map": {**about["weight_map"], bias: place}}))
        refused(folder, f"names the file {place!r}. Expected: a .safetensors beside it")
    index.write_text(json.dumps({"weight_map": {**about["weight_map"], "w": first.name}}))
    refused(folder, f"{first.name} lacks w, which .*index.json says lies there. Copy both anew")
    for text in ("{", "[]", '{"weight_map": 3}', '{"weight_map": {"w": 3}}', "{}"):
        index.write_text(text)
        refused(folder, "model.safetensors.index.json is damaged: .* Copy it anew")
    index.write_bytes(b"\xff")
    refused(folder, "model.safetensors.index.json is damaged")
    index.write_text(json.dumps(about))
    whole = first.read_bytes()
    first.write_bytes(whole[:-3])
    refused(folder, f"{first.name} is no readable safetensors file: .* Copy it anew")
    first.unlink()
    refused(folder, f"{first.name} is missing, which .* names. Copy it there", FileNotFoundError)


def test_a_file_of_torch_without_torch(folder, monkeypatch):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    whole = builtins.__import__

    def without_torch(name, *arguments, **keywords):
        if name == "torch":
            raise ImportError(name)
        return whole(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    refused(folder, "pip install torch, or save the model anew as model.safetensors")


def test_vocabularies(folder):
    (folder / "vocab.txt").write_text("\n".join(TOKENS[1:]) + "\n")
    refused(folder, r"lacks \[PAD\]")
    (folder / "vocab.txt").unlink()
    path = folder / "tokenizer.json"
    whole = json.loads(path.read_text())
    for change, message in (
        ({"type": "BPE"}, "is of a 'BPE' tokenizer. Expected: WordPiece"),
        ({"continuing_subword_prefix": "@@"}, "Expected: WordPiece whose pieces"),
        ({"vocab": {**whole["model"]["vocab"], "w9": 99}}, "ids of its 40 tokens are not 0, 1, 2"),
        ({"vocab": {**whole["model"]["vocab"], " x": 40}}, "has white space"),
        ({"vocab": []}, "'vocab' of model is .* expected a dict"),
    ):
        path.write_text(json.dumps({**whole, "model": {**whole["model"], **change}}))
        refused(folder, message)
    path.write_bytes(b"\xff{}")
    refused(folder, "tokenizer.json is not UTF-8 text")
    path.write_text(json.dumps({**whole, "normalizer": {"type": "BertNormalizer", "lowercase": 3}}))
    refused(folder, "'lowercase' of the tokenizer is 3, expected true or false")
    path.unlink()
    refused(folder, "holds no vocabulary. Expected: vocab.txt or tokenizer.json", FileNotFoundError)


def test_two_that_are_no_pair(good, folder, tmp_path):
    generator = tmp_path / "g"
    shutil.copytree(good / "generator", generator)
    refused(generator, "are no pair: expected the discriminator's", generator=folder)
    rewrite(folder, lambda tensors: tensors["electra.embeddings.LayerNorm.bias"].__iadd__(1))
    # As wide as its states, the generator's tables may be its own.
    convert(folder, "electra", tmp_path / "untied", generator=generator)
    hparams = json.loads((tmp_path / "untied" / "hparams.json").read_text())
    assert hparams["untied_generator_embeddings"] is True
    configure(generator, num_attention_heads=2)
    refused(
        folder, "num_attention_heads is 2, but of a generator for .* it is 1", generator=generator
    )


def test_parts_that_are_not_there(good, folder):
    refused(folder, "holds no generator. Found: discriminator", part="generator")
    refused(folder, "--part must be one of discriminator, generator, encoder", part="all")


def test_labels_that_are_not_told(folder):
    def add(tensors):
        tensors["classifier.weight"] = np.zeros((2, 16), np.float32)
        tensors["classifier.bias"] = np.zeros(2, np.float32)

    rewrite(folder, add)
    refused(folder, "config.json lacks 'id2label'")
    configure(folder, id2label={"0": "a", "2": "b"})
    refused(folder, "id2label must name labels 0, 1, 2")
    configure(folder, id2label={"0": "a", "1": "b", "2": "c"})
    refused(folder, r"classifier.weight has shape \(2, 16\), by config.json \(3, 16\)")


def test_what_goes_neither_in_nor_out(folder, tmp_path):
    with pytest.raises(ValueError, match="is of huggingface. Convert it --to electra first"):
        convert(folder, "keras_hub", tmp_path / "out")
    with pytest.raises(ValueError, match="--to must be one of electra, huggingface, keras_hub"):
        convert(folder, "onnx", tmp_path / "out")
    refused(folder, "--vocab_file, --records_dir means nothing", vocab_file="v", records_dir="r")
    (tmp_path / "p").mkdir()
    ours = write_pretrained(tmp_path / "p")
    for to, options in (("huggingface", {"generator": "g"}), ("keras_hub", {"part": "encoder"})):
        with pytest.raises(ValueError, match=f"means nothing from electra to {to}. Leave it out"):
            convert(ours, to, tmp_path / "out", **options)
    with pytest.raises(ValueError, match="is not empty. Choose another output"):
        convert(folder, "electra", folder)


def test_ours_that_lacks_a_tensor(tmp_path):
    ours = write_pretrained(tmp_path)
    recorded = json.loads((ours / "hparams.json").read_text())
    recorded["model_hparam_overrides"]["intermediate_size"] = 32
    (ours / "hparams.json").write_text(json.dumps(recorded))
    with pytest.raises(
        ValueError, match=r"has shape \(16, 64\), by its hparams of shape \(16, 32\)"
    ):
        convert(ours, "huggingface", tmp_path / "out", part="discriminator")


def test_the_command(folder, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "electra.convert", *map(str, arguments)]
        environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    done = run("--model", folder, "--to", "electra", "--output", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    wrote, advice = done.stdout.splitlines()
    assert wrote == f"Wrote {tmp_path / 'o'}"
    hparams = json.loads(re.fullmatch("To pre-train from it, --hparams '(.*)'", advice)[1])
    assert PretrainingConfig("m", "d", **hparams).encoder.hidden_size == 16
    assert sorted(os.listdir(tmp_path / "o")) == [
        "hparams.json",
        "model.ckpt-0.safetensors",
        "vocab.txt",
    ]
    failed = run("--model", folder, "--to", "electra", "--output", tmp_path / "o")
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: ") and failed.stderr.count("\n") == 1


@pytest.mark.parametrize("is_there", [False, True])
def test_a_full_disk_leaves_nothing_and_the_command_begins_again(folder, monkeypatch, is_there):
    output = folder.parent / "out"
    if is_there:
        output.mkdir()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", fail)
        with pytest.raises(OSError, match="No space left"):
            convert(folder, "electra", output)
    assert (list(output.iterdir()) == []) if is_there else not output.exists()
    assert convert(folder, "electra", output) == [str(output)]
