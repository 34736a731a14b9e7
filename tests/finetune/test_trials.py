"""Trials: what is read of their records, and that a record names no folder."""

import json
import types

import numpy as np
import pytest

from electra.finetune import results, trials
from electra.finetune.tasks import get_task
from electra.finetune.trials import TrialResult
from electra.saving import checkpoints
from electra.train.loop import Steps

RECORD = {"trial": "1", "seed": 0, "collapsed": "", "scores": {"cola": {"mcc": 50.0, "loss": 0.5}}}
RUN = {"steps": 20, "first_loss": 0.6, "last_loss": 0.7}


@pytest.fixture
def run(tmp_path):
    """A run of two trials whose models are there, and of a model beside them."""
    config = types.SimpleNamespace(
        model_dir=str(tmp_path / "models" / "cola_model"),
        seed=0,
        num_trials=2,
        model_name="m",
        results_txt=str(tmp_path / "results" / "cola_results.txt"),
        task_names=["cola"],
        keep_all_models=False,
    )
    for folder in ("models/cola_model_1", "models/cola_model_2", "victim"):
        checkpoints.save(str(tmp_path / folder), 1, {"a": np.zeros(1, np.float32)}, {})
    dev = types.SimpleNamespace(name="cola", task=get_task("cola"))
    return types.SimpleNamespace(config=config, data=types.SimpleNamespace(dev=[dev]))


def result(**changes):
    return TrialResult(**{**RECORD, **changes})


def write_record(trial, record):
    with open(f"{trial.folder}/scores.json", "w") as file:
        json.dump(record, file)


def with_model(tmp_path):
    return sorted(path.parent.name for path in tmp_path.rglob("model.ckpt-*.safetensors"))


def test_a_record_names_no_folder(run, tmp_path):
    first, second = trials.planned(run.config)
    write_record(first, {**RECORD, "trial": "1/../../../victim"})
    with pytest.raises(ValueError, match="_1/scores.json is of trial '1/../../../victim', not 1"):
        trials.read_result(first)
    other = result(trial="1/../../../victim", scores={"cola": {"mcc": 10.0}})
    devs = run.data.dev
    results.write_results(run.config, devs, [result(trial=second.name), other], [], None)
    assert with_model(tmp_path) == ["cola_model_1", "cola_model_2", "victim"]
    results.write_results(run.config, devs, [result(), result(trial=second.name)], [], None)
    assert with_model(tmp_path) == ["cola_model_1", "victim"]


def test_a_result_is_read_as_it_was_written(run):
    trial = trials.planned(run.config)[0]
    assert trials.read_result(trial) is None
    for changes in ({}, RUN, {"outputs_due": True, "test_outputs": {"folder": "a", "files": {}}}):
        trials.write_result(trial, result(**changes))
        with open(f"{trial.folder}/scores.json") as file:
            assert json.load(file) == RECORD | changes
        assert trials.read_result(trial) == result(**changes)
    trials.write_result(trial, result(stop_signal=15))
    assert trials.read_result(trial) == result()


@pytest.mark.parametrize(
    "change",
    [
        {"trial": None},
        {"trial": ["1"]},
        {"collapsed": 0},
        {"scores": []},
        {"scores": None},
        {"scores": {"cola": [1.0]}},
        {"scores": {"cola": {"mcc": "high"}}},
        {"scores": {"cola": {"mcc": None}}},
        {"last_loss": "low"},
        {"steps": []},
    ],
    ids=str,
)
def test_a_record_of_another_shape_is_refused(run, change):
    trial = trials.planned(run.config)[0]
    write_record(trial, RECORD | RUN | change)
    with pytest.raises(ValueError, match="scores.json is damaged: .* Remove it to score the trial"):
        trials.read_result(trial)


def test_a_record_without_the_main_score_is_not_scored(run):
    devs = run.data.dev
    assert result().is_scored(devs)
    assert result().is_scored([])
    for scores in ({}, {"cola": {"loss": 0.5}}, {"rte": {"accuracy": 50.0}}):
        assert not result(scores=scores).is_scored(devs)


def test_trials_that_were_scored_on_fewer_files_are_summed_up():
    more = result(scores={**RECORD["scores"], "rte": {"accuracy": 50.0}})
    found = results.summary([more, result()])
    assert [found[name]["mcc" if name == "cola" else "accuracy"]["trials"] for name in found] == [
        2,
        1,
    ]


@pytest.mark.parametrize(
    "written",
    [
        {"summary": {}},
        {"trials": {}},
        {"trials": [{"scores": 5}]},
        {"trials": [], "ensemble": "good"},
    ],
    ids=str,
)
def test_results_of_another_shape_are_refused(run, tmp_path, written):
    path = tmp_path / "results" / "cola_results.json"
    path.parent.mkdir()
    path.write_text(json.dumps(written))
    for read in (results.best_kept, lambda config: results.known_ensemble(config, [])):
        with pytest.raises(ValueError, match="cola_results.json is damaged: .* Remove it"):
            read(run.config)


def test_all_that_collapsed_is_told():
    loss = "loss 0.7 at the end, 0.6 at the start"
    assert result(**RUN).why_collapsed([]) == loss
    assert result(**RUN).why_collapsed(["afqmc", "tnews"]) == (
        f"{loss}; afqmc: one label for everything; tnews: one label for everything"
    )
    assert result(**RUN | {"last_loss": 0.5}).why_collapsed([]) == ""
    assert result(**RUN | {"steps": 1}).why_collapsed([]) == ""  # one step has no curve
    assert result().why_collapsed(["cola"]) == "cola: one label for everything"  # not trained


def test_losses_are_logged_as_means_of_what_they_sum():
    """Of tagging's steps 0 to 4 the losses of 2, 3, 4, 5 and 6 words."""
    interval = trials.TrialInterval(5, ["chunk"], lambda step: np.array([step + 2.0]))
    values = dict.fromkeys(("loss", "examples", "tokens", "learning_rate", "grad_norm"), [1.0] * 5)
    values["loss"] = [4.0, 9.0, 4.0, 5.0, 12.0]
    steps = Steps(0, {name: np.array(rows, np.float32) for name, rows in values.items()}, 1.0)
    interval.add(steps)
    assert interval.numbers() == {"loss": 34 / 20}
    assert interval.losses() == {"first_loss": 2.0, "last_loss": 2.0}
    dumped = types.SimpleNamespace(
        state={"interval": interval.dump(), "curve": interval.tenths},
        numbers=lambda value, shape=None: np.array(value, np.float64),
    )
    again = trials.TrialInterval(5, ["chunk"], None)
    again.load(dumped)
    assert (again.numbers(), again.losses()) == (interval.numbers(), interval.losses())


def test_a_log_line_that_an_earlier_version_began_is_ended():
    interval = trials.TrialInterval(5, ["chunk"], lambda step: np.array([4.0]))
    sums = {"loss": 6.0, "examples": 2.0, "tokens": 9.0}
    numbers = np.array
    interval.load(
        types.SimpleNamespace(state={"interval": sums}, numbers=lambda v, _=None: numbers(v))
    )
    interval.add(Steps(1, {"loss": np.array([12.0]), "examples": np.array([2.0])}, 1.0))
    assert interval.numbers() == {"loss": 18 / 6}


def test_each_of_several_tasks_has_its_loss():
    interval = trials.TrialInterval(9, ["a", "b", "c"], lambda step: np.array([2.0, 3.0, 0.0]))
    values = {"loss": [10.0], "task_losses": [[4.0, 6.0, 0.0]], "examples": [5.0]}
    interval.add(Steps(0, {name: np.array(rows, np.float32) for name, rows in values.items()}, 1.0))
    assert interval.numbers() == {"loss": 2.0, "a/loss": 2.0, "b/loss": 2.0}
    stopped_early = interval.losses()
    assert (stopped_early["first_loss"], stopped_early["last_loss"]) == (2.0, None)
