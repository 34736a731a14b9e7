"""Evaluation on held-out records: the eight official metrics, and a look at corrupted sentences.

Enters: a model and batches in fixed order. Leaves: a dict of metrics.
"""

import functools
import os

import numpy as np
import tensorflow as tf

from electra import random
from electra.features import ROW
from electra.model import kernels
from electra.pretrain import metrics
from electra.pretrain.corrupted import readable_example
from electra.pretrain.objectives import loss_from_sums
from electra.storage import write_json, write_text

_SHOWN = ("input_ids", "input_mask", "corrupted_input_ids", "is_fake_tokens", "disc_logits")


class Evaluator:
    """Evaluates a model under a strategy; each evaluation masks and samples alike.

    Args:
        model: PretrainingModel.
        placement: Placement.
        batches: function that returns an iterator over dicts of int32 arrays input_ids,
            input_mask, segment_ids (B, L) and row (B,), all of one shape, the last one filled up
            with rows of zeros.
        num_slots: N.
        seed: of the run.
        log_unigram: float32 (V,) or None, see metrics.metric_sums.
    """

    def __init__(self, model, placement, batches, *, num_slots, seed, log_unigram=None):
        self.model, self.placement, self.batches = model, placement, batches
        self.num_slots = num_slots
        self.seed = random.Seed(seed).fold("evaluation")
        self.log_unigram = log_unigram

    def run(self):
        """Returns dict name -> float: the official metrics, then `loss` and the losses on slots
        that show [MASK] (see metrics.metrics_from_sums)."""
        total = {}
        for index, batch in enumerate(self.batches()):
            for name, value in self._run_batch(batch, index)["sums"].items():
                total[name] = total.get(name, 0.0) + value.numpy().astype(np.float64)
        loss = loss_from_sums(self.model.loss_terms, total)
        return {**metrics.metrics_from_sums(total), "loss": loss}

    def corrupted_examples(self, tokens, count=4):
        """Returns a few held-out examples as corrupted.readable_example gives them; [] without a
        discriminator.

        Args:
            tokens: the vocabulary's strings.
            count: number of examples at most.
        """
        shown = {k: v.numpy() for k, v in self._run_batch(next(self.batches()), 0)["shown"].items()}
        if "disc_logits" not in shown:
            return []
        lengths = shown.pop("input_mask").sum(axis=1)[:count]
        return [
            readable_example(tokens, **{name: rows[i, :length] for name, rows in shown.items()})
            for i, length in enumerate(lengths)
        ]

    def _run_batch(self, batch, index):
        """Returns {"sums": over all replicas, "shown": outputs of the first one}."""
        num_rows = len(batch[ROW])
        missing = -num_rows % self.placement.num_replicas
        padded = {k: np.pad(v, [(0, missing)] + [(0, 0)] * (v.ndim - 1)) for k, v in batch.items()}
        index = tf.constant(index, tf.int64)
        results = self._distributed(self.placement.spread(padded), index, num_rows)
        local_results = self.placement.strategy.experimental_local_results
        return tf.nest.map_structure(lambda x: local_results(x)[0], results)

    @tf.function(autograph=False)
    def _distributed(self, batch, index, num_rows):
        def on_replica(batch, index):
            results = compute(batch, index)
            if replicas > 1:
                context = tf.distribute.get_replica_context()
                total = context.all_reduce(tf.distribute.ReduceOp.SUM, results["sums"])
                results = {**results, "sums": total}
            return results

        compute = functools.partial(self.compute, num_rows=num_rows)
        replicas = self.placement.num_replicas
        if self.placement.compile_step and replicas == 1:
            compute = tf.function(compute, jit_compile=True, autograph=False)
        return self.placement.strategy.run(on_replica, args=(batch, index))

    def compute(self, batch, index, num_rows):
        """Evaluates a replica's share of a batch of `num_rows` rows, the one of that index.

        Returns: {"sums": dict as of metrics.metric_sums, "shown": dict of (B, L)}.
        """
        seed, model = self.seed.at(index), self.model
        masked = model.mask(batch, seed, num_rows, self.num_slots)
        with kernels.use_islands(not self.placement.compile_step):
            outputs = model(masked, sampling=masked["sampling"])
        sums = metrics.metric_sums(masked, outputs, model.special_ids, self.log_unigram)
        values = {**batch, **outputs}
        return {"sums": sums, "shown": {k: values[k] for k in _SHOWN if k in values}}


def write_results(path, results):
    """Writes metrics as `name = value` lines, as the official code does, and as JSON beside them.

    Args:
        path: of the text; its folder is made if missing.
        results: dict name -> number.
    Returns: the lines.
    """
    lines = [f"{name} = {value}" for name, value in sorted(results.items())]
    write_text(path, "\n".join(lines) + "\n")
    write_json(os.path.splitext(path)[0] + ".json", results)
    return "\n".join(lines)
