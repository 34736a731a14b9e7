"""The training loop: many steps per call into the graph, and what happens between the calls.

Enters: a step function under a strategy and an iterator over its data. Leaves: numbers per step,
handed to the runner at the steps where something is due.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import re
import signal
import threading
import time

import numpy as np
import tensorflow as tf

from electra.saving import checkpoints

POLL_SECONDS = 0.2


class NonFiniteLossError(ValueError):
    """The loss or the gradient norm became infinite or not a number."""


@dataclasses.dataclass
class Steps:
    """Results of one call: `values[name]` has one row a step, the first is step `first` + 1."""

    first: int
    values: dict
    seconds: float

    def __len__(self):
        return len(next(iter(self.values.values())))


class Loop:
    """Runs steps in calls of up to `iterations_per_loop` and can be stopped between two steps.

    Args:
        step_function: PretrainingStep, called as step_function(batch, step) on every replica.
        placement: Placement.
        iterator: over the strategy's distributed batches.
    Attributes:
        on_progress: called now and then with the number of steps made so far.
        stop_signal: the signal that asked it to stop, or None.
    """

    def __init__(self, step_function, placement, iterator):
        self.step_function = step_function
        self.strategy = placement.strategy
        self.num_workers = placement.num_workers
        self.iterator = iterator
        self.on_progress = lambda steps: None
        # Looking at a step's numbers between steps would make an accelerator wait for the host.
        self._checks_each_step = not placement.compile_step
        with tf.device("CPU:0"):
            self._stop = tf.Variable(False, trainable=False)
            self._done = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.stop_signal = None
        # The steps run in a thread of their own: a signal handler of Python's only runs while the
        # main thread is not inside TensorFlow. One for all calls: TensorFlow keeps something of
        # every thread that it ever ran in.
        self._thread = concurrent.futures.ThreadPoolExecutor(1)

    def request_stop(self, signum):
        """Ends the running call after its current step.

        It only sets an attribute: a handler may interrupt the main thread inside TensorFlow.
        """
        self.stop_signal = signum

    def run(self, first, count):
        """Makes up to `count` steps from step `first` on.

        Returns: Steps; fewer than `count` when a stop was requested or, on a CPU, a number of the
            last step is not finite. A wholly compiled step goes on to the end of the call.
        """
        started = time.monotonic()
        call = self._thread.submit(self._run_in_scope, first, count)
        try:
            while not call.done():
                concurrent.futures.wait([call], timeout=POLL_SECONDS)
                self.on_progress(first + int(self._done.numpy()))
                if self.stop_signal and self.num_workers == 1:  # several agree: see _agree
                    self._stop.assign(True)
            rows = call.result().numpy()
        except tf.errors.OpError as error:
            raise _unwrapped(error) from error
        finally:
            concurrent.futures.wait([call])
        unpacked = [self.step_function.unpack(row) for row in rows]
        values = {name: np.stack([each[name] for each in unpacked]) for name in unpacked[0]}
        self._agree()
        return Steps(first, values, time.monotonic() - started)

    def _agree(self):
        """Makes all processes stop after this call if one of them was asked to."""
        if self.num_workers == 1:
            return
        flag = tf.constant(int(self.stop_signal or 0))
        flags = self.strategy.run(lambda: tf.identity(flag))
        asked = int(self.strategy.reduce(tf.distribute.ReduceOp.SUM, flags, axis=None))
        if asked and self.stop_signal is None:
            self.stop_signal = signal.SIGTERM

    def _run_in_scope(self, first, count):
        with self.strategy.scope():
            return self._steps(self.iterator, constant(first), constant(count))

    @tf.function(autograph=False, reduce_retracing=True)
    def _steps(self, iterator, first, count):
        def one(i, go_on, rows):
            batch = iterator.get_next()
            row = self.strategy.run(self.step_function, args=(batch, first + i))
            row = self.strategy.experimental_local_results(row)[0]
            with tf.control_dependencies([row]):
                done = self._done.assign(i + 1)
            with tf.control_dependencies([done]):
                rows = rows.write(tf.cast(i, tf.int32), row)
                go_on = ~self._stop
                if self._checks_each_step:
                    go_on &= tf.reduce_all(tf.math.is_finite(row))
            return i + 1, go_on, rows

        with tf.control_dependencies([self._done.assign(0)]):
            rows = tf.TensorArray(tf.float32, size=0, dynamic_size=True, element_shape=[None])
            start = (tf.constant(0, tf.int64), tf.constant(True), rows)
        *_, rows = tf.while_loop(
            lambda i, go_on, _: go_on & (i < count), one, start, parallel_iterations=1
        )
        return rows.stack()


def constant(number):
    """Returns an int64 tensor. TensorFlow keeps the tensors of Python's own numbers for ever."""
    return tf.constant(np.int64(number))


def _unwrapped(error):
    """Returns the ValueError that reading the data raised inside TensorFlow, or the error."""
    found = re.search(r"ValueError: (.*)", error.message or "")
    return ValueError(found[1]) if found else error


def refuse_non_finite(steps, folder, warmup):
    """Stops a run that diverged.

    Args:
        steps: Steps with a learning_rate.
        folder: of the run's checkpoints.
        warmup: name of the hparam that lengthens the warm-up.
    Raises:
        NonFiniteLossError: a number is not finite; step, name and last checkpoint are named.
    """
    finite = {
        name: np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        for name, rows in steps.values.items()
    }
    is_good = np.all(list(finite.values()), axis=0)
    if is_good.all():
        return
    first = int(np.argmin(is_good))
    bad = [name for name, rows in finite.items() if not rows[first]]
    last_good = checkpoints.latest(folder) or "none was saved yet"
    raise NonFiniteLossError(
        f"Step {steps.first + first + 1}: {', '.join(bad)} not finite at learning rate "
        f"{steps.values['learning_rate'][first]:.3g}. Last good checkpoint: {last_good}. "
        f"Lower learning_rate, lengthen {warmup}, or use precision float32"
    )


@contextlib.contextmanager
def stopping_signals(loop):
    """While active, SIGTERM and SIGINT (Ctrl-C) end a loop after its current step.

    Python delivers signals to the main thread only: in another one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum, frame):
        loop.request_stop(signum)
        with contextlib.suppress(OSError):  # nobody reads any more
            os.write(2, b"\nStopping after the running step\n")  # print is not for handlers

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def next_boundary(step, last, *periods):
    """Returns the next step after `step` at which something is due.

    Args:
        step: now; last: the end of the run.
        periods: numbers of steps; 0 means never.

    >>> next_boundary(130, 1000, 100, 250)
    200
    """
    return min([last, *(step - step % period + period for period in periods if period)])
