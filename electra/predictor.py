"""Runs a model over many inputs of different lengths: batches, shared rows, devices.

Enters: a function of a batch, and the features of many inputs. Leaves: what it gave each of them.
"""

import functools
from concurrent import futures

import tensorflow as tf

from electra import console
from electra.data import batches
from electra.model import kernels

_LARGEST_BATCH = 1 << 12  # features, of a call that has no more


class Predictor:
    """Predicts with the weights as they are; needs no training run.

    Args:
        encoder: ElectraEncoder of the model; its kernels are cast once for all batches of a call.
        placement: electra.train.strategy.Placement.
        few_shapes: whether batches are padded to few shapes: where many calls follow, each with a
            part of an endless input, programs and memory stay few.
    """

    def __init__(self, encoder, placement, few_shapes=False):
        self.encoder, self.placement, self.few_shapes = encoder, placement, few_shapes
        self._programs, self._lengths = {}, {}

    def run(
        self,
        key,
        forward,
        features,
        *,
        batch_size,
        max_seq_length,
        packs=True,
        leave=(),
        progress="",
    ):
        """Runs `forward` over all features.

        Args:
            key: hashable, of which the last is a task's name: equal keys stand for equal
                `forward` and share its programs, one for each shape of a batch.
            forward: function (batch, weights) -> dict name -> (B, ...); batch is a dict as
                data/batches.padded makes it, weights go to the encoder.
            features: electra.data.features.Features.
            batch_size: features of a batch; max_seq_length: L.
            packs: whether short features share a row, and a batch holds as many as make no more
                tokens; not on several replicas, nor where XLA compiles each shape.
            leave: names of features that `forward` does not read.
            progress: what the progress bar is called; "" for none.
        Returns: dict name -> list of what `forward` gave for each feature, in their order.
        Raises:
            ValueError: batch_size is no integer of at least 1.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(
                f"batch_size must be an integer of at least 1. Received: {batch_size!r:.80}"
            )
        lengths, replicas = features.lengths(), self.placement.num_replicas
        batch_size = min(batch_size, max(_LARGEST_BATCH, len(lengths)))  # memory goes with it
        batch_size, calls = -(-batch_size // replicas) * replicas, self.placement.calls_at_once
        # Rows that are shared make batches of many shapes, each a program.
        packs = packs and replicas == 1 and not self.placement.compile_step
        shortest = batches.SHARED_ROW if packs else 0
        chosen = batches.choose_lengths(lengths, max_seq_length, 2 * batch_size, shortest)
        if self.placement.compile_step:
            chosen = [self._length_of_program((key, batch_size), chosen[-1])]
        if packs:
            tokens = batch_size * max_seq_length
            plan = batches.plan_packed(lengths, chosen, tokens, calls, self.few_shapes)
        else:
            plan = batches.plan(lengths, chosen, batch_size)
        program = self._program(key, forward)
        weights = self._compute_weights() if replicas == 1 else None

        def predict(batch):
            arrays = batches.padded({key[-1]: features}, batch, leave=leave)
            if packs:
                arrays |= batches.packed(lengths, batch)
            found = program(self.placement.spread(arrays), weights)
            return {name: value.numpy() for name, value in found.items()}

        outputs = {}
        with (
            futures.ThreadPoolExecutor(calls) as pool,
            console.bar(
                total=len(lengths), desc=progress, disable=not progress, leave=False
            ) as bar,
        ):
            for number, (batch, found) in enumerate(
                zip(plan, pool.map(predict, plan), strict=True)
            ):
                move = bar.update if number else functools.partial(console.move_untimed, bar)
                move(len(batch.rows))
                for name, rows in found.items():
                    column = outputs.setdefault(name, [None] * len(lengths))
                    for row, values in zip(batch.rows, rows, strict=False):
                        column[row] = values
        return outputs

    @tf.function(autograph=False)
    def _compute_weights(self):
        return self.encoder.compute_weights()

    def _length_of_program(self, key, length):
        """Returns the length of batches, that of an earlier call where it is not twice too long:
        to compile another program takes longer than to compute some padding."""
        known = self._lengths.setdefault(key, set())
        chosen = min((n for n in known if length <= n <= 2 * length), default=length)
        known.add(chosen)
        return chosen

    def _program(self, key, forward):
        if key in self._programs:
            return self._programs[key]
        compiles = self.placement.compile_step

        def predict(batch, weights):
            with kernels.use_islands(not compiles):
                return forward(batch, weights)

        if compiles:
            predict = tf.function(predict, jit_compile=True, autograph=False)
        strategy = self.placement.strategy

        @tf.function(autograph=False)
        def distributed(batch, weights):
            parts = strategy.run(predict, args=(batch, weights))
            local = strategy.experimental_local_results
            return tf.nest.map_structure(lambda x: tf.concat(local(x), axis=0), parts)

        self._programs[key] = distributed
        return distributed
