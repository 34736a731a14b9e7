"""The training loop: many steps per call into the graph, and what happens between the calls.

Enters: what makes the steps of a call, see calls.py. Leaves: numbers per step, handed to
train/fit.py.
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

POLL_SECONDS = 0.2


@dataclasses.dataclass
class Steps:
    """Results of one call: `values[name]` has one row a step, the first is step `first` + 1.

    Attributes:
        seconds: of the steps but those in `untimed`.
        untimed: the steps that waited for a program to be compiled, by the number of updates
            before them; untimed_seconds: of these.
        waited: seconds, of both, that they waited for data; None where that was not measured.
    """

    first: int
    values: dict
    seconds: float
    untimed: list[int] = dataclasses.field(default_factory=list)
    untimed_seconds: float = 0.0
    waited: float | None = None

    def __len__(self):
        return len(next(iter(self.values.values())))


class Loop:
    """Makes steps in calls of some steps and can be stopped between two of them.

    Args:
        steps: GraphSteps or HostSteps: what makes the steps of a call.
        placement: Placement.
    Attributes:
        on_progress: called now and then with the number of steps made so far.
        on_compile: called before a first step, which waits for a program to be compiled.
        stop_signal: the signal that asked it to stop, or None.
    """

    def __init__(self, steps, placement):
        self.steps, self.placement = steps, placement
        self.on_progress = lambda steps: None
        self.on_compile = lambda: None
        self.stop_signal = None
        # The steps run in a thread of their own: a signal handler of Python's only runs while the
        # main thread is not inside TensorFlow. One for all calls: TensorFlow keeps something of
        # every thread that it ever ran in.
        self._thread = concurrent.futures.ThreadPoolExecutor(1)

    def request_stop(self, signum):
        """Ends the running call after its current step.

        It only sets an attribute: a handler may interrupt the main thread inside TensorFlow.
        """
        self.stop_signal = self.stop_signal or signum  # the first one is the exit status

    def run(self, first, count):
        """Makes up to `count` steps from step `first` on.

        Returns: Steps; fewer than `count` when a stop was requested, or where GraphSteps ended
            at a number that is not finite.
        """
        started = time.monotonic()
        self._pass_on_stop()
        if self.steps.is_new:
            self.on_compile()
        call = self._thread.submit(self.steps.run, first, count)
        try:
            while not call.done():
                concurrent.futures.wait([call], timeout=POLL_SECONDS)
                self.on_progress(first + self.steps.made)
                self._pass_on_stop()
            rows = call.result()
        except tf.errors.OpError as error:
            raise _unwrapped(error) from error
        finally:
            concurrent.futures.wait([call])
        unpacked = [self.steps.unpack(row) for row in rows]
        values = {name: np.stack([step[name] for step in unpacked]) for name in unpacked[0]}
        self._agree()
        untimed, untimed_seconds = self.untimed
        seconds = time.monotonic() - started - untimed_seconds
        return Steps(first, values, seconds, untimed, untimed_seconds, self.steps.waited())

    @property
    def timed(self):
        """(steps, seconds) of the running call so far, without the untimed ones."""
        return self.steps.timed

    @property
    def untimed(self):
        """Steps.untimed and Steps.untimed_seconds of the running call so far."""
        return self.steps.untimed, self.steps.untimed_seconds

    def _pass_on_stop(self):
        if self.stop_signal and self.placement.num_workers == 1:  # several agree: see _agree
            self.steps.stop()

    def _agree(self):
        """Makes all processes stop after this call if one of them was asked to."""
        if self.placement.num_workers == 1:
            return
        strategy = self.placement.strategy
        flag = tf.constant(int(self.stop_signal or 0))
        flags = strategy.run(lambda: tf.identity(flag))
        asked = int(strategy.reduce(tf.distribute.ReduceOp.SUM, flags, axis=None))
        if asked and self.stop_signal is None:
            self.stop_signal = signal.SIGTERM


def _unwrapped(error):
    """Returns the ValueError that reading the data raised inside TensorFlow, or the error."""
    match = re.search(r"ValueError: (.*)", error.message or "")
    return ValueError(match[1]) if match else error


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
