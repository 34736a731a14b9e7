"""Runs of several processes of which one is lost: the others end, and the same command goes on to
the same end. Once on loopback; many times in network namespaces, which stand for machines."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest

from electra.saving import checkpoints
from electra.train.compare import differences
from electra.train.peers import LOST
from tests.pretrain import runs

HPARAMS = runs.TINY | {
    "strategy": "multi_worker",
    "electra_objective": False,  # the smallest program
    "num_train_steps": 100,
    "save_checkpoints_steps": 10,
    "log_every_steps": 10,
    "eval_every_steps": 0,
}
STATED_SECONDS = 30  # in docs/devices.md


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("workers") / "data")


def test_a_killed_process_ends_the_other_and_the_same_command_comes_to_the_same_end(data):
    undisturbed, folder = data / "models" / "undisturbed", data / "models" / "killed"
    for worker in runs.start_workers(data, undisturbed.name, HPARAMS):
        runs.finish(worker)
    workers = runs.start_workers(data, folder.name, HPARAMS)
    while checkpoints.latest(folder) is None and all(each.poll() is None for each in workers):
        time.sleep(0.01)
    workers[1].send_signal(signal.SIGKILL)
    output = runs.finish(workers[0], status=LOST, seconds=STATED_SECONDS)
    assert re.search(r"Lost worker 1 \(127.0.0.1:\d+\): .* The same command", output)
    assert "Traceback" not in output
    assert checkpoints.read(folder).step < HPARAMS["num_train_steps"]
    outputs = [runs.finish(worker) for worker in runs.start_workers(data, folder.name, HPARAMS)]
    assert all(f"Going on from {folder}" in output for output in outputs)
    assert differences(undisturbed, folder) == []


# ---- machines ----

SHAKEN = HPARAMS | {"num_train_steps": 200, "train_batch_size": 12}
BRIDGE, SUBNET = f"el{os.getpid() % 10**6}", "10.213.7"


def ip(*words, check=True):
    subprocess.run(["ip", *map(str, words)], check=check, capture_output=True)


def port_of(host):
    """The end, at the bridge, of the cable of a host."""
    return f"{BRIDGE}p{host}"


@contextlib.contextmanager
def machines(count):
    """Network namespaces at a bridge. Yields their names."""
    names = [f"{BRIDGE}h{host}" for host in range(count)]
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("link", "set", BRIDGE, "up")
        for host, name in enumerate(names):
            ip("netns", "add", name)
            peer = ("peer", "name", "eth0", "netns", name)
            ip("link", "add", port_of(host), "type", "veth", *peer)
            ip("link", "set", port_of(host), "master", BRIDGE, "up")
            ip("-n", name, "address", "add", f"{SUBNET}.{host + 1}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for host, name in enumerate(names):
            ip("link", "delete", port_of(host), check=False)  # the namespace's own end is late
            ip("netns", "delete", name, check=False)
        ip("link", "delete", BRIDGE, check=False)


def has_namespaces():
    try:
        with machines(1):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


class Machines:
    """A run on several machines. Its processes write to log<index> beside the data."""

    def __init__(self, names, data):
        self.names, self.data = names, data
        self.logs = [data.parent / f"log{host}" for host in range(len(names))]
        self.workers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.workers:
            worker.kill()

    def start(self, model_name):
        cluster = {"worker": [f"{SUBNET}.{host + 1}:2222" for host in range(len(self.names))]}
        self.workers = []
        for host, name in enumerate(self.names):
            task = {"type": "worker", "index": host}
            environment = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
            under = ("ip", "netns", "exec", name)
            with open(self.logs[host], "w") as log:
                args = (self.data, model_name, SHAKEN, environment, under, log)
                self.workers.append(runs.start(*args))

    def wait_for_start(self):
        """Waits until the processes have found each other."""
        while not all("process(es)" in log.read_text() for log in self.logs):
            assert not any(worker.poll() for worker in self.workers), self.logs[0].read_text()
            time.sleep(0.05)

    def finish(self):
        for worker in self.workers:
            worker.wait(timeout=600)
        assert all(worker.returncode == 0 for worker in self.workers), self.logs[0].read_text()

    def lose(self, victim, by_network):
        """Kills a process, or cuts a machine off.

        Returns: the seconds until the others ended; None where the run had come to its end.
        """
        started = time.monotonic()
        if by_network:
            ip("link", "set", port_of(victim), "down")
        else:
            self.workers[victim].kill()
        try:
            others = [host for host in range(len(self.workers)) if host != victim]
            statuses = [self.workers[host].wait(timeout=STATED_SECONDS) for host in others]
            if not any(statuses):  # all had said that they are done
                return None
            for host, status in zip(others, statuses, strict=True):
                text = self.logs[host].read_text()
                (line,) = (line for line in text.splitlines() if "Lost" in line)
                assert status == LOST and "Traceback" not in text, text
                assert f"Lost worker {victim} ({SUBNET}.{victim + 1}:2222): " in line
            return time.monotonic() - started
        finally:
            ip("link", "set", port_of(victim), "up")
            for worker in self.workers:
                worker.kill()
                worker.wait()


@pytest.mark.slow
@pytest.mark.parametrize(("count", "losses"), [(2, 4), (3, 3), (4, 3)])
def test_machines_are_lost_at_random_moments(data, count, losses):
    if not has_namespaces():
        pytest.skip("no network namespaces: they are root's to make")
    undisturbed, folder = data / "models" / f"undisturbed{count}", data / "models" / f"lost{count}"
    draws = random.Random(count)
    with machines(count) as names, Machines(names, data) as run:
        run.start(undisturbed.name)
        run.wait_for_start()
        started = time.monotonic()
        run.finish()
        most_seconds = time.monotonic() - started
        lost = 0
        while lost < losses:
            run.start(folder.name)
            run.wait_for_start()
            until = time.monotonic() + draws.uniform(0, most_seconds)
            while time.monotonic() < until and any(each.poll() is None for each in run.workers):
                time.sleep(0.01)
            victim, by_network = draws.randrange(count), bool(lost % 2)
            seconds = None
            if time.monotonic() >= until:
                seconds = run.lose(victim, by_network)
            if seconds is None:  # it had come far before
                for worker in run.workers:
                    worker.wait()
                assert differences(undisturbed, folder) == []
                shutil.rmtree(folder)
                continue
            newest = checkpoints.latest(folder)
            step = checkpoints.read(newest).step if newest else 0
            how = "network" if by_network else "killed"
            print(f"{count} machines, {victim} {how}: {seconds:.1f} s, at step {step}", flush=True)
            lost += 1
        run.start(folder.name)
        run.finish()
        assert differences(undisturbed, folder) == []
