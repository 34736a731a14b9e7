"""One fine-tuning step, as every replica computes it, the loop of steps, and predictions.

Enters: batches of one of few lengths, each length a program; to predict, the features of a split.
Leaves: changed variables and numbers, or the outputs of the heads.
"""

import time

import numpy as np
import tensorflow as tf

from electra import random
from electra.model import kernels
from electra.train.loop import POLL_SECONDS, Steps, constant
from electra.train.step import Step, replica_number


class FinetuningStep(Step):
    """Forward, backward, update; the loss is the sum over the batch, as in the official code.

    The trial's seed is an input: one program serves all trials.

    Args: as in Step, of a FinetuningModel.
    """

    def __call__(self, batch, step, seed):
        """Runs in the replica context of strategy.run.

        Args:
            batch: dict as data/batches.padded makes it, this replica's share.
            step: int64 scalar, updates made so far.
            seed: int64 scalar below 2^31, of the trial; dropout is a function of (seed, step,
                replica).
        Returns: float32 vector, the numbers named in `outputs` one after another; summed over
            the global batch, equal on all replicas.
        """
        if self.num_replicas == 1:
            return self._compile("step", self._step)(batch, step, seed)
        return self._step(batch, step, seed)

    def _step(self, batch, step, seed):
        gradients, sums = self._compile("gradients", self._gradients)(batch, step, seed)
        return self._update(gradients, sums, step)

    def _gradients(self, batch, step, seed):
        draw = step * self.num_replicas + tf.cast(replica_number(), tf.int64)
        seed = random.Seed("finetuning").fold("dropout").at(seed * 2**32 + draw)
        with tf.GradientTape() as tape, kernels.use_islands(not self.compile_step):
            outputs = self.model(batch, seed=seed, training=True)
            loss = self.model.summed_loss(batch, outputs)
        counts = tf.cast(batch["task_id"] >= 0, tf.float32)  # (B,)
        tokens = tf.reduce_sum(tf.cast(batch["input_mask"], tf.float32))
        sums = {"loss": loss, "examples": tf.reduce_sum(counts), "tokens": tokens}
        return self._gradients_of(tape, loss), sums


class Programs:
    """Runs steps and predictions on the devices.

    Args:
        model: FinetuningModel.
        placement: Placement.
        step: FinetuningStep, or None to predict only.
    """

    def __init__(self, model, placement, step=None):
        self.step, self.model, self.placement = step, model, placement
        self.strategy = placement.strategy

    @tf.function(autograph=False)
    def train(self, batch, step, seed):
        """Makes a step; a program for each shape of the batch."""
        row = self.strategy.run(self.step, args=(batch, step, seed))
        return self.strategy.experimental_local_results(row)[0]


class FinetuningLoop:
    """Runs the steps of a trial and can be stopped between two of them.

    Args:
        programs: Programs.
        batches: function from a step to its batch, a dict of arrays.
        seed: of the trial.
    """

    def __init__(self, programs, batches, seed):
        self.programs, self.batches, self.seed = programs, batches, constant(seed)
        self.on_progress = lambda steps: None
        self.stop_signal = None

    def request_stop(self, signum):
        """Ends the running call after its current step."""
        self.stop_signal = signum

    def run(self, first, count):
        """Makes up to `count` steps from step `first` on. Returns: Steps."""
        started = shown = time.monotonic()
        rows = []
        for step in range(first, first + count):
            batch = self.programs.placement.spread(self.batches(step))
            rows.append(self.programs.train(batch, constant(step), self.seed))
            if time.monotonic() > shown + POLL_SECONDS:
                shown = time.monotonic()
                self.on_progress(step + 1)
            if self.stop_signal:
                break
        unpacked = [self.programs.step.unpack(row.numpy()) for row in rows]
        values = {name: np.stack([each[name] for each in unpacked]) for name in unpacked[0]}
        return Steps(first, values, time.monotonic() - started)
