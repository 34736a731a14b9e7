"""The losses, as sums over positions divided by a given total.

Totals are those of the whole global batch, so that the gradients of replicas and micro-batches
add up to the gradient of one batch. Without a given total the batch at hand is the whole.
"""

from keras import ops

EPSILON = 1e-6  # in the denominator of the masked LM loss, as the official code has it


def masked_lm_loss(per_position, weights, total=None):
    """Weighted mean of the masked LM loss.

    Args:
        per_position, weights: float32 (B, N).
        total: scalar, sum of weights over the global batch.
    Returns: scalar.
    """
    total = ops.sum(weights) if total is None else total
    return ops.sum(per_position * weights) / (total + EPSILON)


def rtd_loss_per_token(logits, labels):
    """Binary cross-entropy of each token; logits float32 (B, L), labels 0 or 1 (B, L)."""
    labels = ops.cast(labels, "float32")
    return ops.relu(logits) - logits * labels + ops.log1p(ops.exp(-ops.abs(logits)))


def rtd_loss(per_token, input_mask, total=None):
    """Mean over all tokens that are not padding, [CLS] and [SEP] included.

    Args:
        per_token: float32 (B, L); input_mask: (B, L).
        total: scalar, number of tokens in the global batch.
    Returns: scalar.
    """
    weights = ops.cast(input_mask, "float32")
    total = ops.sum(weights) if total is None else total
    return ops.sum(per_token * weights) / total
