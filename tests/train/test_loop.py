"""The loop: numbers of every step, stopping between two steps, errors of the data."""

import dataclasses
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from electra.data.waiting import Waiting
from electra.train import loop as loop_module
from electra.train.calls import GraphSteps, HostSteps
from electra.train.loop import Loop, stopping_signals
from electra.train.strategy import choose_placement


class CountingStep:
    """Returns (step, step squared), infinite at step `bad`; pauses a moment each step."""

    def __init__(self, bad=-1, seconds=0.0):
        self.bad, self.seconds = bad, seconds

    def __call__(self, batch, step):
        tf.numpy_function(lambda: time.sleep(self.seconds), [], [], stateful=True)
        value = tf.cast(step, tf.float32)
        value = tf.where(step == self.bad, np.inf, value)
        return tf.stack([value, value**2])

    def unpack(self, vector):
        return {"value": vector[0], "square": vector[1]}


class BatchStep(CountingStep):
    """Returns (step, batch)."""

    def __call__(self, batch, step):
        return tf.cast(tf.stack([step, batch]), tf.float32)


def make_loop(step_function, dataset=None):
    if dataset is None:
        dataset = tf.data.Dataset.range(10**9)
    placement = choose_placement("one")
    return Loop(GraphSteps(step_function, placement, iter(dataset)), placement)


def test_one_call_returns_the_numbers_of_every_step():
    loop = make_loop(CountingStep())
    steps = loop.run(5, 3)
    assert (steps.first, len(steps)) == (5, 3)
    np.testing.assert_array_equal(steps.values["value"], [5, 6, 7])
    np.testing.assert_array_equal(steps.values["square"], [25, 36, 49])
    assert len(loop.run(8, 10)) == 10


def test_many_calls_leave_nothing_behind_in_tensorflow():
    """It keeps the tensors of Python's own numbers, and something of every thread it ran in."""
    loop, threads = make_loop(CountingStep()), set()
    run = loop.steps.run

    def watched(*numbers):
        threads.add(threading.get_ident())
        return run(*numbers)

    loop.steps.run = watched
    numbers = [int("5000001"), int("300")]
    before = [*map(sys.getrefcount, numbers)]
    for _ in range(2):
        loop.run(*numbers)
    assert [*map(sys.getrefcount, numbers)] == before
    assert len(threads) == 1


def test_the_host_waits_for_no_step_of_an_accelerator():
    """Two devices of a CPU stand for host and accelerator. On a GPU TensorFlow keeps int32, and
    what a loop goes on by, in the host's memory; for all else the host has to wait."""
    strategy = tf.distribute.OneDeviceStrategy("/CPU:1")
    placement = choose_placement("one", xla=True)
    placement = dataclasses.replace(placement, strategy=strategy, device="GPU")
    dataset = tf.data.Dataset.range(9)
    batches = strategy.distribute_datasets_from_function(lambda context: dataset)

    steps = GraphSteps(BatchStep(), placement, iter(batches))
    context.enable_run_metadata()
    try:
        with tf.device("/CPU:1"):  # where TensorFlow puts what has no device
            np.testing.assert_array_equal(steps.run(5, 3), [[5, 0], [6, 1], [7, 2]])
        graphs = context.export_run_metadata().partition_graphs
    finally:
        context.disable_run_metadata()
    nodes = [node for graph in graphs for node in graph.node if node.op in ("_Recv", "_HostRecv")]
    received = {
        node.name: node.attr["tensor_type"].type
        for node in nodes
        if node.attr["recv_device"].s.endswith(b"CPU:0") and "while/" in node.name
    }
    within = {kind for name, kind in received.items() if "LoopControlInputs" not in name}
    assert within == {tf.int32.as_datatype_enum, tf.bool.as_datatype_enum}
    assert all("LoopCond" in k for k, v in received.items() if v == tf.bool.as_datatype_enum)


def test_a_step_that_is_not_finite_is_the_last_one():
    steps = make_loop(CountingStep(bad=6)).run(5, 100)
    np.testing.assert_array_equal(steps.values["value"], [5, np.inf])


def test_a_signal_ends_the_call_after_its_current_step(monkeypatch):
    monkeypatch.setattr(loop_module, "POLL_SECONDS", 0.01)
    seen = []
    loop = make_loop(CountingStep(seconds=0.005))
    loop.on_progress = seen.append
    before = signal.getsignal(signal.SIGTERM)
    with stopping_signals(loop):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        steps = loop.run(10, 10_000)
    assert signal.getsignal(signal.SIGTERM) == before
    assert loop.stop_signal == signal.SIGTERM
    assert 0 < len(steps) < 10_000
    np.testing.assert_array_equal(steps.values["value"], 10 + np.arange(len(steps)))
    assert seen == sorted(seen)
    assert seen[-1] == 10 + len(steps)


def test_another_thread_than_the_main_one_runs_without_handlers():
    failures = []

    def run():
        try:
            with stopping_signals(make_loop(CountingStep())):
                pass
        except ValueError as error:  # signal.signal outside the main thread
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failures == []


def test_an_error_of_the_data_comes_out_as_the_reader_raised_it():
    def read(index):
        if index == 2:
            raise ValueError("records.tfrecord: record 2 is damaged. Remove the file")
        return index

    dataset = tf.data.Dataset.range(9).map(lambda i: tf.numpy_function(read, [i], tf.int64))
    with pytest.raises(ValueError, match="^records.tfrecord: record 2 is damaged. Remove the file"):
        make_loop(CountingStep(), dataset).run(0, 9)


def test_batches_of_the_host_make_steps_too():
    made = []

    def program(batch, step):
        made.append(step)
        return tf.constant([float(step), batch])

    step = CountingStep()
    steps = HostSteps(program, step.unpack, lambda step: (step**2, step))
    loop = Loop(steps, choose_placement("one"))
    found = loop.run(5, 3)
    np.testing.assert_array_equal(found.values["value"], [5, 6, 7])
    np.testing.assert_array_equal(found.values["square"], [25, 36, 49])
    loop.request_stop(signal.SIGTERM)
    assert len(loop.run(8, 10)) == 1
    assert made == [5, 6, 7, 8]


def test_a_signal_ends_a_call_over_batches_of_the_host(monkeypatch):
    monkeypatch.setattr(loop_module, "POLL_SECONDS", 0.01)

    def program(batch, step):
        time.sleep(0.005)
        return tf.constant([float(step), batch])

    steps = HostSteps(program, CountingStep().unpack, lambda step: (step**2, step))
    loop, seen = Loop(steps, choose_placement("one")), []
    loop.on_progress = seen.append
    with stopping_signals(loop):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        made = loop.run(10, 10_000)
    assert loop.stop_signal == signal.SIGTERM
    assert 0 < len(made) < 10_000
    assert seen == sorted(seen)
    assert seen[-1] == 10 + len(made)


def test_the_step_that_compiles_is_untimed_from_its_beginning():
    """Whoever watches the call may see the step made before the call is back."""
    seen, steps = [], make_loop(CountingStep()).steps
    call = steps._call
    steps._call = lambda *given: seen.append(steps.untimed) or call(*given)
    steps.run(5, 3)
    assert seen[0] == [5] and steps.untimed_seconds > 0


def test_waits_for_data_are_told():
    def slow(step):
        time.sleep(0.05)
        return (step,)

    program = tf.function(lambda step: tf.stack([tf.cast(step, tf.float32)]))
    steps = HostSteps(program, lambda row: {"loss": row}, slow)
    steps.run(0, 4)
    assert 0.2 <= steps.waited() < 2


def test_a_pipeline_tells_how_long_it_let_others_wait():
    waiting = Waiting()

    def slow(number):
        time.sleep(0.05)
        return number

    numbers = tf.data.Dataset.range(100).map(lambda n: tf.numpy_function(slow, [n], tf.int64))
    elements = waiting.measured(numbers.map(lambda n: {"n": n}))
    started = time.monotonic()
    found = [int(element["n"]) for element in elements.take(4)]
    assert found == [0, 1, 2, 3]
    assert 0.2 <= waiting.take() <= time.monotonic() - started
    assert waiting.take() == 0.0
    ready = Waiting()
    for _ in ready.measured(tf.data.Dataset.range(3).map(lambda n: {"n": n})):
        time.sleep(0.2)
    assert ready.take() < 0.6  # what those do who asked is no wait
