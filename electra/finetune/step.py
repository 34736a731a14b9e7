"""One fine-tuning step, as every replica computes it.

Enters: a batch of one of few lengths, each length a program. Leaves: changed variables and numbers.
"""

import tensorflow as tf

from electra import random
from electra.model import kernels
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
        return super().__call__(batch, step, seed)

    def _step(self, batch, step, seed):
        gradients, sums = self._compile("gradients", self._gradients)(batch, step, seed)
        return self._update(gradients, sums, step)

    def _gradients(self, batch, step, seed):
        draw = step * self.num_replicas + tf.cast(replica_number(), tf.int64)
        seed = random.Seed("finetuning").fold("dropout").at(seed * 2**32 + draw)
        with tf.GradientTape() as tape, kernels.use_islands(not self.compile_step):
            outputs = self.model(batch, seed=seed, training=True)
            losses = self.model.task_losses(batch, outputs)
            loss = sum(losses)
        counts = tf.cast(batch["task_id"] >= 0, tf.float32)  # (B,)
        tokens = tf.reduce_sum(tf.cast(batch["input_mask"], tf.float32))
        sums = {"loss": loss, "examples": tf.reduce_sum(counts), "tokens": tokens}
        if len(losses) > 1:
            sums["task_losses"] = tf.stack(losses)
        return self._gradients_of(tape, loss), sums
