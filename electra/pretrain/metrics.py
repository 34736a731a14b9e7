"""The eight official metrics, from sums that add over batches, replicas and steps.

`metric_sums` runs in the graph on one batch; add its dicts up, then `metrics_from_sums` gives the
numbers.
"""

import numpy as np
from keras import ops

from electra.features import MASKED_LM_IDS, MASKED_LM_POSITIONS, MASKED_LM_WEIGHTS
from electra.pretrain import objectives

METRICS = (
    "masked_lm_accuracy",
    "masked_lm_loss",
    "sampled_masked_lm_accuracy",
    "disc_loss",
    "disc_auc",
    "disc_accuracy",
    "disc_precision",
    "disc_recall",
)
# As tf.metrics.auc: 200 thresholds, of which the outer two lie just outside [0, 1].
THRESHOLDS = np.float32([-1e-7, *(np.arange(1, 199) / 199), 1.0 + 1e-7])


def metric_sums(batch, outputs, special_ids, log_unigram=None, auc_counts_padding=False):
    """Sums over one batch.

    Args:
        batch: masked batch (see masking.mask_tokens). Rows without any token count for nothing.
        outputs: what PretrainingModel returned for it.
        special_ids: dict with the ids "cls", "sep", "mask".
        log_unigram: float32 (V,) log probabilities of the training text's unigram, or None; adds
            the sums of the two losses on slots that show [MASK].
        auc_counts_padding: the official code counts padding as correctly judged originals.
    Returns: dict of float32 scalars and two (200,) histograms.
    """
    per_example = ops.sum(ops.cast(batch["input_mask"], "float32"), axis=1)  # (B,)
    sums = {
        "examples": ops.sum(ops.cast(per_example > 0, "float32")),
        "tokens": ops.sum(per_example),
    }
    for term in objectives.TERMS:
        if term.losses in outputs:
            sums |= term.sums(batch, outputs, special_ids)
    weights, ids = batch[MASKED_LM_WEIGHTS], batch[MASKED_LM_IDS]
    if "mlm_preds" in outputs:
        sums["masked_lm_accuracy"] = _count(outputs["mlm_preds"] == ids, weights)
        shown = ops.take_along_axis(batch["masked_input_ids"], batch[MASKED_LM_POSITIONS], axis=1)
        shown = weights * ops.cast(shown == special_ids["mask"], "float32")  # (B, N)
        sums["mask_slots"] = ops.sum(shown)
        sums["mask_slot_loss"] = ops.sum(outputs["mlm_per_position_loss"] * shown)
        if log_unigram is not None:
            sums["unigram_slot_loss"] = -ops.sum(ops.take(log_unigram, ids) * shown)
    if "sampled_ids" in outputs:
        sums["sampled_masked_lm_accuracy"] = _count(outputs["sampled_ids"] == ids, weights)
    if "disc_logits" in outputs:
        sums.update(_discriminator_sums(batch, outputs, auc_counts_padding))
    return sums


def _discriminator_sums(batch, outputs, auc_counts_padding):
    mask = ops.cast(batch["input_mask"], "float32")
    labels = ops.cast(outputs["is_fake_tokens"], "float32") * mask
    logits, loss = outputs["disc_logits"], outputs["disc_per_token_loss"]
    predictions = ops.cast(logits > 0, "float32")
    correct = ops.cast(predictions == labels, "float32")
    tokens = ops.sum(mask, axis=1)  # (B,)
    probs = ops.sigmoid(logits) * mask
    # The number of thresholds below a probability, 1 to 199, is its place in the histogram.
    place = ops.searchsorted(ops.convert_to_tensor(THRESHOLDS), ops.reshape(probs, (-1,)))
    place = place + len(THRESHOLDS) * ops.cast(ops.reshape(labels, (-1,)), "int32")
    counted = ops.reshape(ops.ones_like(mask) if auc_counts_padding else mask, (-1,))
    histograms = ops.segment_sum(counted, place, num_segments=2 * len(THRESHOLDS))
    original, replaced = ops.split(histograms, 2)
    return {
        "disc_loss": ops.sum(ops.sum(loss * mask, axis=1) / (tokens + 1e-6)),
        "disc_accuracy": ops.sum(correct * mask),
        "predicted": ops.sum(predictions * mask),
        "disc_precision": ops.sum(correct * predictions * mask),
        "replaced": ops.sum(labels),
        "disc_recall": ops.sum(correct * labels),
        "histogram_replaced": replaced,
        "histogram_original": original,
    }


def _count(hits, weights):
    return ops.sum(ops.cast(hits, "float32") * weights)


def metrics_from_sums(sums):
    """Turns added-up sums into metrics.

    Args:
        sums: dict of floats and arrays, from metric_sums.
    Returns: dict name -> float, the official metrics that the sums allow for, plus
        mask_slot_loss and unigram_slot_loss (nat) where they were counted.
    """
    per = {
        "masked_lm_accuracy": "masked",
        "masked_lm_loss": "masked",
        "sampled_masked_lm_accuracy": "masked",
        "disc_loss": "examples",
        "disc_accuracy": "tokens",
        "disc_precision": "predicted",
        "disc_recall": "replaced",
        "mask_slot_loss": "mask_slots",
        "unigram_slot_loss": "mask_slots",
    }
    metrics = {
        name: float(sums[name]) / float(sums[count]) if sums[count] else 0.0
        for name, count in per.items()
        if name in sums
    }
    if "histogram_replaced" in sums:
        metrics["disc_auc"] = auc(sums["histogram_replaced"], sums["histogram_original"])
    order = [*METRICS, "mask_slot_loss", "unigram_slot_loss"]
    return {name: metrics[name] for name in order if name in metrics}


def auc(histogram_replaced, histogram_original):
    """Area under the ROC curve by the trapezoidal rule over the 200 thresholds.

    Args:
        histogram_replaced, histogram_original: (200,) counts; index = thresholds below.
    Returns: float; 0.0 when one of both kinds is missing.
    Source: tf.metrics.auc (TensorFlow 1), which the official code calls.
    """

    def rates(histogram):
        histogram = np.asarray(histogram, np.float64)
        above = histogram[::-1].cumsum()[::-1]  # above[i]: probabilities over threshold i - 1
        return np.append(above[1:], 0.0) / max(histogram.sum(), 1e-6)

    true_positive, false_positive = rates(histogram_replaced), rates(histogram_original)
    heights = (true_positive[:-1] + true_positive[1:]) / 2
    return float(np.sum((false_positive[:-1] - false_positive[1:]) * heights))
