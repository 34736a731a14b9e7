"""Scores while a trial trains: the curve, the best step's model, early stopping, going on."""

import os
import shutil

import numpy as np
import pytest

from electra.finetune import outputs
from electra.finetune.training import Training
from electra.saving import checkpoints
from electra.train import tensorboard
from electra.train.compare import differences
from electra.train.lines import EVAL_LOG, TRAIN_LOG, read_lines
from electra.train.loop import Loop
from tests.finetune.runs import config_of, finetune, make_data

# Scores that the tests give the evaluations at steps 4, 8, ... of 18.
RISE_AND_FALL = [40.0, 60.0, 55.0, 50.0, 45.0]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("evaluation") / "data")


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    for name in ("write_summary", "write_dev"):
        monkeypatch.setattr(outputs, name, lambda *args: None)


def run(data, folder, **hparams):
    """Runs a trial of 18 steps. Returns (its folder, its record; None if it was stopped)."""
    places = {"model_dir": f"{folder}/model", "results_txt": f"{folder}/results.txt"}
    _, results = finetune(data, **places | {"eval_every_steps": 4} | hparams)
    return f"{folder}/model_1", results and results["trials"][0]


def shape_scores(monkeypatch, scores=RISE_AND_FALL):
    """Makes the main score of each evaluation a given one."""
    monkeypatch.setattr(
        "electra.finetune.training.mean_score", lambda *_: scores[shape_scores.step // 4 - 1]
    )
    evaluate = Training._evaluate

    def at(training, log, step):
        shape_scores.step = min(step + 3, 20) // 4 * 4
        return evaluate(training, log, step)

    monkeypatch.setattr(Training, "_evaluate", at)


def weights(folder):
    return dict(checkpoints.read(folder).tensors.items())


def test_dev_scores_are_logged_and_change_nothing(data, tmp_path):
    without, plain = run(data, tmp_path / "plain", eval_every_steps=None)
    folder, record = run(data, tmp_path / "evaluated", eval_every_steps="epoch")
    assert not read_lines(os.path.join(without, EVAL_LOG))
    rows = read_lines(os.path.join(folder, EVAL_LOG))
    assert [row["step"] for row in rows] == [6, 12, 18]
    assert set(rows[0]) == {"step", "cola/mcc", "cola/loss", "score", "baseline"}
    assert rows[-1]["score"] == rows[-1]["cola/mcc"] == record["scores"]["cola"]["mcc"]
    assert record["scores"] == plain["scores"]
    assert "best_step" not in record
    for name, value in weights(without).items():
        np.testing.assert_array_equal(value, weights(folder)[name])


def charts(folder):
    """Returns dict tag -> the runs of a trial's folder that are drawn under it."""
    found = {}
    for path in tensorboard.event_files(folder):
        for event in tensorboard.read_events(path)[0]:
            for value in event.summary.value:
                run_name = os.path.relpath(os.path.dirname(path), folder)
                found.setdefault(value.tag, set()).add(run_name)
    return found


def test_a_short_trial_is_a_curve_and_its_losses_and_scores_are_in_one_chart(data, tmp_path):
    folder, _ = run(data, tmp_path, log_every_steps=None, num_train_epochs=1)
    rows = read_lines(os.path.join(folder, TRAIN_LOG))
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    of_tag = charts(folder)
    assert of_tag["cola/loss"] == {"train", "eval"}
    assert of_tag["metrics/score"] == {"eval", "baseline"}
    assert of_tag["cola/mcc"] == {"eval"}
    assert of_tag["training/learning_rate"] == {"train"}


def test_several_tasks_are_judged_by_their_mean(data, tmp_path):
    """On several replicas too."""
    tasks = {"task_names": ["cola", "chunk"], "num_train_epochs": 1, "strategy": "mirrored"}
    folder, _ = run(data, tmp_path, **tasks)
    rows = read_lines(os.path.join(folder, EVAL_LOG))
    assert [row["step"] for row in rows] == [4, 8, 12]
    for row in rows:
        assert row["score"] == pytest.approx((row["cola/mcc"] + row["chunk/f1"]) / 2)


def test_the_model_and_scores_are_those_of_the_best_step(data, tmp_path, monkeypatch):
    shape_scores(monkeypatch)
    folder, record = run(data, tmp_path, load_best_model_at_end=True)
    assert (record["steps"], record["best_step"]) == (18, 8)
    assert os.path.basename(checkpoints.latest(folder)) == "model.ckpt-8.safetensors"
    at_8 = read_lines(os.path.join(folder, EVAL_LOG))[1]
    assert record["scores"]["cola"]["mcc"] == at_8["cola/mcc"]
    assert record["scores"]["cola"]["loss"] == at_8["cola/loss"]
    assert not [name for name in weights(folder) if "adam" in name]
    # The same model is found when the trial is scored again.
    os.remove(f"{folder}/scores.json")
    monkeypatch.setattr(Loop, "run", None)
    _, again = run(data, tmp_path, load_best_model_at_end=True)
    assert {**again, "seconds": 0} == {**record, "seconds": 0}


@pytest.mark.parametrize("load_best", [False, True])
def test_patience_ends_a_trial(data, tmp_path, monkeypatch, load_best):
    shape_scores(monkeypatch)
    hparams = {"early_stopping_patience": 2, "load_best_model_at_end": load_best}
    folder, record = run(data, tmp_path, **hparams)
    assert (record["steps"], record.get("best_step")) == (16, 8 if load_best else None)
    assert "last_loss" not in record
    names = [name for name in os.listdir(folder) if name.startswith("model.ckpt")]
    assert names == [f"model.ckpt-{8 if load_best else 16}.safetensors"]
    assert [row["step"] for row in read_lines(os.path.join(folder, EVAL_LOG))] == [4, 8, 12, 16]
    os.remove(f"{folder}/scores.json")
    monkeypatch.setattr(Loop, "run", None)
    assert run(data, tmp_path, **hparams)[1]["scores"] == record["scores"]


def test_a_killed_trial_comes_to_the_same_best_step_and_the_same_end(data, tmp_path, monkeypatch):
    shape_scores(monkeypatch)
    hparams = {"early_stopping_patience": 2, "load_best_model_at_end": True}
    unbroken, expected = run(data, tmp_path / "unbroken", **hparams)
    make_steps, remove, stops = Loop.run, checkpoints.remove, [3, 9]

    def stop(loop, first, count):
        if stops and first >= stops[0]:
            stops.pop(0)
            loop.request_stop(15)
        return make_steps(loop, first, count)

    def die(folder, kept=()):  # where nothing is left but to clear its last checkpoints away
        if kept == [8]:
            raise KeyboardInterrupt
        remove(folder, kept)

    monkeypatch.setattr(Loop, "run", stop)
    hparams |= {"save_checkpoints_steps": 3}
    for _ in range(2):
        assert run(data, tmp_path / "killed", **hparams)[1] is None
    assert not stops
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(checkpoints, "remove", die)
        run(data, tmp_path / "killed", **hparams)
    folder, record = run(data, tmp_path / "killed", **hparams)
    assert differences(folder, unbroken) == []
    assert {**record, "seconds": 0} == {**expected, "seconds": 0}


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"load_best_model_at_end": True}, "load_best_model_at_end: the scores of which steps"),
        ({"early_stopping_patience": 3}, "early_stopping_patience: the scores of which steps"),
        ({"eval_every_steps": 5, "do_eval": False}, "but nothing is scored: do_eval is false"),
        ({"eval_every_steps": "epochs"}, 'a whole number or "epoch" or null. Received: .epochs.'),
        ({"eval_every_steps": -1}, "'eval_every_steps' must be at least 0"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(data, hparams, message):
    with pytest.raises(ValueError, match=message):
        config_of(data, **hparams)


def test_training_and_dev_losses_are_in_one_unit(data, tmp_path):
    """The dev files are the training files; without dropout, at a rate that changes nothing."""
    files = tmp_path / "files"
    for name, ending in (("chunk", "txt"), ("cola", "tsv")):
        (files / name).mkdir(parents=True)
        for split in ("train", "dev"):
            source = data / "finetuning_data" / name / f"train.{ending}"
            shutil.copy(source, files / name / f"{split}.{ending}")
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    folder, _ = run(
        data,
        tmp_path,
        task_names=["chunk", "cola"],
        raw_data_dir=str(files),
        model_hparam_overrides=rates,
        learning_rate=1e-12,
        num_train_epochs=1,
        log_every_steps=100,
        eval_every_steps="epoch",
    )
    (trained,), (scored,) = (
        read_lines(os.path.join(folder, name)) for name in (TRAIN_LOG, EVAL_LOG)
    )
    assert trained["chunk/loss"] == pytest.approx(scored["chunk/loss"], rel=1e-3)
    # The classifier has a dropout of its own.
    assert trained["cola/loss"] == pytest.approx(scored["cola/loss"], rel=0.2)
    assert trained["chunk/loss"] < trained["loss"] < trained["cola/loss"]
