"""What a size, the records' manifest and a model make the default, and what of it is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

from electra.data.manifest import write_manifest
from electra.finetune.config import FinetuningConfig
from electra.hparams import load_hparams
from electra.model.config import encoder_config
from electra.pretrain.agreement import config_to_run
from electra.pretrain.config import PretrainingConfig
from electra.pretrain.phases import phases_of
from electra.saving import checkpoints
from electra.saving.folder import write_folder
from electra.text.vocab import read_vocab
from tests.shared import ROOT

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, 40)))
CASED = {"do_lower_case": False, "strip_accents": False}
# What the quickstart's file said before there was a size of these numbers.
QUICKSTART = {
    "do_eval": True,
    "model_hparam_overrides": {
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "intermediate_size": 512,
        "num_attention_heads": 4,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.13,
    },
    "embedding_size": 128,
    "generator_hidden_size": 0.5,
    "vocab_size": 2000,
    "max_seq_length": 32,
    "learning_rate": 0.0005,
    "num_warmup_steps": 200,
    "num_train_steps": 5000,
    "iterations_per_loop": 50,
    "eval_every_steps": 1000,
    "save_checkpoints_steps": 1000,
    "keep_checkpoint_max": 2,
}


def write_records(folder, length=24, **about):
    """Writes a vocabulary, a manifest and records, which are empty files. Returns: folder."""
    records = folder / "pretrain_tfrecords"
    records.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    for name in ("pretrain_data", "eval_data"):
        (records / f"{name}.tfrecord-0-of-1").touch()
    vocab = read_vocab(folder / "vocab.txt")
    known = {"max_seq_length": length, "vocab_sha256": vocab.sha256, "vocab_size": len(vocab)}
    write_manifest(records, {**known, **CASED, **about})
    return folder


def write_model(config, has_record=True):
    """Writes a folder with a checkpoint whose tensors have the shapes of a config's network."""
    encoder, values = config.encoder, {}
    width = encoder.hidden_size, encoder.hidden_size
    for i in range(encoder.num_hidden_layers):
        layer = f"electra/encoder/layer_{i}"
        values[f"{layer}/attention/self/query/kernel"] = width
        values[f"{layer}/intermediate/dense/kernel"] = width[0], encoder.intermediate_size
    tables = {"word": encoder.vocab_size, "position": 512, "token_type": 2}
    for name, rows in tables.items():
        values[f"electra/embeddings/{name}_embeddings"] = rows, encoder.embedding_size
    if has_record:
        write_folder(config.model_dir, config.to_json(), config.vocab_file)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in values.items()}
    checkpoints.save(config.model_dir, 3, tensors, {})
    return config.model_dir


@pytest.fixture
def data(tmp_path):
    return write_records(tmp_path / "data")


def config(data="D", **hparams):
    return PretrainingConfig("M", data, **hparams)


def refused(made):
    with pytest.raises(ValueError) as error:
        config_to_run(made)
    return str(error.value)


# ---- sizes ----


def test_tiny_is_tinyberts_network():
    encoder = config(model_size="tiny").encoder
    assert (encoder.num_hidden_layers, encoder.hidden_size) == (4, 312)
    assert (encoder.num_attention_heads, encoder.intermediate_size) == (12, 1200)
    assert encoder.embedding_size == 312


def test_heads_and_feed_forward_of_a_size_are_those_of_its_width():
    encoder = encoder_config("tiny", vocab_size=9, overrides={"hidden_size": 256})
    assert (encoder.num_attention_heads, encoder.intermediate_size) == (4, 1024)
    same = encoder_config("tiny", vocab_size=9, overrides={"hidden_size": 312})
    assert (same.num_attention_heads, same.intermediate_size) == (12, 1200)


def test_the_quickstart_is_mini_with_the_numbers_that_it_had():
    hparams = load_hparams(str(ROOT / "examples" / "quickstart.json"))
    assert hparams == {"model_size": "mini", "vocab_size": 2000, "do_eval": True}
    now, before = config(**hparams), config(**QUICKSTART)
    assert (now.encoder, now.generator) == (before.encoder, before.generator)
    own = ("model_size", "model_hparam_overrides")
    values = [{k: v for k, v in c.to_json().items() if k not in own} for c in (now, before)]
    assert values[0] == values[1]


def test_what_is_given_and_debug_win_over_a_sizes_settings():
    given = config(model_size="mini", num_train_steps=9, learning_rate=1e-3)
    assert (given.num_train_steps, given.learning_rate, given.num_warmup_steps) == (9, 1e-3, 200)
    assert config(model_size="mini", debug=True).num_train_steps == 20
    assert config(model_size="tiny").num_warmup_steps == 10000


def test_fine_tuning_takes_the_size_of_the_models_folder(data):
    write_model(config(data, model_size="mini"))
    result = FinetuningConfig("M", data)
    assert result.encoder == config(data, model_size="mini").encoder
    assert result.learning_rate == 5e-4


# ---- records ----


def test_the_manifest_gives_length_case_and_vocabulary(data):
    result = config(data)
    assert (result.max_seq_length, result.vocab_size) == (24, 40)
    assert (result.do_lower_case, result.strip_accents) == (False, False)
    assert config(data, model_size="mini").max_seq_length == 24
    assert config_to_run(result) is result


def test_accents_may_go_where_case_stays(tmp_path):
    assert config(write_records(tmp_path / "d", strip_accents=True)).strip_accents is True


def test_records_without_a_manifest_have_the_official_defaults(data):
    (data / "pretrain_tfrecords" / "manifest.json").unlink()
    result = config(data)
    assert (result.max_seq_length, result.vocab_size, result.do_lower_case) == (128, 30522, True)


def test_records_elsewhere_are_asked_too(data, tmp_path):
    other = write_records(tmp_path / "other", length=48) / "pretrain_tfrecords"
    places = {"pretrain_tfrecords": f"{other}/pre*", "eval_tfrecords": f"{other}/eval*"}
    assert config(data, **places).max_seq_length == 48


def test_every_contradiction_is_in_one_message(data):
    (data / "vocab.txt").write_text("\n".join([*TOKENS, "more"]))
    message = refused(config(data, max_seq_length=32, do_lower_case=True, vocab_size=40))
    for part in (
        "built with max_seq_length 24, the model has 32. ",
        "built with do_lower_case False, the model has True. ",
        "built with strip_accents False, the model has True. ",
        "built with vocab_sha256 ",
        "vocab.txt holds 41 tokens, more than the word table: vocab_size 40. ",
    ):
        assert message.count(part) == 1, message
    assert message.endswith("Set it as they were built, or leave it out, or build them anew")


def test_a_contradiction_is_said_before_tensorflow_is_imported(data):
    code = (
        "import sys, electra.pretrain.__main__ as command\n"
        "from electra import cli\n"
        "cli._say = lambda line: print(line, 'tensorflow' in sys.modules)\n"
        "command.define_run_flags()\n"
        "command.run_command(command.main)\n"
    )
    flags = ["--data_dir", str(data), "--model_name", "m", "--hparams", '{"max_seq_length": 32}']
    command = [sys.executable, "-c", code, *flags]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "max_seq_length 24, the model has 32. " in done.stdout
    assert done.stdout.endswith("False\n")


def test_each_phase_has_the_length_of_its_records(data, tmp_path):
    other = write_records(tmp_path / "other", length=48) / "pretrain_tfrecords"
    places = {"pretrain_tfrecords": f"{other}/pre*", "eval_tfrecords": f"{other}/eval*"}
    phases = [{"steps": 2}, {"steps": 1, **places}]
    result = config(data, phases=phases)
    assert [phase.config.max_seq_length for phase in phases_of(result)] == [24, 48]
    assert result.max_seq_length == 48
    config_to_run(result)
    phases[0]["max_seq_length"], phases[1]["max_seq_length"] = 48, 24
    message = refused(config(data, phases=phases))
    assert "Phase 1: The training records in " in message
    assert "built with max_seq_length 24, the model has 48. Phase 2: The training" in message
    assert "built with max_seq_length 48, the model has 24. Set it as they were" in message


# ---- models ----


def test_a_run_keeps_what_its_folder_recorded(data):
    """As one that began before the manifest told how many rows a table has."""
    write_model(config(data, vocab_size=30522, model_size="mini", seed=3))
    again = config(data, seed=3, num_train_steps=7000)
    assert (again.model_size, again.vocab_size, again.max_seq_length) == ("mini", 30522, 24)
    assert config_to_run(again).num_train_steps == 7000
    message = refused(config(data, vocab_size=40, max_seq_length=32, do_lower_case=True))
    for part in (
        "hparam 'vocab_size' was 30522 and is now 40",
        "hparam 'seed' was 3 and is now 0",
        "hparam 'do_lower_case' was False and is now True",
        "built with max_seq_length 24, the model has 32. ",
    ):
        assert message.count(part) == 1, message


def test_a_new_run_takes_the_network_of_init_checkpoint(data, tmp_path):
    other = PretrainingConfig("before", data, model_size="mini", vocab_size=48)
    start = write_model(other)
    result = config(data, init_checkpoint=start)
    assert (result.encoder, result.model_size) == (other.encoder, "mini")
    assert config_to_run(result) is result
    rate = {"hidden_dropout_prob": 0.1}
    changed = config(data, init_checkpoint=start, model_hparam_overrides=rate)
    assert (changed.encoder.hidden_dropout_prob, changed.encoder.hidden_size) == (0.1, 128)
    message = refused(config(data, init_checkpoint=start, model_size="small", vocab_size=40))
    assert "vocab_size 40 here, 48 there; hidden_size 256 here, 128 there" in message
    assert message.endswith("Leave the sizes out: they are taken over")
    fewer = {"num_hidden_layers": 1}  # is no contradiction: the lowest layer's weights fit
    config_to_run(config(data, init_checkpoint=start, model_hparam_overrides=fewer))


def test_without_a_manifest_length_and_case_are_those_of_init_checkpoint(data):
    start = write_model(PretrainingConfig("before", data, model_size="mini"))
    (data / "pretrain_tfrecords" / "manifest.json").unlink()
    result = config(data, init_checkpoint=start)
    assert (result.max_seq_length, result.do_lower_case) == (24, False)
    assert config(data, init_checkpoint=start, do_lower_case=True).strip_accents is True


def test_another_length_than_init_checkpoints_is_fine_another_case_must_be_given(data):
    start = write_model(PretrainingConfig("before", data, model_size="mini"))
    write_manifest(
        data / "pretrain_tfrecords",
        {"max_seq_length": 48, "vocab_size": 40, "do_lower_case": True, "strip_accents": True},
    )
    message = refused(config(data, init_checkpoint=start))
    assert "was trained with do_lower_case False, the records were built with True" in message
    assert "was trained with strip_accents False" in message
    result = config(data, init_checkpoint=start, do_lower_case=True)
    assert config_to_run(result).max_seq_length == 48


@pytest.mark.parametrize("size", ["mini", "tiny"])
def test_shapes_tell_the_network_where_nothing_was_recorded(data, size):
    other = PretrainingConfig("before", data, model_size=size)
    start = write_model(other, has_record=False)
    result = config(data, init_checkpoint=start)
    assert result.vocab_size == 40
    known = ("hidden_size", "num_hidden_layers", "intermediate_size", "embedding_size")
    for name in known:
        assert getattr(result.encoder, name) == getattr(other.encoder, name)
    assert result.model_size == ("tiny" if size == "tiny" else "small")  # mini has own settings
    message = refused(config(data, init_checkpoint=start, model_size="base"))
    assert f"hidden_size 768 here, {other.encoder.hidden_size} there" in message


def test_a_folder_without_a_checkpoint_tells_nothing(data):
    made = config(data, model_size="mini")
    write_folder(made.model_dir, made.to_json(), made.vocab_file)  # killed before its first one
    assert config(data).model_size == "small"


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        ({"vocab_size": "many"}, "hparam 'vocab_size' must be"),
        ({"model_hparam_overrides": {"hidden_size": "x"}}, "hidden_size must be"),
        ({"model_hparam_overrides": {"hidden": 2}}, "model_hparam_overrides must be"),
    ],
)
def test_a_damaged_record_is_named(data, recorded, message):
    folder = write_model(config(data))
    path = f"{folder}/hparams.json"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(recorded, file)
    with pytest.raises(ValueError, match=f"{path} is damaged: {message}"):
        config(data)


@pytest.mark.parametrize(
    ("name", "value"), [("max_seq_length", -1), ("max_seq_length", 10**30), ("vocab_size", 10**18)]
)
def test_a_manifest_with_an_impossible_number_is_named(tmp_path, name, value):
    data = write_records(tmp_path, **{name: value})
    message = f"{data}/pretrain_tfrecords/manifest.json is damaged: hparam '{name}' must be"
    with pytest.raises(ValueError, match=message):
        config(data)
