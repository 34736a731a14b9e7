"""Whole runs on two devices, and in two processes on loopback, beside a run on one device."""

import shutil
import signal
import time

import keras
import numpy as np
import pytest

from electra.pretrain.assembly import build_model
from electra.pretrain.config import PretrainingConfig
from electra.saving import checkpoints
from electra.text.vocab import read_vocab
from electra.train.lines import EVAL_LOG
from tests.pretrain import runs

STEPS = 10
HPARAMS = runs.TINY | {
    "num_train_steps": STEPS,
    "save_checkpoints_steps": STEPS,
    "num_warmup_steps": 0,
    "learning_rate": 1e-3,
    "eval_every_steps": STEPS,
    "model_hparam_overrides": runs.TINY["model_hparam_overrides"]
    | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("workers") / "data")


@pytest.fixture(scope="module")
def one_and_two(data):
    """The folder of a run of one process, and of the same run of two; run at the same time."""
    workers = runs.start_workers(data, "two", HPARAMS, by_slurm=True)
    assert runs.train(data, "one", **HPARAMS) == 0
    outputs = [runs.finish(worker) for worker in workers]
    assert "2 replica(s) on CPU, 2 process(es), CollectiveAllReduceStrategy" in outputs[0]
    return data / "models" / "one", data / "models" / "two"


def check_movements(data, folder, expected_folder):
    """Compares how far each variable moved from the start, and the logs."""
    config = PretrainingConfig("one", str(data), **HPARAMS)
    keras.utils.set_random_seed(config.seed)
    start = build_model(config, read_vocab(data / "vocab.txt")).named_variables()
    found, expected = (checkpoints.read(path).tensors for path in (folder, expected_folder))
    for name, variable in start.items():
        if name.endswith("self/key/bias"):  # its exact gradient is 0: rounding noise
            continue
        movement = np.linalg.norm(expected[name] - variable.numpy())
        assert movement > 0, name
        assert np.linalg.norm(found[name] - expected[name]) <= 1e-3 * movement, name
    logs = [runs.entries(path / EVAL_LOG) for path in (folder, expected_folder)]
    for one, other in zip(*logs, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_two_processes_move_the_parameters_as_one_does(data, one_and_two):
    one, two = one_and_two
    check_movements(data, two, one)
    files_of_one, files_of_two = (list(folder.rglob("events.*")) for folder in one_and_two)
    assert len(files_of_two) == len(files_of_one) > 0  # the chief alone writes


def test_two_devices_of_a_process_move_the_parameters_as_one_does(data, one_and_two):
    assert runs.train(data, "mirrored", strategy="mirrored", **HPARAMS) == 0
    check_movements(data, data / "models" / "mirrored", one_and_two[0])


def test_a_run_of_two_goes_on_with_one_as_a_run_of_one_does(data, one_and_two):
    longer = HPARAMS | {"num_train_steps": 2 * STEPS}
    folders = [data / "models" / f"{folder.name}_and_one" for folder in one_and_two]
    for before, folder in zip(one_and_two, folders, strict=True):
        shutil.copytree(before, folder)
        assert runs.train(data, folder.name, **longer) == 0
    check_movements(data, *folders[::-1])


@pytest.mark.slow
def test_a_run_of_one_goes_on_with_two_as_a_run_of_one_does(data, one_and_two):
    longer = HPARAMS | {"num_train_steps": 2 * STEPS}
    folders = [data / "models" / name for name in ("one_and_two", "one_alone")]
    for folder in folders:
        shutil.copytree(one_and_two[0], folder)
    for worker in runs.start_workers(data, folders[0].name, longer):
        runs.finish(worker)
    assert runs.train(data, folders[1].name, **longer) == 0
    check_movements(data, *folders)


@pytest.mark.slow
def test_processes_that_do_not_share_the_models_folder_are_refused(data, one_and_two):
    hparams = HPARAMS | {"num_train_steps": STEPS + 2}
    workers = runs.start_workers(data, "two", hparams, {"model_dir": str(data / "elsewhere")})
    for worker in workers:
        assert "must be a folder that all processes share" in runs.finish(worker, status=1)


@pytest.mark.slow
def test_sigterm_to_one_process_stops_both_at_the_same_step(data):
    folder = data / "models" / "stopped"
    hparams = HPARAMS | {"num_train_steps": 3000, "save_checkpoints_steps": 100}
    workers = runs.start_workers(data, "stopped", hparams)
    while checkpoints.latest(folder) is None and all(each.poll() is None for each in workers):
        time.sleep(0.02)
    workers[1].send_signal(signal.SIGTERM)
    outputs = [runs.finish(worker, status=143) for worker in workers]
    step = checkpoints.read(folder).step
    assert all(f"Stopped at step {step}" in output for output in outputs)
