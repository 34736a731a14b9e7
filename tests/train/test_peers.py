"""Processes of a run find each other, leave together, and end when one of them is lost."""

import contextlib
import socket
import threading
import time

import pytest
import tensorflow as tf

from electra.train import peers as peers_module
from electra.train.peers import LOST, Peers


class Ended(SystemExit):
    """Stands for the end of the process; a thread ends by it without a word."""


class Ends(list):
    """What would have ended this process: statuses, in whatever thread, however late."""

    def __call__(self, status):
        self.append(status)
        raise Ended


@pytest.fixture
def ends(monkeypatch):
    monkeypatch.setattr(peers_module, "_GRACE", 0.05)
    return Ends()


def addresses(count):
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]


def names_of(hosts):
    return {address: f"worker {i}" for i, address in enumerate(hosts)}


def in_thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def met(count, ends):
    """Peers of as many processes, which found each other."""
    hosts = addresses(count)
    all_of_them = [Peers(own, names_of(hosts), ends) for own in hosts]
    threads = [in_thread(each.meet) for each in all_of_them]
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()
    return all_of_them


def die(peers):
    """What the kernel does when a process dies."""
    peers._is_over = True
    for sock in (*peers._to.values(), *peers._from.values()):
        sock.shutdown(socket.SHUT_RDWR)


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_who_is_waited_for_is_said_until_it_comes(ends, monkeypatch, caplog):
    monkeypatch.setattr(peers_module, "SECONDS_BETWEEN_NOTES", 0)
    own, other = addresses(2)
    names = names_of([own, other])
    with caplog.at_level("INFO", logger="absl"):
        waiting = in_thread(Peers(own, names, ends).meet)
        wait_for(lambda: "Still waiting" in caplog.text)
        with socket.create_connection(peers_module.host_and_port(own)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\n")
            with socket.create_server(peers_module.host_and_port(other)) as server:
                server.accept()[0].sendall(b"\0\0\0")  # TensorFlow's, of a run that ends
            for thread in (in_thread(Peers(other, names, ends).meet), waiting):
                thread.join(timeout=20)
                assert not thread.is_alive()
    assert f"Waiting for the processes of TF_CONFIG at {other}" in caplog.text
    assert f"nobody answers at {other}. Start the process there" in caplog.text


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        own = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"this process, {own}, cannot listen"):
            Peers(own, {own: "worker 0", "127.0.0.1:1": "worker 1"}).meet()


def test_a_port_is_free_for_tensorflow_once_all_have_met(ends):
    for each in met(2, ends):
        with socket.create_server(peers_module.host_and_port(each.own)):
            pass


def test_nobody_leaves_before_the_others(ends):
    first, *others = met(3, ends)
    leaving = [in_thread(lambda each=each: each.__exit__(None, None, None)) for each in others]
    time.sleep(0.2)
    assert all(thread.is_alive() for thread in leaving)
    with first:
        pass
    for thread in leaving:
        thread.join(timeout=20)
        assert not thread.is_alive()
    assert not ends


def test_all_name_the_one_that_died(ends, caplog):
    *others, victim = met(4, ends)
    with caplog.at_level("ERROR", logger="absl"):
        die(victim)
        wait_for(lambda: len(ends) >= len(others))
    assert set(ends) == {LOST}
    lines = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert all(line.startswith(f"Lost worker 3 ({victim.own}): ") for line in lines)
    assert all("\n" not in line and "The same command" in line for line in lines)


def test_a_death_is_noticed_while_one_waits_to_leave(ends):
    one, victim = met(2, ends)
    in_thread(lambda: one.__exit__(None, None, None))
    die(victim)
    wait_for(lambda: ends == [LOST])


def test_what_all_fail_by_is_no_loss_and_what_one_fails_by_is(ends, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(peers_module, "_GRACE", 2)
        both = met(2, ends)
        for each in both:
            with pytest.raises(ValueError, match="not finite"), each:
                raise ValueError("loss not finite")
        for each in both:
            each._watcher.join(timeout=20)
            assert not each._watcher.is_alive()
    assert not ends
    _, other = met(2, ends)
    with pytest.raises(OSError, match="disk"), other:
        raise OSError("disk")
    wait_for(lambda: ends == [LOST])


@pytest.mark.parametrize(
    "text",
    [
        "Collective ops is aborted by: Error reported from /job:worker/task:1: The following "
        "tasks are unhealthy (stopped sending heartbeats):\n/job:worker/replica:0/task:1\nThe",
        "aborted by: recvmsg:Connection reset by peer\nAdditional GRPC error information from "
        "remote target /job:worker/replica:0/task:1 while calling /tensorflow.WorkerService/X:\n"
        "Additional GRPC error information from remote target /job:worker/replica:0/task:0 while",
    ],
)
def test_what_tensorflow_noticed_first_is_said_in_the_same_words(ends, caplog, text):
    one, hanging, _ = met(3, ends)
    with caplog.at_level("ERROR", logger="absl"):
        with pytest.raises(Ended), one:
            raise tf.errors.UnavailableError(None, None, text)
        wait_for(lambda: len(ends) >= 2)  # the third one heard of it
    assert set(ends) == {LOST}
    lines = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert all(line.startswith(f"Lost worker 1 ({hanging.own}): ") for line in lines)


def test_another_error_of_tensorflow_stays_one(ends):
    for each in met(2, ends):
        with pytest.raises(tf.errors.ResourceExhaustedError), each:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
