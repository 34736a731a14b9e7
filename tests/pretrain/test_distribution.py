"""Whole runs on two devices, and in two processes on loopback, beside a run on one device."""

import json
import os
import signal
import socket
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


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_workers(data, model_name, hparams, of_second=None, by_slurm=False):
    """Starts both processes; of_second: hparams that the second one has besides; by_slurm: as two
    tasks of srun, else with TF_CONFIG."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    hparams = hparams | {"strategy": "multi_worker"}
    workers = []
    for index in range(2):
        own = hparams | (of_second or {} if index else {})
        environment = {"SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_STEP_TASKS_PER_NODE": "2"}
        environment |= {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NODEID": "0"}
        environment |= dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID"), str(index))
        if not by_slurm:
            task = {"type": "worker", "index": index}
            environment = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
        workers.append(runs.start(data, model_name, own, environment))
    return workers


@pytest.fixture(scope="module")
def one_and_two(data):
    """The folder of a run of one process, and of the same run of two; run at the same time."""
    workers = start_workers(data, "two", HPARAMS, by_slurm=True)
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


@pytest.mark.slow
def test_processes_that_do_not_share_the_models_folder_are_refused(data, one_and_two):
    hparams = HPARAMS | {"num_train_steps": STEPS + 2}
    workers = start_workers(data, "two", hparams, {"model_dir": str(data / "elsewhere")})
    for worker in workers:
        assert "must be a folder that all processes share" in runs.finish(worker, status=1)


@pytest.mark.slow
def test_when_one_process_is_killed_both_end_and_the_same_command_goes_on(data):
    folder = data / "models" / "killed"
    hparams = HPARAMS | {"num_train_steps": 3000, "save_checkpoints_steps": 100}
    workers = start_workers(data, "killed", hparams)
    while checkpoints.latest(folder) is None and all(each.poll() is None for each in workers):
        time.sleep(0.02)
    workers[1].send_signal(signal.SIGKILL)
    output = workers[0].communicate(timeout=300)[0]
    assert workers[0].returncode not in (0, None), output
    step = checkpoints.read(folder).step
    assert 0 < step < 3000
    outputs = [runs.finish(worker) for worker in start_workers(data, "killed", hparams)]
    assert f"Going on from {folder}" in outputs[0]
    assert checkpoints.read(folder).step == 3000


@pytest.mark.slow
def test_sigterm_to_one_process_stops_both_at_the_same_step(data):
    folder = data / "models" / "stopped"
    hparams = HPARAMS | {"num_train_steps": 3000, "save_checkpoints_steps": 100}
    workers = start_workers(data, "stopped", hparams)
    while checkpoints.latest(folder) is None and all(each.poll() is None for each in workers):
        time.sleep(0.02)
    workers[1].send_signal(signal.SIGTERM)
    outputs = [runs.finish(worker, status=143) for worker in workers]
    step = checkpoints.read(folder).step
    assert all(f"Stopped at step {step}" in output for output in outputs)
