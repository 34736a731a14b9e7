"""The pre-training config: official dicts, derived values, refusals, what may change."""

import json
import subprocess
import sys

import pytest

from electra.hparams import load_hparams
from electra.pretrain.config import PretrainingConfig
from electra.train import resume
from tests.shared import FIXTURES, ROOT, needs_fixtures

OFFICIAL_DEFAULTS = {
    "debug": False,
    "do_train": True,
    "do_eval": False,
    "electra_objective": True,
    "electric_objective": False,
    "gen_weight": 1.0,
    "disc_weight": 50.0,
    "mask_prob": 0.15,
    "learning_rate": 5e-4,
    "lr_decay_power": 1.0,
    "weight_decay_rate": 0.01,
    "num_warmup_steps": 10000,
    "iterations_per_loop": 200,
    "save_checkpoints_steps": 1000,
    "num_train_steps": 1000000,
    "num_eval_steps": 100,
    "keep_checkpoint_max": 5,
    "model_size": "small",
    "model_hparam_overrides": {},
    "embedding_size": 128,
    "vocab_size": 30522,
    "do_lower_case": True,
    "uniform_generator": False,
    "two_tower_generator": False,
    "untied_generator_embeddings": False,
    "untied_generator": True,
    "generator_layers": 1.0,
    "generator_hidden_size": 0.25,
    "disallow_correct": False,
    "temperature": 1.0,
    "max_seq_length": 128,
    "train_batch_size": 128,
    "eval_batch_size": 128,
    "use_tpu": False,
    "num_tpu_cores": 1,
    "tpu_job_name": None,
    "tpu_name": None,
    "tpu_zone": None,
    "gcp_project": None,
    "pretrain_tfrecords": "D/pretrain_tfrecords/pretrain_data.tfrecord*",
    "vocab_file": "D/vocab.txt",
    "model_dir": "D/models/M",
    "results_txt": "D/models/M/results/unsup_results.txt",
    "results_pkl": "D/models/M/results/unsup_results.pkl",
    "max_predictions_per_seq": 19,
    "model_name": "M",
}

SELECTRA = (
    '{"debug": false, "model_size": "medium", "do_train": true, "do_eval": false, '
    '"pretrain_tfrecords": "gs://b/data.tfrecord*", "vocab_file": "gs://b/vocab.txt", '
    '"use_tpu": true, "num_tpu_cores": 8, "tpu_name": "medium", "tpu_zone": "us-central1-f", '
    '"gcp_project": "p", "do_lower_case": false, "vocab_size": 50000, "max_seq_length": 512, '
    '"num_eval_steps": 2000, "num_train_steps": 3000000}'
)


def resumed(config, recorded):
    return resume.resumed(config, recorded, config.model_dir)


def refused_changes(recorded, now):
    return resume.refused_changes(PretrainingConfig.fields, recorded, now)


def config(**hparams):
    return PretrainingConfig("M", "D", **hparams)


@pytest.mark.parametrize("name", sorted(OFFICIAL_DEFAULTS))
def test_every_official_hparam_has_its_default(name):
    assert getattr(config(), name) == OFFICIAL_DEFAULTS[name]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"debug": true}',
        '{"do_train": false, "do_eval": true}',
        '{"model_size": "base"}',
        '{"model_size": "large", "max_seq_length": 512, "mask_prob": 0.25}',
        '{"electra_objective": false, "electric_objective": true}',
        '{"electra_objective": false}',
        '{"use_tpu": true, "num_tpu_cores": 8, "tpu_name": "t", "model_size": "base"}',
        '{"keep_checkpoint_max": null}',
        SELECTRA,
    ],
)
def test_published_dicts_load_as_they_are(text):
    hparams = load_hparams(text)
    result = config(**hparams)
    assert {name: getattr(result, name) for name in hparams if hparams[name] is not None} == {
        name: value for name, value in hparams.items() if value is not None
    }
    assert result.given == set(hparams)


def test_selectra_is_a_cased_network_of_384():
    result = config(**load_hparams(SELECTRA))
    assert (result.encoder.hidden_size, result.encoder.num_attention_heads) == (384, 6)
    assert result.embedding_size == 384
    assert result.strip_accents is False
    assert result.max_predictions_per_seq == 79


def test_debug_is_a_short_run_and_given_values_win():
    result = config(debug=True)
    assert (result.train_batch_size, result.num_train_steps, result.eval_batch_size) == (8, 20, 4)
    assert (result.iterations_per_loop, result.num_eval_steps) == (1, 2)
    assert config(debug=True, num_train_steps=5).num_train_steps == 5


@pytest.mark.parametrize(
    ("mask_prob", "length", "slots"), [(0.15, 128, 19), (0.15, 512, 79), (0.25, 512, 130)]
)
def test_masked_slots_follow_from_share_and_length(mask_prob, length, slots):
    assert config(mask_prob=mask_prob, max_seq_length=length).max_predictions_per_seq == slots


def test_embedding_size_is_128_only_for_small_and_a_given_one_wins():
    assert config(model_size="base").embedding_size == 768
    assert config(embedding_size=256).encoder.embedding_size == 256


def test_generator_sizes_follow_the_fractions():
    assert config().generator.hidden_size == 64
    assert config(generator_layers=0.5).generator.num_hidden_layers == 6
    for without in ({"electra_objective": False}, {"uniform_generator": True}):
        assert config(**without).generator is None
    assert config(untied_generator=False).generator is None


def test_electric_wins_and_brings_two_towers():
    assert config(electric_objective=True).objective == "electric"
    assert config(electric_objective=True).two_tower_generator is True
    assert config(electra_objective=False).objective == "mlm"
    assert config(two_tower_generator=True).objective == "electra"


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"learning_rat": 1.0}, "'learning_rat' is unknown. Closest: 'learning_rate'"),
        ({"mask_prob": 1.5}, "'mask_prob' must be above 0 and below 1. Received: 1.5"),
        ({"mask_prob": 0}, "'mask_prob' must be above 0 and below 1"),
        ({"temperature": 0}, "'temperature' must be above 0"),
        ({"train_batch_size": 0}, "'train_batch_size' must be at least 1"),
        ({"train_batch_size": 8.0}, "'train_batch_size' must be a whole number"),
        ({"debug": "true"}, "'debug' must be true or false"),
        ({"seed": -1}, "'seed' must be at least 0"),
        ({"model_size": "huge"}, '\'model_size\' must be one of "mini", "tiny", "small"'),
        ({"strategy": "horovod"}, "'strategy' must be one of"),
        ({"precision": "float16"}, "'precision' must be one of"),
        ({"xla": 1}, "'xla' must be one of"),
        ({"scan_layers": 1}, "'scan_layers' must be one of"),
        ({"recompute_layers": 1}, "'recompute_layers' must be true or false"),
        ({"compilation_cache_dir": False}, "'compilation_cache_dir' must be a string or null"),
        ({"vocab_file": None, "vocab_size": None}, "'vocab_size' must be a whole number"),
        ({"model_hparam_overrides": {"hidden_size": 250, "num_attention_heads": 4}}, "multiple of"),
        ({"model_hparam_overrides": {"hiden_size": 250}}, "'hiden_size' is unknown. Closest: 'hi"),
        ({"model_hparam_overrides": {"hidden_dropout_prob": "0.1"}}, "must be a finite number"),
        ({"model_hparam_overrides": {"hidden_dropout_prob": None}}, "must be a finite number"),
        ({"model_hparam_overrides": {"initializer_range": 1e999}}, "must be a finite number"),
        ({"embedding_size": 0}, "embedding_size must be a whole number of at least 1"),
        ({"max_seq_length": 513}, "more than the position table holds"),
        ({"max_predictions_per_seq": 20}, "is computed"),
        ({"train_batch_size": 8, "gradient_accumulation_steps": 3}, "not a multiple of"),
        ({"lr_restart_step": 10, "num_train_steps": 10}, "must come before num_train_steps"),
        ({"use_tpu": True, "strategy": "one"}, "use_tpu is true and strategy is 'one'"),
        ({"do_train": False}, "nothing to do"),
        ({"seed": 2**32}, "'seed' must be at least 0 and at most 4294967295"),
        ({"num_train_steps": 2**31}, "at most 2147483647"),
        ({"generator_hidden_size": 0.001}, "The generator, of generator_hidden_size 0.001"),
        ({"generator_hidden_size": 1e308}, "'generator_hidden_size' must be above 0 and at most"),
        ({"train_batch_size": 10**9}, "at least 1 and at most 1048576. Received: 1000000000"),
        ({"vocab_size": 10**30}, "'vocab_size' must be a whole number of at most"),
        ({"results_txt": f"{__file__}/a/b"}, "test_configure_pretraining.py, a file. Name a"),
        ({"electra_objective": False, "uniform_generator": True}, "leaves nothing to train"),
        ({"electric_objective": True, "two_tower_generator": False}, "needs two_tower_generator"),
        ({"electric_objective": True, "uniform_generator": True}, "generator of its own"),
        ({"electric_objective": True, "untied_generator": False}, "generator of its own"),
        ({"electra_objective": False, "two_tower_generator": True}, "generator of its own"),
    ],
)
def test_impossible_settings_are_refused(hparams, message):
    with pytest.raises(ValueError) as error:
        config(**hparams)
    assert message in str(error.value)


def test_slots_are_never_more_than_tokens():
    assert config(mask_prob=0.999, max_seq_length=512).max_predictions_per_seq == 512


@pytest.mark.parametrize("name", ["a/b", "", ".", "..", "a\0", "\udcff", 5, None])
def test_a_model_name_is_one_folder(name):
    with pytest.raises(ValueError, match="model_name must be the name of a folder"):
        PretrainingConfig(name, "D")


def test_a_data_dir_is_in_utf_8():
    with pytest.raises(ValueError, match="data_dir .* is not in UTF-8: .* Rename the folder"):
        PretrainingConfig("M", "\udcff")


def test_a_vocabulary_larger_than_the_table_is_refused():
    with pytest.raises(ValueError, match=r"D/vocab\.txt holds 11 tokens.*\"vocab_size\": 11"):
        config(vocab_size=10).check_vocab(range(11))


def test_a_word_table_of_the_overrides_counts_too():
    result = config(model_hparam_overrides={"vocab_size": 10})
    assert (result.vocab_size, result.encoder.vocab_size) == (10, 10)
    with pytest.raises(ValueError, match="holds 11 tokens"):
        result.check_vocab(range(11))


def test_a_smaller_vocabulary_gives_a_note():
    note = config(vocab_size=10).check_vocab(range(8))
    assert "2 of the 10 rows" in note and '"vocab_size": 8' in note
    assert config(vocab_size=10).check_vocab(range(10)) is None


def test_the_written_config_loads_again():
    first = config(**load_hparams(SELECTRA))
    recorded = json.loads(json.dumps(first.to_json()))
    del recorded["model_name"]
    assert config(**recorded).to_json() == first.to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"num_train_steps": 7},
        {"iterations_per_loop": 7},
        {"save_checkpoints_steps": 7},
        {"keep_checkpoint_max": 7},
        {"log_every_steps": 7},
        {"eval_every_steps": 7},
        {"num_eval_steps": 7},
        {"eval_batch_size": 7},
        {"do_eval": True},
        {"strategy": "mirrored"},
        {"require_gpu": True},
        {"lr_restart_step": 7},
        {"vocab_file": "elsewhere"},
        {"embedding_size": 128},
        {"strip_accents": True},
    ],
)
def test_a_run_may_go_on_with_other_lengths_places_and_devices(change):
    assert refused_changes(config().to_json(), config(**change).to_json()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7},
        {"learning_rate": 7e-4},
        {"train_batch_size": 64},
        {"gradient_accumulation_steps": 2},
        {"precision": "bfloat16"},
        {"model_hparam_overrides": {"num_hidden_layers": 7}},
        {"electra_objective": False},
        {"mask_prob": 0.2},
        {"vocab_size": 7},
        {"do_lower_case": False, "strip_accents": True},
    ],
)
def test_a_run_may_not_go_on_with_other_numbers(change):
    recorded = config().to_json()
    refused = refused_changes(recorded, config(**change).to_json())
    name = next(iter(change))
    assert refused == [f"hparam {name!r} was {recorded[name]!r} and is now {change[name]!r}"]


def test_a_run_recorded_before_a_knob_existed_goes_on():
    recorded = config().to_json()
    del recorded["gradient_accumulation_steps"]
    assert refused_changes(recorded, config().to_json()) == []


def test_a_config_is_frozen_and_replaced():
    first = config(seed=1)
    for name in ("seed", "given", "other"):
        with pytest.raises(AttributeError, match=f"PretrainingConfig is frozen: {name} cannot"):
            setattr(first, name, 2)
    second = first.replace(seed=2, precision="bfloat16")
    assert (first.seed, second.seed, second.precision) == (1, 2, "bfloat16")
    assert second.given == {"seed"}


def test_a_new_run_goes_on_from_nothing():
    new = config(seed=1)
    assert resumed(new, None) is new


def test_training_goes_on_with_what_was_found_when_it_began():
    recorded = config(seed=1).to_json()
    recorded.update(precision="bfloat16", generator_hidden_size=1.0)
    result = resumed(config(seed=1, num_train_steps=7), recorded)
    assert (result.precision, result.generator.hidden_size) == ("bfloat16", 256)
    assert result.num_train_steps == 7
    assert result.given == {"seed", "num_train_steps"}
    assert resumed(config(seed=1, precision="auto"), recorded).precision == "bfloat16"


def test_training_does_not_go_on_with_other_numbers():
    recorded = config(seed=1).to_json()
    with pytest.raises(ValueError, match=r"D/models/M holds .* 'seed' was 1 and is now 0"):
        resumed(config(), recorded)
    with pytest.raises(ValueError, match="'precision' was 'bfloat16' and is now 'float32'"):
        recorded.update(seed=0, precision="bfloat16")
        resumed(config(precision="float32"), recorded)


def test_evaluation_alone_takes_the_recorded_network():
    recorded = config(debug=True, model_size="base", seed=3).to_json()
    result = resumed(config(do_train=False, do_eval=True, temperature=2.0), recorded)
    assert (result.model_size, result.encoder.hidden_size, result.seed) == ("base", 768, 3)
    assert (result.temperature, result.do_train, result.eval_batch_size) == (2.0, False, 4)


def test_generator_fractions_come_from_a_checkpoint_unless_given(caplog):
    caplog.set_level("INFO", logger="absl")
    result = resume.fit_generator(config(), (1.0, 1.0), "a")
    assert caplog.messages == ["a: generator_hidden_size 0.25 -> 1, as its shapes say"]
    assert result.generator.hidden_size == 256
    assert result.to_json()["generator_hidden_size"] == 1.0
    assert result.given == set()
    given = config(generator_hidden_size=0.25)
    assert resume.fit_generator(given, (0.25, 1.0), "a") is given
    with pytest.raises(ValueError, match="Leave generator_layers out to take it over"):
        resume.fit_generator(config(generator_layers=0.5), (0.25, 1.0), "a")


def test_the_module_prints_its_table():
    command = [sys.executable, str(ROOT / "configure_pretraining.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "| `mask_prob` | `0.15` | above 0 and below 1 | official |" in done.stdout
    assert '`"model_size": "mini"` the defaults are `generator_hidden_size`' in done.stdout


@needs_fixtures
def test_sizes_of_the_official_runs():
    folders = sorted(FIXTURES.glob("pretrain/*/config.json"))
    assert folders
    for path in folders:
        official = json.loads(path.read_text())
        ours = config(**official["hparams"])
        for name, value in official["resolved_transformer"].items():
            assert getattr(ours.encoder, name) == value, (path, name)
        for name, value in (official.get("resolved_generator_transformer") or {}).items():
            if ours.generator is not None:
                assert getattr(ours.generator, name) == value, (path, name)
        assert ours.max_predictions_per_seq == official["max_predictions_per_seq"]
        for name in ("gen_weight", "disc_weight", "mask_prob"):
            assert getattr(ours, name) == official[name]


def test_the_models_vocabulary_serves_where_the_data_has_none(tmp_path):
    of_model = tmp_path / "models/M/vocab.txt"
    of_model.parent.mkdir(parents=True)
    of_model.touch()
    assert PretrainingConfig("M", tmp_path).vocab_file == str(of_model)
    (tmp_path / "vocab.txt").touch()
    assert PretrainingConfig("M", tmp_path).vocab_file == str(tmp_path / "vocab.txt")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "x"),
        ("mask_prob", [[1]]),
        ("precision", {}),
        ("electra_objective", None),
        ("max_seq_length", 10**30),
    ],
)
def test_an_odd_record_is_named_with_its_file(tmp_path, name, value):
    result = PretrainingConfig("M", str(tmp_path), do_train=False, do_eval=True)
    message = f"models/M/hparams.json is damaged: hparam '{name}' must be"
    with pytest.raises(ValueError, match=message):
        resumed(result, {**result.to_json(), name: value})
