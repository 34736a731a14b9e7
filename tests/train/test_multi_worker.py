"""Two processes on loopback under MultiWorkerMirroredStrategy, through the door."""

import json
import signal
import socket
import time

import keras
import numpy as np
import pytest

from configure_pretraining import PretrainingConfig
from electra.text.vocab import read_vocab
from electra.train import checkpoints
from electra.train.assembly import build_model
from tests.train import runs

STEPS = 10
HPARAMS = runs.TINY | {
    "num_train_steps": STEPS, "save_checkpoints_steps": STEPS, "num_warmup_steps": 0,
    "learning_rate": 1e-3, "eval_every_steps": STEPS,
    "model_hparam_overrides": runs.TINY["model_hparam_overrides"] | {
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0
    },
}  # fmt: skip


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


def start_workers(data, model_name, hparams):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    return [
        runs.start(
            data, model_name, hparams | {"strategy": "multi_worker"},
            {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})},
        )
        for i in range(2)
    ]  # fmt: skip


def test_two_processes_move_the_parameters_as_one_does(data):
    workers = start_workers(data, "two", HPARAMS)
    assert runs.train(data, "one", **HPARAMS) == 0
    outputs = [runs.finish(worker) for worker in workers]
    assert "2 replica(s) on CPU, 2 process(es), CollectiveAllReduceStrategy" in outputs[0]

    config = PretrainingConfig("one", str(data), **HPARAMS)
    keras.utils.set_random_seed(config.seed)
    variables = build_model(config, read_vocab(data / "vocab.txt")).named_variables()
    one, two = (checkpoints.read(data / "models" / name).tensors for name in ("one", "two"))
    for name, variable in variables.items():
        if name.endswith("self/key/bias"):  # its exact gradient is 0: rounding noise
            continue
        moved = one[name] - variable.numpy()
        difference = np.linalg.norm(two[name] - one[name])
        assert np.linalg.norm(moved) > 0, name
        assert difference <= 1e-3 * np.linalg.norm(moved), name

    logs = [data / "models" / name / "eval_log.jsonl" for name in ("one", "two")]
    for expected, found in zip(*map(runs.entries, logs), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)
    assert len(list((data / "models" / "two").glob("events.*"))) == 1  # the chief alone writes


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
    outputs = [runs.finish(worker) for worker in workers]
    step = checkpoints.read(folder).step
    assert all(f"Stopped at step {step}" in output for output in outputs)
