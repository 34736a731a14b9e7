"""What makes the steps of a call of the loop: a graph over a pipeline, or the host step by step.

Enters: a step under a strategy, and its batches. Leaves: a vector of numbers a step, how many steps
are made, how long they waited for programs and for data.
"""

import time

import numpy as np
import tensorflow as tf


class GraphSteps:
    """Makes the steps of a call in one graph, over a pipeline of batches of one shape.

    On a CPU a step with a number that is not finite ends the call; a step that is compiled as a
    whole goes on to the end of it.

    Args:
        step: Step, called as step(batch, number of the step) on every replica.
        placement: Placement.
        iterator: over the strategy's distributed batches.
        waiting: Waiting, in which the pipeline is measured; None where it is not.
    """

    def __init__(self, step, placement, iterator, waiting=None):
        self.step, self.unpack = step, step.unpack
        self.strategy, self.iterator = placement.strategy, iterator
        # Looking at a step's numbers between steps would make an accelerator wait for the host.
        self._checks_each_step = not placement.compile_step
        is_one_gpu = placement.device == "GPU" and placement.num_replicas == 1
        self._waits = self._checks_each_step or not is_one_gpu
        self._device = self.strategy.extended.worker_devices[0]
        with tf.device("CPU:0"):
            self._stop = tf.Variable(0, trainable=False)  # 1: after the running step
            self._made = tf.Variable(0, trainable=False)

        self.waited = waiting.take if waiting else lambda: None
        self.is_new, self.untimed, self.untimed_seconds = True, [], 0.0
        self._before = self._reached = 0
        self._timed_since = self._reached_at = 0.0

    def run(self, first, count):
        """Returns the numbers of each step, (steps, numbers).

        The first step of all is a call of its own: it waits for the program.
        """
        self.untimed, self.untimed_seconds = [], 0.0
        self._before = self._reached = 0
        self._timed_since = self._reached_at = started = time.monotonic()
        if not self.is_new:
            return self._call(first, count)
        self.untimed = [first]  # before the call: whoever watches it sees the step made in it
        rows = self._call(first, 1)
        self._timed_since = self._reached_at = time.monotonic()
        self.untimed_seconds = self._timed_since - started
        self.is_new = False  # last: `timed` may be asked meanwhile
        is_over = self._checks_each_step and not np.isfinite(rows).all()
        if count == 1 or is_over or self._stop.numpy():
            return rows
        self._made.assign(0)
        self._before = 1
        return np.concatenate([rows, self._call(first + 1, count - 1)])

    def _call(self, first, count):
        with self.strategy.scope():
            count = tf.constant(np.int32(count))
            run = self._run if self._waits else self._run_on_gpu
            return run(self.iterator, constant(first), count).numpy()

    @property
    def made(self):
        """Steps made so far in the running call."""
        reached = self._before + int(self._made.numpy())
        if reached > self._reached:
            self._reached, self._reached_at = reached, time.monotonic()
        return self._reached

    @property
    def timed(self):
        """(steps, seconds) of the running call so far, without the untimed ones."""
        if self.is_new:
            return 0, 0.0
        return self.made - len(self.untimed), max(self._reached_at - self._timed_since, 0.0)

    def stop(self):
        """Ends the running call after its current step."""
        self._stop.assign(1)

    @tf.function(autograph=False, reduce_retracing=True)
    def _run(self, iterator, first, count):
        # Counters of an accelerator's would make the host wait for it at every step.
        def one(i, go_on, rows):
            with tf.device("CPU:0"):
                step, place = first + i, tf.cast(i, tf.int32)
            row = _first_replicas(self.strategy, self.step, (iterator.get_next(), step))
            with tf.control_dependencies([row]), tf.device("CPU:0"):
                made = self._made.assign(tf.cast(i + 1, tf.int32))
            with tf.control_dependencies([made]):
                rows = rows.write(place, row)
                with tf.device("CPU:0"):
                    go_on = self._stop < 1
                    if self._checks_each_step:
                        go_on &= tf.reduce_all(tf.math.is_finite(row))
                    return i + 1, go_on, rows

        def is_due(i, go_on, _):
            with tf.device("CPU:0"):
                return go_on & (i < count)

        with tf.control_dependencies([self._made.assign(0)]):
            rows = tf.TensorArray(tf.float32, size=0, dynamic_size=True, element_shape=[None])
            with tf.device("CPU:0"):
                first, count = tf.identity(first), tf.cast(count, tf.int64)
                start = (tf.constant(0, tf.int64), tf.constant(True), rows)
        *_, rows = tf.while_loop(is_due, one, start, parallel_iterations=1)
        return rows.stack()

    @tf.function(autograph=False, reduce_retracing=True)
    def _run_on_gpu(self, iterator, first, count):
        # The loop is the device's. What it passes to the host is int32, which TensorFlow keeps in
        # the host's memory: another number, or a control edge, would wait for a GPU's step. One
        # edge is left, from reading a variable of the host's; two iterations let it wait behind.
        def one(i, end, step, rows):
            row = _first_replicas(self.strategy, self.step, (iterator.get_next(), step))
            with tf.device(self._device):
                rows = rows.write(i, row)
                with tf.control_dependencies([row]):
                    i, step = i + 1, step + 1
            with tf.device("CPU:0"), tf.control_dependencies([self._made.assign(i)]):
                stop = tf.identity(self._stop)
            with tf.device(self._device):
                end *= 1 - stop
            return i, end, step, rows

        def is_due(i, end, step, rows):
            with tf.device(self._device):
                return i < end

        with tf.control_dependencies([self._made.assign(0)]), tf.device(self._device):
            rows = tf.TensorArray(tf.float32, size=0, dynamic_size=True, element_shape=[None])
            start = (tf.constant(0), tf.identity(count), tf.identity(first), rows)
            *_, rows = tf.while_loop(is_due, one, start, parallel_iterations=2)
            return rows.stack()


class HostSteps:
    """Makes step after step, from batches that the host makes: their lengths may differ.

    Args:
        program: what `in_graph` returned of the step, made once for all runs of it.
        unpack: of that Step.
        inputs: function from a step to what the program takes.
    Attributes:
        made: steps made so far in the running call.
    """

    def __init__(self, program, unpack, inputs):
        self.program, self.unpack, self.inputs = program, unpack, inputs
        self.made, self.is_stopped = 0, False
        self.untimed, self.untimed_seconds, self._seconds, self._waited = [], 0.0, 0.0, 0.0
        # Of a tf.function; what is no such has no programs.
        self._count_programs = getattr(program, "experimental_get_tracing_count", lambda: None)

    @property
    def is_new(self):
        """Whether the next step waits for the first program."""
        return self._count_programs() == 0

    @property
    def timed(self):
        """(steps, seconds) of the running call so far, without the untimed ones."""
        return self.made - len(self.untimed), self._seconds

    def run(self, first, count):
        """Returns the numbers of each step, a list of vectors."""
        rows, self.made = [], 0
        self.untimed, self.untimed_seconds, self._seconds, self._waited = [], 0.0, 0.0, 0.0
        while len(rows) < count and not (rows and self.is_stopped):
            started, programs = time.monotonic(), self._count_programs()
            inputs = self.inputs(first + len(rows))
            self._waited += time.monotonic() - started
            rows.append(self.program(*inputs))
            seconds = time.monotonic() - started
            if self._count_programs() == programs:
                self._seconds += seconds
            else:
                self.untimed.append(first + len(rows) - 1)
                self.untimed_seconds += seconds
            self.made = len(rows)
        return [row.numpy() for row in rows]

    def waited(self):
        """Returns the seconds of the call in which its batches were made."""
        return self._waited

    def stop(self):
        """Ends the running call after its current step."""
        self.is_stopped = True


def in_graph(step, strategy):
    """Returns a function that makes a Step under a strategy: a graph for each shape."""
    return tf.function(lambda *inputs: _first_replicas(strategy, step, inputs), autograph=False)


def _first_replicas(strategy, step, inputs):
    """Returns the numbers of a step, which are equal on all replicas."""
    return strategy.experimental_local_results(strategy.run(step, args=inputs))[0]


def constant(number):
    """Returns an int64 tensor. TensorFlow keeps the tensors of Python's own numbers for ever."""
    return tf.constant(np.int64(number))
