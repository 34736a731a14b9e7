"""Builds on a Ray cluster of several nodes: the files of one process, whatever dies, and errors."""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from electra.data import engines, units
from electra.data.build import WORK
from tests.data import dying
from tests.data.test_build import place, run, small_units  # noqa: F401
from tests.data.tiny import make_text, read_files, write_files
from tests.shared import ROOT

needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="ray is not installed")
HOSTS = {"electra-a": "10.77.0.1", "electra-b": "10.77.0.2"}  # namespaces and addresses
STORE_BYTES = 80 << 20  # of a node, the least that Ray takes
# Many small units, each of which takes a while; those of a lost node soon have their turn again.
# Arguments: folder, address of the cluster.
DRIVER = """
import sys
from pathlib import Path

from electra.cli import exit_status
from electra.data import corpus, engines, join, units
from electra.data.build import build
from tests.data import dying

engines._SUBMITTED = 1
corpus.cut_units.__defaults__, join.FILE_BYTES = (3000, False), 20_000
units.build_unit = dying.build_slowly
place, address = Path(sys.argv[1]), sys.argv[2]
files = place / "corpus", place / "vocab.txt", place / "out"
flags = {"max_seq_length": 32, "seed": 3, "eval_fraction": 0.2}
sys.exit(exit_status(lambda: build(*files, engine="ray", ray_address=address, **flags) and None))
"""


@pytest.fixture(scope="module")
def ray_folder():
    """Where Ray writes, and a cluster that outsiders cannot use."""
    folder = tempfile.mkdtemp(prefix="ray-")  # the path of a socket must be short
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",  # it looks at the whole machine's memory
        "RAY_worker_niceness": "0",  # by default its workers give way to all else
        "RAY_TMPDIR": folder,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(ray_folder):
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(**node)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def connected(cluster):
    with engines.opened(1, "ray", cluster.address) as (_, in_ray):
        yield in_ray


@pytest.fixture
def whole(place, small_units):  # noqa: F811
    write_files(place / "corpus", {"d.txt": make_text(120, 2)})
    run(place, "whole", eval_fraction=0.2)
    return read_files(place / "whole")


def start(place, address, *before):  # noqa: F811
    arguments = [*before, sys.executable, "-c", DRIVER, str(place), address]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(arguments, cwd=ROOT, **pipes)


def wait_for(is_true):
    deadline = time.monotonic() + 300  # the machine may be busy
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---- builds -------------------------------------------------------------------------------------


@needs_ray
def test_a_killed_node_and_ctrl_c_change_no_file(cluster, place, whole, monkeypatch):  # noqa: F811
    victim, work = next(iter(cluster.worker_nodes)), place / "out" / WORK

    def begun(is_on_victim):
        on = dying.read_begun(place)
        return [name for name, node in on if (node == victim.node_id) == is_on_victim]

    process = start(place, cluster.address)
    try:
        wait_for(lambda: begun(True) or process.poll() is not None)
        cluster.remove_node(victim, allow_graceful=False)
        lost = begun(True)[-1]
        wait_for(lambda: lost in begun(False) or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        assert "Interrupted. The same command" in process.communicate(timeout=300)[1]
    finally:
        process.kill()
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    assert process.returncode == 130
    assert lost in begun(False)
    finished = {path.name for path in work.iterdir() if units.is_finished(path)}
    assert finished
    before = len(dying.read_begun(place))
    monkeypatch.setattr(units, "build_unit", dying.build_slowly)
    run(place, eval_fraction=0.2, engine="ray", ray_address=cluster.address)
    again = {name for name, _ in dying.read_begun(place)[before:]}
    assert again
    assert not finished & again
    assert read_files(place / "out") == whole
    assert not work.exists()


@needs_ray
def test_bad_text_on_a_node_ends_the_build_with_its_message_and_place(cluster, place, caplog):  # noqa: F811
    write_files(place / "corpus", {"bad.txt": b"na\xefve"})
    with pytest.raises(ValueError, match="bad.txt, byte 2 is not UTF-8"):
        run(place, engine="ray", ray_address=cluster.address)
    assert "unit-000000 failed: on node" in caplog.text


def call(*arguments):
    subprocess.run(arguments, check=True, capture_output=True, timeout=60)


def on_host(name, *arguments):
    return ("ip", "netns", "exec", name, *arguments)


def kill_host(name):
    pids = subprocess.run(("ip", "netns", "pids", name), capture_output=True, check=False).stdout
    for pid in map(int, pids.split()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def hosts(ray_folder):
    """Two hosts of a network, a node of Ray on each."""
    (first, address), (second, other) = HOSTS.items()
    try:
        try:
            for name in HOSTS:
                call("ip", "netns", "add", name)
            ends = ("eth0", "netns", first, "type", "veth", "peer", "name", "eth0", "netns", second)
            call("ip", "link", "add", *ends)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("network namespaces cannot be made here")
        for name, here, gateway in ((first, address, other), (second, other, address)):
            call("ip", "-n", name, "address", "add", f"{here}/24", "dev", "eth0")
            call("ip", "-n", name, "link", "set", "lo", "up")
            call("ip", "-n", name, "link", "set", "eth0", "up")
            call("ip", "-n", name, "route", "add", "default", "via", gateway)
            head = ("--head", "--port=6379", "--include-dashboard=false")
            role = head if name == first else (f"--address={address}:6379",)
            size = ("--num-cpus=1", f"--object-store-memory={STORE_BYTES}")
            places = (f"--node-ip-address={here}", f"--temp-dir={ray_folder}/{name}")
            ray = os.path.join(os.path.dirname(sys.executable), "ray")
            call(*on_host(name, ray, "start", *role, *size, *places))
        yield
    finally:
        for name in HOSTS:
            kill_host(name)
            subprocess.run(("ip", "netns", "del", name), capture_output=True, check=False)


@needs_ray
def test_a_host_that_is_killed_changes_no_file(hosts, place, whole):  # noqa: F811
    (first, address), (second, _) = HOSTS.items()
    process = start(place, f"{address}:6379", *on_host(first))
    nodes = lambda: {node for _, node in dying.read_begun(place)}  # noqa: E731
    try:
        wait_for(lambda: len(nodes()) == 2 or process.poll() is not None)
        time.sleep(0.5)
        kill_host(second)
        assert process.poll() is None
        assert process.wait(300) == 0, process.stderr.read()
    finally:
        process.kill()
    assert read_files(place / "out") == whole
    assert len(nodes()) == 2


# ---- jobs ---------------------------------------------------------------------------------------


@needs_ray
def test_only_some_jobs_are_known_to_ray_at_once(connected, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "_SUBMITTED", 8)
    taken = []
    jobs = ((taken.append(i) or str(tmp_path / str(i)),) for i in range(40))
    for done, _ in enumerate(connected(dying.touch, jobs, {})):
        assert len(taken) <= done + 8
    assert sorted(map(int, os.listdir(tmp_path))) == list(range(40))


@needs_ray
def test_a_job_that_fails_is_not_repeated_and_keeps_its_error(connected, tmp_path, caplog):
    with pytest.raises(OSError, match="No space left on device") as caught:
        list(connected(dying.fail, [(str(tmp_path / "unit-7"),)], {}))
    assert caught.value.errno == 28
    assert "unit-7 failed: on node" in caplog.text
    assert (tmp_path / "tries").read_text() == "1"


@needs_ray
def test_a_job_that_ends_its_process_is_given_up(connected, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "_TRIES", 2)
    with pytest.raises(ValueError, match="unit-7: its process died 2 times.*same command"):
        list(connected(dying.die, [(str(tmp_path / "unit-7"),)], {}))
    assert (tmp_path / "tries").read_text() == "11"


@needs_ray
def test_a_node_that_does_not_see_the_folder_is_named(connected, tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere is not there on node .* Every node"):
        list(connected(dying.touch, [(str(tmp_path / "elsewhere" / "unit-7"),)], {}))
    assert not (tmp_path / "elsewhere").exists()


@needs_ray
def test_a_cluster_that_is_not_there_is_an_error(place):  # noqa: F811
    with pytest.raises(ValueError, match="--ray_address 127.0.0.1:9: .*refused.*ray start --head"):
        run(place, engine="ray", ray_address="127.0.0.1:9")


def test_without_ray_the_remedy_is_named_before_anything_is_written(place, monkeypatch):  # noqa: F811
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--engine ray needs Ray. Install it: pip install"):
        run(place, engine="ray")
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"engine": "beam"}, '--engine must be one of "local", "ray". Received: .beam'),
        ({"ray_address": "10.0.0.1:6379"}, "--ray_address 10.0.0.1:6379 is for --engine ray"),
        ({"engine": "ray", "ray_address": "head"}, "--ray_address must be host:port, auto or"),
        ({"engine": "ray", "num_processes": 2}, "as many processes as its nodes have CPUs"),
    ],
)
def test_an_impossible_engine_is_refused(place, flags, message):  # noqa: F811
    with pytest.raises(ValueError, match=message):
        run(place, **flags)
    assert not (place / "out").exists()
