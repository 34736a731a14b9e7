"""Trials: what is read of their records, and that a record names no folder."""

import json
import types

import numpy as np
import pytest

from electra.finetune import trials
from electra.finetune.tasks import get_task
from electra.saving import checkpoints

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


def with_model(tmp_path):
    return sorted(path.parent.name for path in tmp_path.rglob("model.ckpt-*.safetensors"))


def test_a_record_names_no_folder(run, tmp_path):
    first, second = trials.planned(run.config)
    trials.write_record(first, {**RECORD, "trial": "1/../../../victim"})
    with pytest.raises(ValueError, match="_1/scores.json is of trial '1/../../../victim', not 1"):
        trials.read_record(first)
    other = {**RECORD, "trial": "1/../../../victim", "scores": {"cola": {"mcc": 10.0}}}
    trials.write_results(run, [{**RECORD, "trial": second.name}, other], [], None)
    assert with_model(tmp_path) == ["cola_model_1", "cola_model_2", "victim"]
    trials.write_results(run, [RECORD, {**RECORD, "trial": second.name}], [], None)
    assert with_model(tmp_path) == ["cola_model_1", "victim"]


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
    trials.write_record(trial, RECORD | RUN | change)
    with pytest.raises(ValueError, match="scores.json is damaged: .* Remove it to score the trial"):
        trials.read_record(trial)


def test_a_record_without_the_main_score_is_not_scored(run):
    devs = run.data.dev
    assert trials.is_scored(RECORD, devs)
    assert trials.is_scored(RECORD, [])
    assert not trials.is_scored(None, devs)
    for scores in ({}, {"cola": {"loss": 0.5}}, {"rte": {"accuracy": 50.0}}):
        assert not trials.is_scored({**RECORD, "scores": scores}, devs)


def test_trials_that_were_scored_on_fewer_files_are_summed_up():
    more = {**RECORD, "scores": {**RECORD["scores"], "rte": {"accuracy": 50.0}}}
    found = trials.summary([more, RECORD])
    assert [found[name]["mcc" if name == "cola" else "accuracy"]["trials"] for name in found] == [
        2,
        1,
    ]


@pytest.mark.parametrize(
    "results",
    [
        {"summary": {}},
        {"trials": {}},
        {"trials": [{"scores": 5}]},
        {"trials": [], "ensemble": "good"},
    ],
    ids=str,
)
def test_results_of_another_shape_are_refused(run, tmp_path, results):
    path = tmp_path / "results" / "cola_results.json"
    path.parent.mkdir()
    path.write_text(json.dumps(results))
    for read in (trials.best_kept, lambda config: trials.known_ensemble(config, [])):
        with pytest.raises(ValueError, match="cola_results.json is damaged: .* Remove it"):
            read(run.config)


def test_all_that_collapsed_is_told():
    loss = "loss 0.7 at the end, 0.6 at the start"
    assert trials.collapsed(RECORD | RUN, []) == loss
    assert trials.collapsed(RECORD | RUN, ["afqmc", "tnews"]) == (
        f"{loss}; afqmc: one label for everything; tnews: one label for everything"
    )
    assert trials.collapsed(RECORD | RUN | {"last_loss": 0.5}, []) == ""
    assert trials.collapsed(RECORD | RUN | {"steps": 1}, []) == ""  # one step has no curve
    assert trials.collapsed(RECORD, ["cola"]) == "cola: one label for everything"  # not trained
