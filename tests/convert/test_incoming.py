"""Models of any format where ours are taken: electra.load, init_checkpoint; the official code's."""

import json
import shutil

import numpy as np
import pytest

import electra
from electra.convert.incoming import name_of
from electra.convert.runs import from_anywhere
from electra.finetune.config import FinetuningConfig
from electra.finetune.runner import Finetuning
from electra.pretrain.config import PretrainingConfig
from electra.pretrain.runner import run_pretraining
from electra.publish.formats import convert
from electra.saving import checkpoints
from electra.text.vocab import read_vocab
from tests.convert.models import write_task
from tests.finetune import runs as finetuning_runs
from tests.finetune.reference import HEADS, load_model, tensors, values_of
from tests.pretrain.runs import TINY, entries, make_data, train
from tests.serve.models import TEXTS, write_pretrained
from tests.shared import FIXTURES, needs_fixtures


def load(folder, **options):
    return electra.load(folder, precision="float32", **options)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return write_pretrained(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def pair(ours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    convert(ours, "huggingface", folder / "o")
    return folder / "o"


def test_a_pair_of_hugging_face_is_loaded_as_it_is(ours, pair):
    before, after = load(ours), load(pair)
    assert after.detect(TEXTS) == before.detect(TEXTS)
    assert after.fill_mask("w5 [MASK]", top_k=9) == before.fill_mask("w5 [MASK]", top_k=9)
    alone = load(pair / "discriminator")
    assert alone.detect(TEXTS) == before.detect(TEXTS)
    np.testing.assert_array_equal(alone.encode(TEXTS), before.encode(TEXTS))


def test_a_folder_without_vocab_txt_is_loaded(ours, pair, tmp_path):
    shutil.copytree(pair / "discriminator", tmp_path / "o")
    (tmp_path / "o" / "vocab.txt").unlink()
    assert load(tmp_path / "o").detect(TEXTS) == load(ours).detect(TEXTS)
    words = [*load(ours).vocab.tokens, "more"]
    (tmp_path / "more.txt").write_text("\n".join(words) + "\n")
    with pytest.raises(ValueError, match="holds 41 tokens, the model's word table 40"):
        load(tmp_path / "o", vocab_file=tmp_path / "more.txt")
    swapped = [*words[:5], *words[5:40][::-1]]
    (tmp_path / "other.txt").write_text("\n".join(swapped) + "\n")
    with pytest.raises(ValueError, match="is not the vocabulary that .* was trained with"):
        load(tmp_path / "o", vocab_file=tmp_path / "other.txt")


def test_a_preset_of_keras_hub_is_loaded_as_it_is(ours, tmp_path):
    convert(ours, "keras_hub", tmp_path / "k")
    np.testing.assert_array_equal(load(tmp_path / "k").encode(TEXTS), load(ours).encode(TEXTS))


def test_a_fine_tuned_folder_is_loaded_as_it_is(tmp_path):
    folder = write_task(tmp_path, "classification", labels=["no", "yes"])
    convert(folder, "huggingface", tmp_path / "o")
    assert load(tmp_path / "o").predict(TEXTS) == load(folder).predict(TEXTS)


def settings(data, hparams, **options):
    return from_anywhere(lambda values: ("m", str(data), values), **options)(hparams)


def test_pre_training_goes_on_from_a_pair(pair, tmp_path):
    data = make_data(tmp_path)
    sizes = ("model_hparam_overrides", "embedding_size", "vocab_size", "generator_hidden_size")
    own = {name: value for name, value in TINY.items() if name not in sizes}
    overrides = {"hidden_dropout_prob": 0.0}
    given = {**own, "init_checkpoint": str(pair), "model_hparam_overrides": overrides}
    _, _, hparams = settings(data, given, to_pretrain=True)
    folder = data / "models" / "m" / "init_checkpoint"
    assert hparams["init_checkpoint"] == str(folder)
    assert hparams["vocab_file"] == str(folder / "vocab.txt")
    assert hparams["model_hparam_overrides"]["hidden_size"] == 16
    assert hparams["model_hparam_overrides"]["hidden_dropout_prob"] == 0.0
    config = PretrainingConfig("m", str(data), **{**hparams, "num_train_steps": 4})
    assert run_pretraining(config).exit_status == 0
    report = (data / "models" / "m" / "init_checkpoint.txt").read_text()
    assert "missing" not in report and str(folder) in report
    assert entries(data / "models" / "m" / "train_log.jsonl")[-1]["step"] == 4
    before = (folder / "model.ckpt-0.safetensors").stat().st_mtime_ns
    assert settings(data, given, to_pretrain=True)[2] == hparams  # nothing is converted twice
    assert (folder / "model.ckpt-0.safetensors").stat().st_mtime_ns == before


def test_fine_tuning_starts_from_hugging_face(pair, tmp_path):
    data = finetuning_runs.make_data(tmp_path)
    given = {"task_names": ["cola"], "init_checkpoint": str(pair / "discriminator")}
    _, _, hparams = settings(data, given)
    config = FinetuningConfig("m", str(data), **hparams, max_seq_length=16)
    run = Finetuning(config)
    expected = checkpoints.read(data / "models" / "m" / "init_checkpoint").tensors
    for name, value in run.trainer.pretrained.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert name_of(hparams["init_checkpoint"]) == "discriminator"


def test_ours_stay_where_they_are(ours, tmp_path):
    given = {"init_checkpoint": str(ours), "max_seq_length": 16}
    for options in ({}, {"to_pretrain": True}):
        assert settings(tmp_path, given, **options) == ("m", str(tmp_path), given)
    assert settings(tmp_path, {}) == ("m", str(tmp_path), {})
    assert settings(tmp_path, {"init_checkpoint": 3})[2] == {"init_checkpoint": 3}


def base():
    """Returns the folder of an official checkpoint with moments, and the options to open it."""
    case = FIXTURES / "pretrain" / "base"
    heads = json.loads((case / "config.json").read_text())["resolved_transformer"]
    overrides = {"num_attention_heads": heads["num_attention_heads"]}
    hparams = {"model_hparam_overrides": overrides, "max_seq_length": 16, "num_warmup_steps": 3}
    return case, {"hparams": hparams, "vocab_file": case.parent / "vocab.txt"}


@needs_fixtures
@pytest.mark.parametrize("case", ["electric_untied", "wide_generator", "uniform_generator"])
def test_official_checkpoints_of_any_generator_come_in(case, tmp_path):
    case = FIXTURES / "pretrain" / case
    heads = json.loads((case / "config.json").read_text())["resolved_transformer"]
    overrides = {"num_attention_heads": heads["num_attention_heads"]}
    options = {"hparams": {"model_hparam_overrides": overrides}}
    options["vocab_file"] = case.parent / "vocab.txt"
    convert(case, "electra", tmp_path / "o", **options)
    before, after = load(case, **options), load(tmp_path / "o")
    text = " ".join(before.vocab.tokens[10:20])
    np.testing.assert_array_equal(after.encode(text), before.encode(text))
    names = {*checkpoints.read(tmp_path / "o").tensors}
    assert names == {*after._network.named_variables()}


@needs_fixtures
def test_an_official_checkpoint_comes_in_with_its_optimizer(tmp_path):
    case, options = base()
    before = checkpoints.read(case)
    convert(case, "electra", tmp_path / "plain", from_="tf1", **options)
    convert(case, "electra", tmp_path / "all", with_optimizer=True, **options)
    plain, whole = checkpoints.read(tmp_path / "plain"), checkpoints.read(tmp_path / "all")
    assert plain.step == whole.step == before.step == 1234
    assert {*whole.tensors} == {*before.tensors} - {"global_step"}
    moments = {name for name in whole.tensors if name.endswith(("/adam_m", "/adam_v"))}
    assert moments == {*whole.tensors} - {*plain.tensors} and len(moments) == 228
    for name, value in whole.tensors.items():
        np.testing.assert_array_equal(value, before.tensors[name], err_msg=name)
    scores = load(tmp_path / "plain").detect("a the of")
    assert scores == load(case, **options).detect("a the of")


@needs_fixtures
def test_training_goes_on_exactly_from_an_official_checkpoint(tmp_path):
    """As it goes on in the official code's own folder, whose moments the runner reads."""
    case, options = base()
    data = make_data(tmp_path, tokens=read_vocab(options["vocab_file"]).tokens)
    about = json.loads((case / "config.json").read_text())["hparams"]
    hparams = {**about, **options["hparams"]}
    hparams["model_hparam_overrides"] = about["model_hparam_overrides"]
    run = {"num_train_steps": 1236, "train_batch_size": 8, "eval_batch_size": 4}
    run |= {"precision": "float32", "save_checkpoints_steps": 2, "iterations_per_loop": 1}
    hparams |= {**run, "learning_rate": 1e-3}
    for name in ("official", "converted"):
        folder = data / "models" / name
        if name == "official":
            folder.mkdir(parents=True)
            for path in case.glob("*ckpt-*"):
                shutil.copy(path, folder)
            shutil.copy(case / "checkpoint", folder)
        else:
            all_of = {**options, "hparams": hparams}
            convert(case, "electra", folder, with_optimizer=True, **all_of)
        assert train(data, name, **hparams) == 0
    official, converted = (checkpoints.read(data / "models" / n) for n in ("official", "converted"))
    assert official.step == converted.step == 1236
    for name, value in official.tensors.items():
        np.testing.assert_array_equal(value, converted.tensors[name], err_msg=name)


@needs_fixtures
def test_an_official_checkpoint_without_moments_or_data(tmp_path):
    case = FIXTURES / "pretrain" / "tied_generator"
    vocab = {"vocab_file": case.parent / "vocab.txt"}
    with pytest.raises(ValueError, match="holds no moments of an optimizer. Leave --with_optim"):
        convert(case, "electra", tmp_path / "o", with_optimizer=True, **vocab)
    shutil.copytree(case, tmp_path / "torn")
    next((tmp_path / "torn").glob("*.data-*")).unlink()
    with pytest.raises(ValueError, match="is no readable TF1 checkpoint: .*Copy its files anew"):
        convert(tmp_path / "torn", "electra", tmp_path / "o", **vocab)
    assert not (tmp_path / "o").exists()


@needs_fixtures
def test_a_fine_tuned_official_checkpoint_has_its_heads(tmp_path):
    values = values_of("heads/joint.json")
    sizes = values["hparams"]["model_hparam_overrides"]
    hparams = {"model_hparam_overrides": sizes, "max_seq_length": 80}
    options = {"vocab_file": FIXTURES / "tokenizer" / "vocab.txt"}
    model = load(HEADS, hparams=hparams, **options)
    assert {*model.tasks} == {*values["task_names"]}
    assert model.tasks["mnli"].labels == ("contradiction", "entailment", "neutral")
    assert model.tasks["chunk"].labels[:2] == ("LABEL_0", "LABEL_1")
    assert model.tasks["sts"].label_range == (0.0, 5.0)
    tags = [f"{kind}-X{i}" for i in range(6) for kind in "BIES"] + ["O"]
    hparams["task_labels"] = {"chunk": tags}
    convert(HEADS, "electra", tmp_path / "o", hparams=hparams, **options)
    back = load(tmp_path / "o")
    assert back.tasks["chunk"].labels == tuple(tags)
    expected = load_model(values["hparams"], values["task_names"])
    rng = np.random.default_rng(0)
    batch = {"input_ids": rng.integers(5, 30000, (2, 9))}
    batch |= {"input_mask": np.ones((2, 9)), "segment_ids": np.zeros((2, 9))}
    batch["chunk_labeled_positions"] = np.tile([1, 3], (2, 1))
    batch = tensors({name: np.asarray(value, np.int32) for name, value in batch.items()})
    for each in (model, back):
        assert each.predict(["a film"], task="cola")[0]["label"] in ("0", "1")
        assert each.predict([("who?", "she did")], task="squad")
        found, wanted = each._network(batch), expected(batch)
        for task, outputs in wanted.items():
            for name, value in outputs.items():
                np.testing.assert_allclose(found[task][name], value, atol=1e-6, err_msg=name)
