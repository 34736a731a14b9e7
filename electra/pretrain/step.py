"""One pre-training step, as every replica computes it: mask, forward, backward, update.

Enters: a replica's share of a global batch, and the step. Leaves: changed variables, and numbers.
"""

import tensorflow as tf

from electra import random
from electra.model import kernels
from electra.pretrain import metrics
from electra.pretrain.objectives import TERMS
from electra.train.step import Step, replica_number

_TRAINING_OUTPUTS = (  # what is logged of them
    *(term.losses for term in TERMS),
    "disc_logits",
    "is_fake_tokens",
)


class PretrainingStep(Step):
    """The computation of a pre-training step.

    Args:
        model: PretrainingModel.
        optimizer, num_replicas, compile_step: as in Step.
        seed: of the run; masking, sampling and dropout are functions of (seed, step, row in the
            global batch).
        global_batch: examples of one update.
        num_slots: N.
        micro_batches: parts in which a replica computes its share, one after another.
    """

    def __init__(
        self,
        model,
        optimizer,
        *,
        seed,
        global_batch,
        num_slots,
        micro_batches=1,
        num_replicas=1,
        compile_step=False,
    ):
        super().__init__(model, optimizer, num_replicas, compile_step)
        self.seed, self.global_batch, self.num_slots = seed, global_batch, num_slots
        self.micro_batches = micro_batches

    def __call__(self, batch, step):
        """Runs in the replica context of strategy.run.

        Args:
            batch: dict of int32 input_ids, input_mask, segment_ids (b, L), row (b,).
            step: int64 scalar, updates made so far.
        Returns: float32 vector, the numbers named in `outputs` one after another; summed over
            the global batch, equal on all replicas.
        """
        return super().__call__(batch, step)

    def _step(self, batch, step):
        masked = self._compile("mask", self._mask)(batch, step)
        totals = self._sum_over_replicas(self.model.loss_totals(masked))
        gradients, sums = self._compile("gradients", self._gradients)(masked, totals, step)
        return self._update(gradients, sums, step)

    def _mask(self, batch, step):
        seed = random.Seed(self.seed, step)
        return self.model.mask(batch, seed, self.global_batch, self.num_slots)

    def _gradients(self, masked, totals, step):
        """Returns the gradients and the sums of this replica's share."""
        if self.micro_batches == 1:
            return self._micro_batch(masked, totals, step, 0)
        size = masked["input_ids"].shape[0] // self.micro_batches

        def part(i):
            return {
                k: tf.slice(v, [i * size] + [0] * (len(v.shape) - 1), [size, *v.shape[1:]])
                for k, v in masked.items()
            }

        first = self._micro_batch(part(0), totals, step, 0)
        flat = tf.nest.flatten(first)

        def add(i, *so_far):
            more = tf.nest.flatten(self._micro_batch(part(i), totals, step, i))
            return (i + 1, *[a + b for a, b in zip(so_far, more, strict=True)])

        _, *flat = tf.while_loop(
            lambda i, *_: i < self.micro_batches,
            add,
            (1, *flat),
            parallel_iterations=1,
            maximum_iterations=self.micro_batches - 1,
        )
        return tf.nest.pack_sequence_as(first, flat)

    def _micro_batch(self, masked, totals, step, index):
        seed = random.Seed(self.seed).fold("dropout").at(step)
        if self.num_replicas * self.micro_batches > 1:
            seed = seed.of_part(replica_number() * self.micro_batches + index)
        with tf.GradientTape() as tape, kernels.use_islands(not self.compile_step):
            outputs = self.model(masked, seed=seed, sampling=masked["sampling"], totals=totals)
        logged = {name: outputs[name] for name in _TRAINING_OUTPUTS if name in outputs}
        sums = metrics.metric_sums(masked, logged, self.model.special_ids)
        return self._gradients_of(tape, outputs["total_loss"]), sums
