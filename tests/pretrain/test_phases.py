"""Phases: two lengths in one run, the border between them, what a run that goes on may change."""

import json
import re
import shutil
import signal

import numpy as np
import pytest

from electra.pretrain.assembly import short_of_warmup
from electra.pretrain.config import PretrainingConfig
from electra.pretrain.phases import phase_at, phases_of, resumed
from electra.saving import checkpoints
from electra.serve.opening import open_model
from electra.train import loop as loop_module
from electra.train.compare import differences
from electra.train.lines import EVAL_LOG, TRAIN_LOG
from tests.pretrain import runs
from tests.shared import ROOT

BORDER, LAST, LONG = 6, 10, 24


def config(*phases, **hparams):
    return PretrainingConfig("M", "D", phases=list(phases), **hparams)


# ---- the config ----


def test_a_warm_up_longer_than_its_phase_is_told():
    assert short_of_warmup(config({"steps": 900}, {"steps": 201}, num_warmup_steps=200)) == ""
    long = short_of_warmup(config({"steps": 900}, {"steps": 200}, num_warmup_steps=200))
    assert long.startswith("The warm-up of 200 steps is no shorter than the run of 200: the rate")


def test_a_phase_is_a_config_of_its_own_with_its_place_in_the_run():
    long = {"steps": 10, "max_seq_length": 512, "train_batch_size": 4, "eval_tfrecords": "E"}
    whole = config({"steps": 90}, long, {"steps": 5, "pretrain_tfrecords": "P"}, seed=3)
    short, long, last = phases_of(whole)
    places = [(p.number, p.first_step, p.last_step) for p in (short, long, last)]
    assert places == [(1, 0, 90), (2, 90, 100), (3, 100, 105)]
    sizes = [(p.config.max_seq_length, p.config.max_predictions_per_seq) for p in (short, long)]
    assert sizes == [(128, 19), (512, 79)]
    assert (long.config.train_batch_size, long.config.num_train_steps) == (4, 10)
    assert (long.config.eval_tfrecords, long.config.seed) == ("E", 3)
    assert short.config.eval_tfrecords == "D/pretrain_tfrecords/eval_data.tfrecord*"
    # The second goes on in the records of the first, the third has its own.
    assert [p.first_example for p in (short, long, last)] == [0, 90 * 128, 0]
    reached = [phase_at([short, long, last], step).number for step in (0, 90, 91, 105, 200)]
    assert reached == [1, 1, 2, 3, 3]


def test_a_run_without_phases_is_one():
    whole = PretrainingConfig("M", "D", num_train_steps=7)
    (only,) = phases_of(whole)
    assert only.config is whole
    assert (only.first_step, only.last_step, only.about) == (0, 7, {})


def test_the_whole_has_the_sum_the_longest_and_else_what_the_last_phase_has():
    whole = config({"steps": 9, "max_seq_length": 256}, {"steps": 1, "mask_prob": 0.25})
    assert (whole.num_train_steps, whole.max_seq_length, whole.mask_prob) == (10, 256, 0.25)
    recorded = json.loads(json.dumps(whole.to_json()))
    del recorded["model_name"]
    again = PretrainingConfig("M", "D", **recorded)
    assert again.to_json() == whole.to_json()
    assert [phase.config.to_json() for phase in phases_of(again)] == [
        phase.config.to_json() for phase in phases_of(whole)
    ]


def test_the_example_of_the_docs_is_a_run_of_two_lengths():
    text = (ROOT / "docs" / "pretraining.md").read_text()
    (example,) = re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)
    short, long = phases_of(PretrainingConfig("two_lengths", "data", **json.loads(example)))
    assert (short.last_step, long.last_step) == (900_000, 1_000_000)
    assert (short.config.max_seq_length, long.config.max_seq_length) == (128, 512)


def test_the_last_phase_takes_what_is_left_of_num_train_steps():
    whole = config({"steps": 9}, {"max_seq_length": 512}, num_train_steps=12)
    assert [phase["steps"] for phase in whole.phases] == [9, 3]


@pytest.mark.parametrize(
    ("phases", "hparams", "message"),
    [
        (
            [{"steps": 1, "seed": 2}],
            {},
            "Phase 1 sets 'seed', which .* A phase may set: steps",
        ),
        ([{"num_train_steps": 2}], {}, "Phase 1 sets 'num_train_steps'"),
        ([{"steps": 1}, 7], {}, "Phase 2 must be a dict. Received: 7"),
        ([{"mask_prob": 0.1}, {"steps": 1}], {}, "Phase 1 lacks 'steps'"),
        (
            [{"steps": 9}, {}],
            {"num_train_steps": 9},
            "Phase 2 lacks .*steps 9 leaves some",
        ),
        ([{"steps": 0}], {}, "'phase 1: steps' must be at least 1"),
        ([{"steps": 1, "mask_prob": 2}], {}, "'phase 1: mask_prob' must be above 0 and below 1"),
        ([{"steps": 1, "max_seq_length": 513}], {}, "513 is more than the position table holds"),
        ([{"steps": 9, "lr_restart_step": 9}, {"steps": 9}], {}, "Phase 1: lr_restart_step 9 must"),
        (
            [{"steps": 9}, {"steps": 9, "gradient_accumulation_steps": 3}],
            {},
            "Phase 2: train_batch_size 128 is not a multiple",
        ),
        ([{"steps": 9}, {"steps": 2}], {"num_train_steps": 12}, r"is 12, .* 9 \+ 2 = 11. Leave"),
        ({"steps": 1}, {}, "'phases' must be a list"),
        ([{"steps": 1}] * 1001, {}, "phases holds 1001. Expected: at most 1000"),
    ],
)
def test_impossible_phases_are_refused(phases, hparams, message):
    with pytest.raises(ValueError, match=message):
        PretrainingConfig("M", "D", phases=phases, **hparams)


# ---- what a run that goes on may change ----

SHORT, LONGER = {"steps": 90, "max_seq_length": 64}, {"steps": 10, "learning_rate": 1e-4}


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        (95, [SHORT, LONGER], [SHORT, LONGER | {"steps": 30}]),  # the last is extended
        (100, [SHORT, LONGER], [SHORT, LONGER, {"steps": 5, "train_batch_size": 8}]),
        (90, [SHORT, LONGER], [SHORT, LONGER | {"learning_rate": 1e-5}]),  # it has not begun
        (50, [SHORT, LONGER], [SHORT | {"steps": 60}, LONGER]),
        (95, [SHORT, LONGER], [SHORT | {"eval_batch_size": 8}, LONGER]),
        (90, [SHORT], [SHORT, LONGER]),
        (40, [SHORT], [SHORT | {"steps": 40}, LONGER]),
    ],
)
def test_a_run_may_extend_its_last_phase_and_change_those_to_come(step, before, after):
    recorded = config(*before).to_json()
    assert resumed(config(*after), recorded, "D", step).phases == config(*after).phases


@pytest.mark.parametrize(
    ("step", "after", "message"),
    [
        (90, [SHORT | {"steps": 91}, LONGER], "phase 1: its steps were 90 and are now 91, with st"),
        (95, [SHORT | {"steps": 80}, LONGER], "phase 1: its steps were 90 and are now 80"),
        (40, [SHORT | {"steps": 30}, LONGER], "phase 1: its steps .* with step 40 reached"),
        (95, [SHORT | {"mask_prob": 0.2}, LONGER], "phase 1: hparam 'mask_prob' was 0.15 and is"),
        (95, [SHORT, LONGER | {"learning_rate": 1e-3}], "phase 2: hparam 'learning_rate' was 0.0"),
        (95, [SHORT], "the run has 2 phases, the command 1"),
        (50, [SHORT], "the run has 2 phases, the command 1"),
        (0, [SHORT | {"train_batch_size": 8}, LONGER], "phase 1: hparam 'train_batch_size' was"),
    ],
)
def test_what_has_begun_stays_as_it_was(step, after, message):
    recorded = config(SHORT, LONGER).to_json()
    with pytest.raises(ValueError, match=f"D holds a run with other hparams: .*{message}"):
        resumed(config(*after), recorded, "D", step)


def test_a_phase_follows_a_run_that_had_none():
    recorded = PretrainingConfig("M", "D", num_train_steps=90, max_seq_length=64).to_json()
    assert resumed(config(SHORT, LONGER), recorded, "D", 90).num_train_steps == 100
    with pytest.raises(ValueError, match="phase 1: hparam 'max_seq_length' was 64 and is now 128"):
        resumed(config({"steps": 90}, LONGER), recorded, "D", 90)


# ---- runs ----


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two builds of one vocabulary, of 16 and of 24 tokens."""
    home = tmp_path_factory.mktemp("phases") / "data"
    runs.make_data(home)
    runs.make_data(home / "long", length=LONG)
    return home


def hparams_of(data):
    long = {
        "steps": LAST - BORDER,
        "max_seq_length": LONG,
        "pretrain_tfrecords": str(data / "long/pretrain_tfrecords/pretrain_data*"),
        "eval_tfrecords": str(data / "long/pretrain_tfrecords/eval_data*"),
        "train_batch_size": 4,
        "eval_batch_size": 2,
        "learning_rate": 2e-3,
        "mask_prob": 0.25,
    }
    hparams = runs.TINY | {"phases": [{"steps": BORDER}, long]}
    del hparams["num_train_steps"]
    return hparams


def train(data, name, **changes):
    hparams = hparams_of(data) | changes
    return runs.run_pretraining(PretrainingConfig(name, str(data), **hparams))


@pytest.fixture(scope="module")
def unbroken(data):
    assert train(data, "unbroken", do_eval=True) == 0
    return data / "models" / "unbroken"


def killed_after(unbroken, name, step):
    """A copy of the run as a kill would have left it some steps after a checkpoint."""
    folder = shutil.copytree(unbroken, unbroken.parent / name)
    for path in folder.glob("model.ckpt-*"):
        if int(path.stem.split("-")[1]) > step:
            path.unlink()
    return folder


def test_lines_say_the_phase_and_the_border_is_logged_evaluated_and_saved(unbroken):
    lines = runs.entries(unbroken / TRAIN_LOG)
    assert [(line["step"], line["phase"]) for line in lines] == [
        *((2, 1), (4, 1), (6, 1), (8, 2), (10, 2))
    ]
    # Of the step before: one after the border, in a phase of 4 steps of which 2 are a warm-up.
    assert lines[3]["learning_rate"] == pytest.approx(2e-3 * (3 / 4) * 0.5)
    evaluations = runs.entries(unbroken / EVAL_LOG)
    assert [(line["step"], line["phase"]) for line in evaluations] == [
        *((0, 1), (4, 1), (6, 1), (8, 2), (10, 2))
    ]
    assert sorted(path.name for path in unbroken.glob("model.*")) == [
        f"model.ckpt-{step}.safetensors" for step in (10, 4, 6, 8)
    ]


def test_a_run_killed_at_the_border_needs_the_later_records_only(data, unbroken):
    folder = killed_after(unbroken, "killed_at_border", BORDER)
    short, long = hparams_of(data)["phases"]
    gone = {"pretrain_tfrecords": "gone/*", "eval_tfrecords": "gone/*"}
    assert train(data, folder.name, phases=[short | gone, long]) == 0
    assert differences(str(folder), str(unbroken)) == []


def test_a_run_killed_in_its_second_phase_equals_the_unbroken_one(data, unbroken):
    folder = killed_after(unbroken, "killed_behind", 8)
    assert train(data, folder.name) == 0
    assert differences(str(folder), str(unbroken)) == []


def test_sigterm_in_the_last_step_of_a_phase_stops_at_the_border(data, unbroken, monkeypatch):
    """Of a run that was killed in its first phase."""
    folder = killed_after(unbroken, "stopped", 4)
    run = loop_module.Loop.run

    def stopped(loop, first, count):
        if first + count == BORDER:
            loop.request_stop(signal.SIGTERM)
        return run(loop, first, count)

    monkeypatch.setattr(loop_module.Loop, "run", stopped)
    phases = [phase | {"iterations_per_loop": 1} for phase in hparams_of(data)["phases"]]
    assert train(data, folder.name, phases=phases) == 143
    assert checkpoints.read(folder).step == BORDER
    monkeypatch.undo()
    assert train(data, folder.name) == 0
    assert differences(str(folder), str(unbroken)) == []


def test_evaluation_alone_is_that_of_the_phase_that_was_reached(data, unbroken):
    at_the_end = json.loads((unbroken / "results" / "unsup_results.json").read_text())
    logged = {row["step"]: row for row in runs.entries(unbroken / EVAL_LOG)}
    assert at_the_end["disc_loss"] == logged[LAST]["disc_loss"]
    for step in (BORDER, LAST):
        folder = killed_after(unbroken, f"evaluated{step}", step)
        shutil.rmtree(folder / "results")
        alone = PretrainingConfig(folder.name, str(data), do_train=False, do_eval=True)
        assert runs.run_pretraining(alone) == 0
        found = json.loads((folder / "results" / "unsup_results.json").read_text())
        same = set(logged[step]) - {"phase", "step", "unigram_slot_loss"}
        assert {name: found[name] for name in same} == {name: logged[step][name] for name in same}


def test_a_loaded_model_reads_the_longest_phase(unbroken):
    opened = open_model(unbroken)
    assert (opened.config.max_seq_length, opened.config.mask_prob) == (LONG, 0.25)
    assert open_model(unbroken, hparams={"max_seq_length": 20}).config.max_seq_length == 20


def test_phases_that_differ_in_the_rate_alone_equal_two_runs_made_by_hand(data):
    """The first as long as the first phase, then gone on with, its schedule begun anew."""
    quiet = {"eval_every_steps": 0}
    assert runs.train(data, "by_hand", **quiet, num_train_steps=3) == 0
    assert runs.train(data, "by_hand", **quiet, num_train_steps=5, lr_restart_step=3) == 0
    phases = [{"steps": 3}, {"steps": 2}]
    assert runs.train(data, "by_phases", **quiet, num_train_steps=5, phases=phases) == 0
    one, two = (checkpoints.read(data / "models" / name) for name in ("by_hand", "by_phases"))
    assert one.step == two.step == 5
    assert set(one.tensors) == set(two.tensors)
    for name in one.tensors:
        np.testing.assert_array_equal(one.tensors[name], two.tensors[name], name)


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "mirrored"},
        {"xla": True},
        {"electric_objective": True},
        {"electra_objective": False},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_phases_go_with_every_placement_and_objective(data, changes):
    name = next(iter(changes))
    phases = [phase | {"steps": 1} for phase in hparams_of(data)["phases"]]
    hparams = changes | {"phases": phases, "log_every_steps": 1, "eval_every_steps": 0}
    assert train(data, name, **hparams) == 0
    lines = runs.entries(data / "models" / name / TRAIN_LOG)
    assert [(line["step"], line["phase"]) for line in lines] == [(1, 1), (2, 2)]
    assert all(np.isfinite(line["loss"]) for line in lines)


def never_trains(*args):
    raise AssertionError("the first step was made")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pretrain_tfrecords": "nowhere/*"}, "No training records match nowhere"),
        ({"eval_tfrecords": "nowhere/*"}, "No held-out records match nowhere"),
        ({"max_seq_length": 32}, "built with max_seq_length 24, the model has 32"),
        ({"train_batch_size": 3}, "train_batch_size 3 must be a multiple"),
    ],
)
def test_every_phase_is_checked_before_the_first_step(data, monkeypatch, change, message):
    monkeypatch.setattr(loop_module.Loop, "run", never_trains)
    phases = hparams_of(data)["phases"]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(data, "refused", phases=[phases[0], phases[1] | change], strategy="mirrored")
    assert not (data / "models" / "refused").exists()
