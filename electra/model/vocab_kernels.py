"""What is computed of the logits over the vocabulary: cross-entropy, and tokens drawn of them.

Written as kernels.py is: each plain and as an island.
"""

import math

from keras import ops

from electra.model.islands import compiled, island
from electra.model.reductions import column_sum, float32, fold, row_max, row_sum


@compiled
def _cross_entropy_gradient(logits, bias, ids, log_sum, dy):
    p = ops.exp(float32(logits) + bias - log_sum[:, None])
    chosen = ops.arange(p.shape[-1], dtype="int32") == ids[:, None]
    return ops.cast(dy[:, None] * ops.where(chosen, p - 1.0, p), logits.dtype)


def _cross_entropy_backward(kept, dys):
    dlogits = _cross_entropy_gradient(*kept, dys[0])
    return dlogits, column_sum(dlogits)


@island(backward=_cross_entropy_backward, keeps=lambda xs, ys: (*xs, ys[1]))
def _cross_entropy(logits, bias, ids):
    """Returns the losses, and the logarithms of the sums that the softmax divides by."""
    y = float32(logits) + bias
    top = row_max(y)
    log_sum = (ops.log(row_sum(ops.exp(y - top))) + top)[:, 0]
    chosen = ops.take_along_axis(logits, ids[:, None], axis=1)[:, 0]
    return log_sum - (float32(chosen) + ops.take(bias, ids)), log_sum


def cross_entropy(logits, bias, ids):
    """-log softmax(logits + bias)[ids]; the probabilities are never kept, only recomputed.

    Args:
        logits: (M, V) in the compute dtype; bias: (V,) float32; ids: (M,) int32.
    Returns: float32 (M,).
    """
    return _cross_entropy(logits, bias, ids)[0]


@island
def _disallow(logits, ids):
    chosen = ops.arange(logits.shape[-1], dtype="int32") == ids[:, None]
    return ops.where(chosen, logits - 1000.0, logits)


@island
def _fold_weights(logits, bias, temperature):
    """Returns what `_draw` looks up: each row's maximum and folded exponentials."""
    y = (float32(logits) + bias) / temperature
    top = row_max(y)
    return top, fold(ops.add, ops.exp(y - top), -1)  # (M, 1), (M, V / terms)


@island
def _draw(logits, bias, top, folded, uniform, temperature):
    # In three levels, where one running sum over the vocabulary would be serial: with the folded
    # weights in rows of `width` find the column, then the row, then the token folded into both.
    size = folded.shape[-1]
    width = math.ceil(size**0.5)
    rows = -(-size // width)
    grid = ops.reshape(ops.pad(folded, [[0, 0], [0, rows * width - size]]), (-1, rows, width))
    columns = ops.sum(grid, axis=1)
    column, target = _pick(columns, uniform[:, None] * ops.sum(columns, axis=-1, keepdims=True))
    row, target = _pick(ops.take_along_axis(grid, column[:, None], axis=2)[..., 0], target)
    ids = row * width + column + size * ops.arange(logits.shape[-1] // size, dtype="int32")
    y = float32(ops.take_along_axis(logits, ids, axis=1)) + ops.take(bias, ids)
    term, _ = _pick(ops.exp(y / temperature - top), target)
    return ops.take_along_axis(ids, term, axis=1)[:, 0]


def _pick(p, target):
    """Finds where the running sum over (M, n) weights passes a target (M, 1).

    Returns: the index, int32 (M, 1), and what is left of the target there.
    """
    # A product with a triangle of ones; one running sum would be serial.
    ends = ops.matmul(p, ops.triu(ops.ones((p.shape[-1], p.shape[-1]))))
    target = ops.minimum(target, ends[:, -1:] * (1.0 - 2.0**-23))  # rounding may go beyond the end
    index = ops.sum(ops.cast(ends <= target, "int32"), axis=-1, keepdims=True)
    index = ops.minimum(index, p.shape[-1] - 1)
    return index, target - ops.take_along_axis(ends - p, index, axis=1)


def sample(logits, bias, uniform, *, temperature=1.0, disallowed=None):
    """Draws one token a row from softmax((logits + bias) / temperature), by inverse CDF.

    Args:
        logits: (M, V) in the compute dtype; bias: (V,) float32.
        uniform: float32 (M,) in [0, 1), one number a draw.
        temperature: divides the logits.
        disallowed: int32 (M,), a token of each row that shall not be drawn (1000 is taken from
            its logit), or None.
    Returns: int32 (M,), no gradient.
    """
    if disallowed is not None:
        logits = _disallow(logits, disallowed)
    constants = (float(temperature),)
    top, folded = _fold_weights(logits, bias, constants=constants)
    return ops.stop_gradient(_draw(logits, bias, top, folded, uniform, constants=constants))
