"""The command run_pretraining.py in processes of its own: killed and run again, and the commands of
the official README.
"""

import random
import re
import signal
import subprocess
import sys
import time

import pytest

from electra.pretrain.config import PretrainingConfig
from electra.pretrain.metrics import METRICS
from electra.storage import write_json
from electra.train.compare import differences
from tests.pretrain import runs
from tests.shared import ROOT

LAST_STEP = 120
HPARAMS = runs.TINY | {
    "num_train_steps": LAST_STEP,
    "save_checkpoints_steps": 10,
    "log_every_steps": 4,
    "eval_every_steps": 20,
    "iterations_per_loop": 7,
    "keep_checkpoint_max": 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("command") / "data")


@pytest.fixture(scope="module")
def unbroken(data):
    """A run that nothing stops, started when first asked for: (its process, its folder)."""
    process = runs.start(data, "unbroken", HPARAMS)
    yield process, data / "models" / "unbroken"
    process.kill()


def newest_step(folder):
    names = [path.name for path in folder.glob("model.*")]
    found = [re.fullmatch(r"model\.ckpt-(\d+)\.safetensors", name) for name in names]
    return max([int(each[1]) for each in found if each], default=-1)


def stop(process, number, folder, after_step, delay):
    """Sends a signal some seconds after a checkpoint of `after_step` or later was published.

    Returns: what the process printed.
    """
    while process.poll() is None:
        if newest_step(folder) >= after_step:
            time.sleep(delay)
            process.send_signal(number)
            break
        time.sleep(0.002)
    return process.communicate(timeout=60)[0]


def test_a_run_killed_and_run_again_equals_the_unbroken_one(data, unbroken):
    folder, rng = data / "models" / "killed", random.Random(2)
    kinds = ((signal.SIGKILL, 20), (signal.SIGTERM, 60))
    for number, after_step in kinds:
        process = runs.start(data, "killed", HPARAMS)
        before = newest_step(folder)
        output = stop(process, number, folder, after_step, rng.uniform(0, 0.1))
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL, output
            assert before <= newest_step(folder) < LAST_STEP
        else:
            assert process.returncode == 143, output
            stopped_at = int(re.search(r"Stopped at step (\d+)", output)[1])
            assert after_step <= stopped_at < LAST_STEP
            assert newest_step(folder) == stopped_at
    output = runs.finish(runs.start(data, "killed", HPARAMS))
    assert f"Going on from {folder}" in output
    assert f"step {LAST_STEP}/{LAST_STEP}" in output
    runs.finish(unbroken[0])
    assert differences(str(folder), str(unbroken[1])) == []


def test_sigterm_before_the_first_step_ends_with_status_143(data):
    code = (
        "import os, signal, sys, electra.pretrain.__main__ as command\n"
        "import electra.pretrain.runner as runner\n"
        "runner.run_pretraining = lambda config: os.kill(os.getpid(), signal.SIGTERM) or 5\n"
        "command.define_run_flags()\n"
        "command.run_command(command.main)\n"
    )
    command = [sys.executable, "-c", code, "--data_dir", str(data), "--model_name", "early"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 143


@pytest.mark.slow
def test_twenty_kills_lose_nothing(data):
    """Half of them soon after a new checkpoint, half at any time since the start of the process."""
    folder, rng = data / "models" / "often", random.Random(3)
    hparams = HPARAMS | {"num_train_steps": 400}
    for kill in range(20):
        process = runs.start(data, "often", hparams)
        if kill % 2:
            stop(process, signal.SIGKILL, folder, newest_step(folder) + 1, rng.uniform(0, 0.1))
        else:
            stop(process, signal.SIGKILL, folder, newest_step(folder), rng.uniform(2, 15))
        assert process.returncode == -signal.SIGKILL
    assert newest_step(folder) < 400
    for name in ("often", "never"):
        runs.finish(runs.start(data, name, hparams))
    assert differences(str(folder), str(data / "models" / "never")) == []


@pytest.fixture(scope="module")
def official_data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("official") / "data", length=128)


def test_the_official_dicts_train_and_evaluate(official_data, capsys):
    """The vocabulary has fewer tokens than the word table of the default size has rows."""
    overrides = {"model_hparam_overrides": runs.TINY["model_hparam_overrides"]}
    for hparams in ({"debug": True}, {"do_train": False, "do_eval": True}):
        config = PretrainingConfig("m", str(official_data), **hparams, **overrides)
        assert runs.run_pretraining(config) == 0
    folder = official_data / "models" / "m"
    assert [entry["step"] for entry in runs.entries(folder / "train_log.jsonl")][-1] == 20
    lines = (folder / "results" / "unsup_results.txt").read_text().splitlines()
    assert capsys.readouterr().out.splitlines() == lines
    assert {*METRICS, "global_step", "loss"} <= {line.split(" = ")[0] for line in lines}


@pytest.mark.slow
def test_the_official_commands_run_unchanged(official_data):
    output = runs.finish(runs.start(official_data, "unchanged", {"debug": True}))
    assert "step 20/20" in output
    output = runs.finish(
        runs.start(official_data, "unchanged", {"do_train": False, "do_eval": True})
    )
    assert all(f"{name} = " in output for name in METRICS)


def test_a_mistake_is_one_line_and_exit_status_1(data, tmp_path):
    path = tmp_path / "hparams.json"
    write_json(path, runs.TINY | {"lerning_rate": 1e-3})
    process = subprocess.run(
        [
            sys.executable,
            ROOT / "run_pretraining.py",
            "--data_dir",
            data,
            "--model_name",
            "m",
            "--hparams",
            path,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == (
        "Error: hparam 'lerning_rate' is unknown. Closest: 'learning_rate'"
    )
    assert "Traceback" not in process.stderr
