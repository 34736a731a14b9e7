"""The runner: going on, starting from other weights, evaluating, and what it refuses."""

import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest

from electra.data.manifest import MANIFEST_NAME
from electra.data.patterns import find_files
from electra.pretrain.config import PretrainingConfig
from electra.pretrain.metrics import METRICS
from electra.saving import checkpoints
from electra.saving.folder import locked_folder
from electra.train import logs
from electra.train import loop as loop_module
from electra.train.compare import differences
from electra.train.fit import NonFiniteLossError
from electra.train.lines import EVAL_LOG, THROUGHPUT, TRAIN_LOG
from tests.pretrain import runs
from tests.pretrain.reference import FOLDERS, config_of, load_batches
from tests.saving.pairs import as_pair, save_pair
from tests.shared import needs_fixtures

STEPS = runs.TINY["num_train_steps"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("runner") / "data")


@pytest.fixture(scope="module")
def unbroken(data):
    """The folder of a run from step 0 to the end, after one that was killed at its first save."""
    folder = data / "models" / "unbroken"
    with logs.RunLog(folder, resume_step=0, last_step=STEPS, name="pretraining") as log:
        log.eval(0, {"disc_auc": 0.9})
        log.train(2, {"loss": 9.0})
    save_pair(folder, 4, {"a": np.zeros(3, np.float32)}, {})
    (folder / "model.ckpt-4.json").unlink()  # as an earlier version, killed before it was written
    assert runs.train(data, "unbroken") == 0
    return folder


@pytest.fixture
def data_copy(data, tmp_path):
    """A data folder of the test's own, to spoil."""
    return shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("models"))


def never_trains(*args):
    raise AssertionError("the first step was made")


def test_the_folder_holds_what_travels_with_the_model(data, unbroken):
    names = {path.name for path in unbroken.iterdir()}
    assert names == {
        ".lock",
        "hparams.json",
        "vocab.txt",
        TRAIN_LOG,
        EVAL_LOG,
        "corrupted.json",
        "pretraining",
        *(f"model.ckpt-{step}.safetensors" for step in (4, 8, 12)),
    }
    assert (unbroken / "vocab.txt").read_text() == (data / "vocab.txt").read_text()
    hparams = json.loads((unbroken / "hparams.json").read_text())
    assert (hparams["learning_rate"], hparams["strip_accents"]) == (1e-3, True)
    charts = {path.name for path in (unbroken / "pretraining").iterdir() if path.is_dir()}
    assert charts == {"train", "eval", "unigram"}
    corrupted = json.loads((unbroken / "corrupted.json").read_text())
    assert (corrupted["step"], len(corrupted["examples"])) == (12, 4)


def test_the_logs_hold_every_interval_and_every_evaluation(unbroken):
    entries = runs.entries(unbroken / TRAIN_LOG)
    assert [entry["step"] for entry in entries] == [2, 4, 6, 8, 10, 12]
    assert set(entries[0]) == {
        "step",
        "loss",
        "masked_lm_loss",
        "disc_loss",
        "disc_auc",
        "learning_rate",
        "grad_norm",
        *set(THROUGHPUT) - {"share_of_peak"},  # a CPU's is not measured
    }
    assert entries[0]["masked_lm_loss"] == pytest.approx(np.log(runs.VOCAB), rel=0.1)
    # The rate of step 1 (warm-up of 2 of 12 steps) is the last that the first line covers.
    assert entries[0]["learning_rate"] == pytest.approx(1e-3 * (11 / 12) * 0.5)
    evaluations = runs.entries(unbroken / EVAL_LOG)
    assert [entry["step"] for entry in evaluations] == [0, 4, 8, 12]
    assert set(METRICS) < set(evaluations[0])


def test_ctrl_c_saves_and_the_same_command_ends_like_the_unbroken_run(data, unbroken, monkeypatch):
    """SIGTERM is in tests/test_run_pretraining.py."""
    monkeypatch.setattr(loop_module, "POLL_SECONDS", 0.001)
    folder = data / "models" / "interrupted"

    def interrupt():
        path = folder / TRAIN_LOG
        while not path.exists() or not path.read_text():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert runs.train(data, "interrupted", do_eval=True) == 130
    thread.join()
    step = checkpoints.read(folder).step
    assert 2 <= step < STEPS
    assert not (folder / "results").exists()  # it stopped, instead of going on to evaluate
    assert runs.train(data, "interrupted") == 0
    assert differences(str(folder), str(unbroken)) == []


def test_a_pair_of_files_of_an_earlier_version_is_gone_on_from_to_the_bit(data, unbroken):
    folder = shutil.copytree(unbroken, data / "models" / "from_pair")
    for step in (4, 12):
        (folder / f"model.ckpt-{step}.safetensors").unlink()
    as_pair(folder)
    assert (folder / "model.ckpt-8.json").exists()
    assert runs.train(data, "from_pair") == 0
    assert differences(str(folder), str(unbroken)) == []


def test_a_run_that_began_before_orders_were_computed_goes_on_in_its_own(data, tmp_path):
    """Its hparams.json knows no record_order."""
    assert runs.train(data, "drawn", record_order="permutation") == 0
    folder = shutil.copytree(data / "models" / "drawn", data / "models" / "old")
    for step in (8, 12):
        (folder / f"model.ckpt-{step}.safetensors").unlink()
    hparams = json.loads((folder / "hparams.json").read_text())
    assert hparams.pop("record_order") == "permutation"
    (folder / "hparams.json").write_text(json.dumps(hparams))
    with pytest.raises(ValueError, match="'record_order' was 'permutation'"):
        runs.train(data, "old", record_order="index_shuffle")
    assert runs.train(data, "old") == 0
    assert differences(str(folder), str(data / "models" / "drawn")) == []
    assert json.loads((folder / "hparams.json").read_text())["record_order"] == "permutation"


@pytest.mark.parametrize(("do_eval", "status"), [(False, 0), (True, 143)])
def test_sigterm_in_the_last_step_counts_where_something_is_left(
    data, unbroken, monkeypatch, do_eval, status
):
    folder = shutil.copytree(unbroken, data / "models" / f"last{status}")
    run = loop_module.Loop.run

    def stopped(loop, first, count):
        loop.request_stop(signal.SIGTERM)
        return run(loop, first, 1)

    monkeypatch.setattr(loop_module.Loop, "run", stopped)
    changes = {"num_train_steps": STEPS + 1, "do_eval": do_eval}
    assert runs.train(data, folder.name, **changes) == status
    assert checkpoints.read(folder).step == STEPS + 1


def test_a_finished_run_takes_more_steps_and_refuses_other_hparams(data, unbroken, caplog):
    folder = shutil.copytree(unbroken, data / "models" / "longer")
    caplog.set_level("INFO", logger="absl")
    assert runs.train(data, "longer") == 0
    assert f"Step {STEPS} of {STEPS} is reached: nothing to train" in caplog.text
    assert differences(str(folder), str(unbroken)) == []
    with pytest.raises(ValueError, match="'learning_rate' was 0.001 and is now 0.002") as refused:
        runs.train(data, "longer", learning_rate=2e-3, num_train_steps=14)
    assert "python3 configure_pretraining.py shows which may change" in str(refused.value)
    assert runs.train(data, "longer", num_train_steps=14, log_every_steps=1) == 0
    assert [entry["step"] for entry in runs.entries(folder / TRAIN_LOG)][-3:] == [12, 13, 14]
    assert checkpoints.read(folder).step == 14


def test_evaluation_alone_takes_the_models_hparams_and_writes_all_official_metrics(data, unbroken):
    folder = shutil.copytree(unbroken, data / "models" / "evaluated")
    config = PretrainingConfig("evaluated", str(data), do_train=False, do_eval=True)
    assert runs.run_pretraining(config) == 0
    lines = (folder / "results" / "unsup_results.txt").read_text().splitlines()
    written = {name: float(value) for name, value in (line.split(" = ") for line in lines)}
    assert set(METRICS) < set(written)
    assert written["global_step"] == STEPS
    last = runs.entries(folder / EVAL_LOG)[-1]
    assert {name: written[name] for name in METRICS} == {name: last[name] for name in METRICS}
    assert json.loads((folder / "results" / "unsup_results.json").read_text()) == written


def test_init_checkpoint_gives_weights_alone_and_warns_when_they_get_worse(data, unbroken, caplog):
    caplog.set_level("INFO", logger="absl")
    hparams = {name: value for name, value in runs.TINY.items() if name != "generator_hidden_size"}
    config = PretrainingConfig(
        "tuned",
        str(data),
        **hparams
        | {
            "num_train_steps": 4,
            "num_warmup_steps": 0,
            "learning_rate": 0.5,
            "init_checkpoint": str(unbroken),
        },
    )
    assert runs.run_pretraining(config) == 0
    assert "generator_hidden_size 0.25 -> 0.5, as its shapes say" in caplog.text
    assert "weights only, step 0" in caplog.text
    assert "matched: electra/embeddings/word_embeddings" in caplog.text
    assert "missing in the checkpoint" not in caplog.text
    assert "is worse than the" in caplog.text
    folder = data / "models" / "tuned"
    report = (folder / "init_checkpoint.txt").read_text()
    assert report.count("  matched: ") > caplog.text.count("  matched: ") == 4  # "and ... more"
    first, last = (runs.entries(path / EVAL_LOG) for path in (folder, unbroken))
    assert first[0] == last[-1] | {"step": 0}  # the same weights
    assert checkpoints.read(folder).step == 4


def official_run(tmp_path, folder, **hparams):
    """Puts an official checkpoint into models/official and trains from there for two steps."""
    about = config_of(folder)
    tokens = (folder.parent / "vocab.txt").read_text().split()
    own = about["hparams"]
    length = next(load_batches(folder))[0]["input_ids"].shape[1]
    data = runs.make_data(tmp_path / "data", tokens=tokens, length=length, kinds=["pretrain_data"])
    ignored = shutil.ignore_patterns("*.npz", "*.json")
    model_dir = shutil.copytree(folder, data / "models" / "official", ignore=ignored)
    step = checkpoints.read(model_dir).step
    assert step == about["global_step"]
    config = PretrainingConfig(
        "official",
        str(data),
        **own
        | {
            "num_train_steps": step + 2,
            "train_batch_size": 4,
            "learning_rate": 1e-30,
            "num_warmup_steps": 0,
            "log_every_steps": 1,
        }
        | hparams,
    )
    assert runs.run_pretraining(config) == 0
    return checkpoints.read(folder), checkpoints.read(model_dir)


@needs_fixtures
def test_official_checkpoints_go_on_at_their_step_with_their_moments(tmp_path, caplog):
    with_moments = [f for f in FOLDERS if any(n.endswith("/adam_m") for n in shapes_of(f))]
    if not with_moments:
        pytest.skip("no checkpoint with moments")
    before, after = official_run(tmp_path, with_moments[0])
    assert "hold no moments" not in caplog.text
    assert (after.kind, after.step) == ("safetensors", before.step + 2)
    for name in (name for name in before.tensors if name.endswith("/adam_v")):
        # Two updates decay what was there; fresh moments would start at 0.
        assert (after.tensors[name] >= 0.999**2 * before.tensors[name] * (1 - 1e-5)).all(), name


@needs_fixtures
def test_official_checkpoints_without_moments_go_on_with_a_warning(tmp_path, caplog):
    without = [f for f in FOLDERS if not any(n.endswith("/adam_m") for n in shapes_of(f))]
    if not without:
        pytest.skip("no checkpoint without moments")
    without.sort(key=lambda folder: len(shapes_of(folder)))
    before, after = official_run(tmp_path, without[0])
    assert "holds no moments: they start at 0" in caplog.text
    assert after.step == before.step + 2


def shapes_of(folder):
    return checkpoints.read(folder).tensors.shapes()


@pytest.mark.parametrize("xla", [False, True], ids=["islands", "whole step"])
def test_a_loss_that_is_not_finite_stops_and_names_step_rate_and_checkpoint(data, unbroken, xla):
    name = f"diverged_{xla}"
    folder = shutil.copytree(unbroken, data / "models" / name)
    hparams = json.loads((folder / "hparams.json").read_text())
    diverging = {"learning_rate": 1e30, "xla": xla}
    (folder / "hparams.json").write_text(json.dumps(hparams | diverging))
    with pytest.raises(NonFiniteLossError) as stopped:
        runs.train(data, name, num_train_steps=20, eval_every_steps=0, **diverging)
    expected = ("Step 14: ", "not finite at learning rate ", "e+29", str(folder / "model.ckpt-12"))
    for part in expected:
        assert part in str(stopped.value)
    assert checkpoints.read(folder).step == STEPS


@pytest.mark.parametrize("newest", [True, False], ids=["newest", "the one before"])
def test_a_damaged_newest_checkpoint_is_named(data, unbroken, newest):
    name = f"damaged_{newest}"
    folder = shutil.copytree(unbroken, data / "models" / name)
    path = folder / f"model.ckpt-{12 if newest else 8}.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    if newest:
        with pytest.raises(ValueError, match=rf"{path} is damaged.*Remove that checkpoint's files"):
            runs.train(data, name)
    else:
        assert runs.train(data, name) == 0


def test_records_that_are_missing_are_said_before_anything_is_built(data_copy, monkeypatch):
    monkeypatch.setattr(loop_module.Loop, "run", never_trains)
    runs.records_file(data_copy).unlink()
    with pytest.raises(FileNotFoundError, match=r"No training records match .*pretrain_data"):
        runs.train(data_copy)
    assert not (data_copy / "models").exists()


def test_records_that_are_cut_off_are_said_before_the_first_step(data_copy, monkeypatch):
    monkeypatch.setattr(loop_module.Loop, "run", never_trains)
    path = runs.records_file(data_copy)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"{path} is cut off in record 59"):
        runs.train(data_copy)


def test_ids_beyond_the_vocabulary_are_said_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(loop_module.Loop, "run", never_trains)
    data = runs.make_data(tmp_path / "data", largest_id=runs.VOCAB)
    with pytest.raises(ValueError, match=f"token id {runs.VOCAB} is not in the vocabulary of 40"):
        runs.train(data)


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"max_seq_length": 32}, "max_seq_length 16, the model has 32"),
        ({"do_lower_case": False}, "do_lower_case True, the model has False"),
        ({"train_batch_size": 9, "strategy": "mirrored"}, "train_batch_size 9 must be a multiple"),
        ({"require_gpu": True}, "finds no GPU"),
        ({"init_checkpoint": "nowhere"}, "No checkpoint at nowhere"),
        ({"vocab_file": "nowhere/vocab.txt"}, "nowhere/vocab.txt"),
        ({"vocab_size": 39}, "holds 40 tokens, more than the word table"),
        ({"do_train": False, "do_eval": True}, "holds no checkpoint to evaluate"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(data, monkeypatch, hparams, message):
    monkeypatch.setattr(loop_module.Loop, "run", never_trains)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        runs.train(data, "refused", **hparams)


def test_two_runs_in_one_folder_are_refused_but_not_to_look_at_it(data, monkeypatch):
    monkeypatch.setattr(loop_module.Loop, "run", never_trains)
    with locked_folder(data / "models" / "busy", True):
        with pytest.raises(ValueError, match="Another process is at work in .*busy. Wait"):
            runs.train(data, "busy")
        with pytest.raises(FileNotFoundError, match="holds no checkpoint to evaluate"):
            runs.train(data, "busy", do_train=False, do_eval=True)


def test_another_vocabulary_than_the_records_or_the_models_is_refused(data, unbroken, tmp_path):
    other = tmp_path / "vocab.txt"
    other.write_text((data / "vocab.txt").read_text().replace("w9", "other"))
    with pytest.raises(ValueError, match="vocab_sha256"):
        runs.train(data, "refused", vocab_file=str(other))
    with pytest.raises(ValueError, match="not the vocabulary this model was trained with"):
        runs.train(data, "unbroken", vocab_file=str(other))


def test_a_vocabulary_that_changed_since_the_last_step_is_noticed(data_copy, unbroken, monkeypatch):
    (data_copy / "pretrain_tfrecords" / MANIFEST_NAME).unlink()  # which would notice too
    folder = shutil.copytree(unbroken, data_copy / "models" / "m")
    (data_copy / "vocab.txt").unlink()
    (folder / "vocab.txt").write_text("\n".join(runs.TOKENS).replace("w9", "other"))
    monkeypatch.setattr(loop_module.Loop, "run", never_trains)
    with pytest.raises(ValueError, match="is not the vocabulary that .*ckpt-12.safetensors was"):
        runs.train(data_copy)


def test_records_without_a_manifest_train_with_a_warning(data_copy, caplog):
    (data_copy / "pretrain_tfrecords" / MANIFEST_NAME).unlink()
    assert runs.train(data_copy, num_train_steps=1, eval_every_steps=0) == 0
    assert "No manifest in " in caplog.text


def test_the_log_begins_with_sizes_and_says_what_is_wasted_or_too_little(data, caplog):
    caplog.set_level("INFO", logger="absl")
    hparams = {k: v for k, v in runs.TINY.items() if k not in ("embedding_size", "max_seq_length")}
    hparams |= {"model_size": "base", "vocab_size": 48, "num_train_steps": 1}
    assert runs.run_pretraining(PretrainingConfig("sizes", str(data), **hparams)) == 0
    tensors = checkpoints.read(data / "models" / "sizes").tensors
    sizes = {n: tensors[n].size for n in tensors if not n.endswith(checkpoints.SLOTS)}
    own = sum(size for n, size in sizes.items() if n.startswith(("electra/", "discriminator_")))
    total = sum(sizes.values())
    assert (
        f"Parameters: discriminator {own:,}, generator {total - own:,} of its own, together "
        f"{total:,}. embedding_size follows hidden_size: 16, base has 768"
    ) in caplog.messages
    assert "8 of the 48 rows of the word table stay unused" in caplog.text
    assert 'A new run may have "vocab_size": 40' in caplog.text
    assert "The held-out text has 10 examples, fewer than 1,000: " in caplog.text
    assert "with an --eval_fraction 100 times as large" in caplog.text


def test_a_data_folder_of_any_name_is_found(data, tmp_path):
    home = shutil.copytree(data, tmp_path / "a,b [1]", ignore=shutil.ignore_patterns("models"))
    config = PretrainingConfig("m", str(home))
    assert find_files(config.pretrain_tfrecords) == [str(runs.records_file(home))]
    assert find_files(config.eval_tfrecords) == [str(runs.records_file(home, "eval_data"))]


def test_examples_without_tokens_are_said_before_the_first_step(data_copy, monkeypatch):
    monkeypatch.setattr(loop_module.Loop, "run", never_trains)
    path = runs.records_file(data_copy)
    runs.write_records(path, np.zeros((60, runs.LENGTH), np.int32), np.zeros(60, np.int32))
    with pytest.raises(ValueError, match=rf"{path}, record 0 .*input_mask is 0 throughout"):
        runs.train(data_copy)


def test_held_out_records_that_were_asked_for_must_be_there(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="No held-out records match .*nothing"):
        runs.train(data, "refused", eval_tfrecords=str(tmp_path / "nothing*"))


def test_held_out_records_of_several_patterns_are_evaluated(data):
    pattern = str(runs.records_file(data, "eval_data"))
    assert runs.train(data, "two_patterns", num_train_steps=1, eval_tfrecords=f"{pattern},x*") == 0
    evaluations = runs.entries(data / "models" / "two_patterns" / EVAL_LOG)
    assert [entry["step"] for entry in evaluations] == [0, 1]


def test_without_held_out_records_the_training_records_are_evaluated(data_copy, unbroken, caplog):
    runs.records_file(data_copy, "eval_data").unlink()
    folder = shutil.copytree(unbroken, data_copy / "models" / "m")
    assert runs.train(data_copy, do_train=False, do_eval=True) == 0
    assert "No held-out records match" in caplog.text
    assert (folder / "results" / "unsup_results.txt").exists()


def test_without_held_out_records_nothing_is_evaluated_while_training(data_copy):
    runs.records_file(data_copy, "eval_data").unlink()
    assert runs.train(data_copy, num_train_steps=2, do_eval=True) == 0
    folder = data_copy / "models" / "m"
    assert runs.entries(folder / EVAL_LOG) == []
    assert (folder / "results" / "unsup_results.txt").exists()


def test_recomputed_layers_train_as_kept_ones_do(data):
    """Dropout included, in two parts of a batch on each of two devices."""
    sizes = runs.TINY["model_hparam_overrides"] | {"num_hidden_layers": 2}
    hparams = {"model_hparam_overrides": sizes, "num_train_steps": 4, "strategy": "mirrored"}
    hparams |= {"gradient_accumulation_steps": 2, "learning_rate": 0.01}
    losses = []
    for recomputes in (False, True):
        name = f"recomputes_{recomputes}"
        assert runs.train(data, name, recompute_layers=recomputes, **hparams) == 0
        losses.append(
            [row["loss"] for row in runs.entries(data / f"models/{name}/train_log.jsonl")]
        )
    np.testing.assert_allclose(*losses, rtol=1e-5)
