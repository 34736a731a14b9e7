"""Runs from Python: what they return, and that they leave the process as a library does."""

import json
import logging
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from absl import logging as absl_logging

import electra
from electra.finetune import outputs
from electra.finetune.runner import FinetuningResult
from electra.train.loop import Loop
from electra.train.result import RunResult
from tests.finetune.runs import HPARAMS, make_data
from tests.pretrain import runs
from tests.shared import ROOT


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    for name in ("write_summary", "write_dev"):
        monkeypatch.setattr(outputs, name, lambda *args: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("library") / "data")


def test_the_package_is_light_until_something_runs():
    code = (
        "import sys, electra; electra.FinetuningConfig, electra.PretrainingConfig; "
        "assert set(electra.__all__) <= set(dir(electra)); "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    with pytest.raises(AttributeError, match="module 'electra' has no attribute 'run'"):
        electra.run  # noqa: B018


def test_a_result_says_how_it_ended():
    done, stopped = RunResult("f", 3, {"a": 1.0}), RunResult("f", 2, {}, signal.SIGTERM)
    assert (done.was_stopped, done.exit_status) == (False, 0)
    assert (stopped.was_stopped, stopped.exit_status) == (True, 143)


def finetune(data, folder, **hparams):
    config = electra.FinetuningConfig(
        "m", str(data), **HPARAMS | {"output_dir": str(folder), "num_train_epochs": 1} | hparams
    )
    return electra.run_finetuning(config)


def test_fine_tuning_returns_scores_and_leaves_logging_alone(data, tmp_path, capsys):
    before = list(logging.getLogger().handlers), absl_logging.get_verbosity()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    result = finetune(data, tmp_path, num_trials=2)
    assert isinstance(result, FinetuningResult)
    assert not result.was_stopped
    written = json.loads((tmp_path / "results" / "cola_results.json").read_text())
    best = next(t for t in written["trials"] if t["trial"] == written["best_trial"])
    assert result.scores == best["scores"]
    assert (result.summary, result.baselines) == (written["summary"], written["baselines"])
    assert (result.step, result.baselines) == (6, {"cola": {"mcc": 0.0}})
    assert set(electra.load(result.folder).tasks) == {"cola"}
    assert capsys.readouterr().out == ""
    assert (tmp_path / "results" / "cola_results.txt").read_text() == result.report + "\n"
    assert (list(logging.getLogger().handlers), absl_logging.get_verbosity()) == before
    assert handlers == {number: signal.getsignal(number) for number in handlers}
    # Without the models it is the same result, of no step.
    for path in tmp_path.rglob("model.ckpt-*"):
        path.unlink()
    again = finetune(data, tmp_path, num_trials=2)
    assert (again.scores, again.step) == ({**result.scores}, 0)


def test_a_stopped_trial_is_told_and_goes_on(data, tmp_path, monkeypatch):
    run = Loop.run

    def stop(loop, first, count):
        if first == 5:
            loop.request_stop(signal.SIGINT)
        return run(loop, first, count)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "run", stop)
        result = finetune(data, tmp_path)
    assert (result.exit_status, result.step, result.scores) == (130, 6, {})
    assert result.folder == str(tmp_path / "finetuning_models" / "cola_model_1")
    assert finetune(data, tmp_path).scores["cola"].keys() >= {"mcc", "loss"}


def test_pre_training_returns_held_out_scores(tmp_path, capsys):
    data = runs.make_data(tmp_path)
    hparams = runs.TINY | {"num_train_steps": 2, "do_eval": True}
    result = electra.run_pretraining(electra.PretrainingConfig("m", str(data), **hparams))
    assert (result.step, result.exit_status) == (2, 0)
    assert {"disc_auc", "masked_lm_accuracy"} <= set(result.scores)
    assert electra.load(result.folder).step == 2
    assert capsys.readouterr().out == ""
    assert "disc_auc = " in result.report


@pytest.mark.parametrize("page", ["own_data"])
def test_the_example_of_the_docs_runs(data, tmp_path, monkeypatch, page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert "electra.run_finetuning(config)" in code
    rows = [line.split("\t") for line in _lines(data / "finetuning_data" / "cola" / "train.tsv")]
    Path(tmp_path / "train.csv").write_text(
        "\n".join(["text,class", *(f"{text},{label}" for _, label, _, text in rows)])
    )
    (tmp_path / "data" / "models").mkdir(parents=True)
    (tmp_path / "data" / "models" / "electra_small").symlink_to(data / "models" / "m")
    monkeypatch.chdir(tmp_path)
    tiny = {k: v for k, v in HPARAMS.items() if k not in ("task_names", "num_train_epochs")}
    monkeypatch.setattr(
        electra,
        "FinetuningConfig",
        lambda *args, _kind=electra.FinetuningConfig, **given: _kind(*args, **tiny | given),
        raising=False,
    )
    exec(compile(code, page, "exec"), {})


def _lines(path):
    return path.read_text(encoding="utf-8").splitlines()
