"""The element-wise chains between the matrix products, each one plain and one fast.

The plain version of every operation is written here in keras.ops, computes in float32 and returns
its input's dtype. The fast version is the same code as an island (see islands.py), most with a
backward pass written by hand, whose sums are faster than those that the tape finds.
"""

import functools
import math

import tensorflow as tf
from keras import ops

from electra import random
from electra.model.islands import (
    compiled,
    hand_written_gradients,
    island,
    islands_are_used,
    use_islands,
)

__all__ = [
    "attend",
    "bias_gelu",
    "cross_entropy",
    "dropout",
    "dropout_add_layer_norm",
    "hand_written_gradients",
    "islands_are_used",
    "layer_norm",
    "masked_softmax",
    "sample",
    "use_islands",
]

LAYER_NORM_EPSILON = 1e-12
MASKED_SCORE = -10000.0  # added to attention scores of padding; not -inf, as the official code


def _float32(x):
    return ops.cast(x, "float32")


def _fold(combine, y, axis):
    """Shortens an axis by combining up to 15 slices of it element by element.

    XLA on CPU writes all of y to memory before it reduces it, but fuses a few element-wise
    operations with the computation of y. An axis of unknown length is left as it is.
    """
    terms = 1
    while (y.shape[axis] or 0) > 32:
        factor = next((n for n in (2, 3, 5, 7) if y.shape[axis] % n == 0), 16)
        terms *= factor
        if terms > 15:
            break
        y = functools.reduce(combine, ops.split(y, factor, axis=axis))
    return y


def _row_max(y):
    y = _fold(ops.maximum, y, -1) if islands_are_used() else y
    return ops.stop_gradient(ops.max(y, axis=-1, keepdims=True))


def _row_sum(y):
    y = _fold(ops.add, y, -1) if islands_are_used() else y
    return ops.sum(y, axis=-1, keepdims=True)


def _row_mean(y):
    return _row_sum(y) * (1.0 / y.shape[-1])


@compiled
def _column_sum(y):
    """Sum over all axes but the last."""
    y = ops.reshape(_float32(y), (-1, y.shape[-1]))
    return ops.sum(_fold(ops.add, y, 0) if islands_are_used() else y, axis=0)


def _noise(rate, seed):
    """Returns (random words uint32 (2,), rate), the arguments of an island with dropout."""
    if seed is None or not rate:
        return tf.zeros((2,), tf.uint32), 0.0
    return random.words(seed, (2,)) if isinstance(seed, random.Seed) else seed, float(rate)


def _drop(x, words, rate):
    """Dropout of float32 numbers; the same again for the same words."""
    if not rate:
        return x
    kept = random.hashed(words, x.shape) >= tf.constant(int(rate * 2**32), tf.uint32)
    return ops.where(kept, x * (1.0 / (1.0 - rate)), 0.0)


# ---- dense + GELU -------------------------------------------------------------------------------


@compiled
def _gelu_gradient(x, bias, dy):
    y = _float32(x) + bias
    slope = 0.5 * (1.0 + ops.erf(y * 0.7071067811865476))
    slope = slope + y * ops.exp(-0.5 * y * y) * 0.3989422804014327
    return ops.cast(_float32(dy) * slope, x.dtype)


def _gelu_backward(kept, dy):
    dx = _gelu_gradient(*kept, dy)
    return dx, _column_sum(dx)


@island(backward=_gelu_backward)
def bias_gelu(x, bias):
    """erf GELU of x + bias.

    Args:
        x: (..., H) in the compute dtype.
        bias: (H,) float32.
    Returns: like x.
    Source: GELU of the paper's code is the erf form, not the tanh approximation.
    """
    y = _float32(x) + bias
    return ops.cast(0.5 * y * (1.0 + ops.erf(y * 0.7071067811865476)), x.dtype)


# ---- (dropout, residual,) LayerNorm -------------------------------------------------------------


def _standardize(y):
    """Returns (y with mean 0 and variance 1 in each row, 1 / standard deviation)."""
    centered = y - _row_mean(y)
    scale = ops.rsqrt(_row_mean(ops.square(centered)) + LAYER_NORM_EPSILON)
    return centered * scale, scale


def _sum_to_norm(x, bias, residual, words, rate):
    return _drop(_float32(x) + bias, words, rate) + _float32(residual)


@compiled
def _drop_add_norm_backward(kept, dys, rate):
    x, bias, residual, gamma, _, words = kept
    y, scale = _standardize(_sum_to_norm(x, bias, residual, words, rate))
    d = _float32(dys[0]) + _float32(dys[1])
    dy = d * gamma
    dy = scale * (dy - _row_mean(dy) - y * _row_mean(dy * y))
    dx = _drop(dy, words, rate)
    dbias, dgamma, dbeta = _column_sum(dx), _column_sum(d * y), _column_sum(d)
    return ops.cast(dx, x.dtype), dbias, ops.cast(dy, x.dtype), dgamma, dbeta


@island(backward=_drop_add_norm_backward)
def _drop_add_norm(x, bias, residual, gamma, beta, words, rate):
    y, _ = _standardize(_sum_to_norm(x, bias, residual, words, rate))
    y = ops.cast(y * gamma + beta, x.dtype)
    return y, y


@island
def _drop_only(x, words, rate):
    return ops.cast(_drop(_float32(x), words, rate), x.dtype)


@island
def layer_norm(x, gamma, beta):
    """LayerNorm over the last axis, statistics in float32.

    Args:
        x: (..., H); gamma, beta: (H,) float32.
    Returns: like x.
    """
    return ops.cast(_standardize(_float32(x))[0] * gamma + beta, x.dtype)


def dropout(x, rate, seed):
    """Dropout; the identity where seed is None or rate is 0; seed: see masked_softmax."""
    words, rate = _noise(rate, seed)
    return _drop_only(x, words, constants=(rate,)) if rate else x


def dropout_add_layer_norm(x, bias, residual, gamma, beta, rate, seed):
    """LayerNorm(residual + dropout(x + bias)).

    Args:
        x, residual: (..., H) in the compute dtype, x without its bias yet.
        bias, gamma, beta: (H,) float32.
        rate: of the dropout.
        seed: random.Seed, or the words that it would draw, uint32 (2,); None for no dropout.
    Returns: like x, twice: for the next product and the next residual, whose gradients are then
        summed in the island.
    """
    words, rate = _noise(rate, seed)
    return _drop_add_norm(x, bias, residual, gamma, beta, words, constants=(rate,))


# ---- attention ----------------------------------------------------------------------------------


def _as_words(x):
    """Views bfloat16 as whole numbers, which XLA on CPU moves without making them float32."""
    return tf.bitcast(x, tf.uint16) if x.dtype == tf.bfloat16 else x


@compiled
def _join_heads(dys):
    batch, heads, length, size = ops.shape(dys[0])
    dys = [ops.transpose(_as_words(dy), (0, 2, 1, 3)) for dy in dys]
    return ops.concatenate([ops.reshape(dy, (batch, length, heads * size)) for dy in dys], axis=-1)


def _split_heads_backward(kept, dys, heads):
    dx = tf.bitcast(_join_heads(dys), dys[0].dtype)
    return dx, _column_sum(dx)


@island(backward=_split_heads_backward)
def _split_heads(x, bias, heads):
    """(B, L, 3H) and (3H,) -> query, key, value (B, A, L, H/A)."""
    batch, length, width = ops.shape(x)
    size = width // (3 * heads)
    x = ops.reshape(x, (batch, length, 3, heads, size))
    bias = ops.reshape(bias, (3, heads, size))
    parts = [ops.cast(_float32(x[:, :, i]) + bias[i], x.dtype) for i in range(3)]
    return tuple(ops.transpose(part, (0, 2, 1, 3)) for part in parts)


@island
def _merge_heads(x):
    """(B, A, L, H/A) -> (B, L, H)."""
    batch, heads, length, size = ops.shape(x)
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch, length, heads * size))


@compiled
def _softmax_backward(kept, dys, scale, rate):
    p, words = _float32(kept[0]), kept[1]
    d = _drop(_float32(dys[0]), words, rate) * p
    return ops.cast((d - p * _row_sum(d)) * scale, kept[0].dtype), None


@island(backward=_softmax_backward, keeps=lambda xs, ys: (ys[1], xs[2]))
def _masked_softmax(scores, mask_bias, words, scale, rate):
    """Returns the probabilities with and without dropout."""
    y = _float32(scores) * scale + mask_bias
    e = ops.exp(y - _row_max(y))
    p = e * (1.0 / _row_sum(e))
    return ops.cast(_drop(p, words, rate), scores.dtype), ops.cast(p, scores.dtype)


def masked_softmax(scores, mask_bias, scale, rate, seed):
    """Attention probabilities with dropout.

    Args:
        scores: (B, A, L, L) in the compute dtype.
        mask_bias: (B, 1, 1 or L, L) float32, 0 or MASKED_SCORE; gets no gradient.
        scale: that the scores are multiplied by.
        rate: of the dropout.
        seed: random.Seed, or the words that it would draw, uint32 (2,); None for no dropout.
    Returns: like scores.
    """
    words, rate = _noise(rate, seed)
    return _masked_softmax(scores, mask_bias, words, constants=(scale, rate))[0]


def _weigh(scores, mask_bias, value, scale, rate, seed):
    """Multiplies masked_softmax with the values; for the backward pass one of the probabilities
    before and after dropout is kept, where an island's product would keep the other one too."""
    words, rate = _noise(rate, seed)

    @tf.custom_gradient
    def product(scores, value):
        dropped, p = _masked_softmax(scores, mask_bias, words, constants=(scale, rate))

        def gradient(dy):
            again = ops.cast(_drop(_float32(p), words, rate), p.dtype)
            dp = tf.matmul(dy, value, transpose_b=True)
            with use_islands(False):
                dscores, _ = _softmax_backward((p, words), (dp,), scale, rate)
            return dscores, tf.matmul(again, dy, transpose_a=True)

        return tf.matmul(dropped, value), gradient

    return product(scores, value)


def attend(x, bias, mask_bias, heads, rate, seed):
    """Multi-head attention, between the products that make its inputs and take its output.

    Args:
        x: (B, L, 3H) in the compute dtype: query, key and value side by side, without bias.
        bias: (3H,) float32.
        heads: A.
        mask_bias, rate, seed: see masked_softmax.
    Returns: (B, L, H).
    """
    query, key, value = _split_heads(x, bias, constants=(heads,))
    scores = tf.matmul(query, key, transpose_b=True)  # (B, A, L, L)
    scale = query.shape[-1] ** -0.5
    if not islands_are_used():
        return _merge_heads(_weigh(scores, mask_bias, value, scale, rate, seed))
    return _merge_heads(tf.matmul(masked_softmax(scores, mask_bias, scale, rate, seed), value))


# ---- vocabulary: cross-entropy and sampling -----------------------------------------------------


@compiled
def _cross_entropy_gradient(logits, bias, ids, log_sum, dy):
    p = ops.exp(_float32(logits) + bias - log_sum[:, None])
    chosen = ops.arange(p.shape[-1], dtype="int32") == ids[:, None]
    return ops.cast(dy[:, None] * ops.where(chosen, p - 1.0, p), logits.dtype)


def _cross_entropy_backward(kept, dys):
    dlogits = _cross_entropy_gradient(*kept, dys[0])
    return dlogits, _column_sum(dlogits)


@island(backward=_cross_entropy_backward, keeps=lambda xs, ys: (*xs, ys[1]))
def _cross_entropy(logits, bias, ids):
    """Returns the losses, and the logarithms of the sums that the softmax divides by."""
    y = _float32(logits) + bias
    top = _row_max(y)
    log_sum = (ops.log(_row_sum(ops.exp(y - top))) + top)[:, 0]
    chosen = ops.take_along_axis(logits, ids[:, None], axis=1)[:, 0]
    return log_sum - (_float32(chosen) + ops.take(bias, ids)), log_sum


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
    y = (_float32(logits) + bias) / temperature
    top = _row_max(y)
    return top, _fold(ops.add, ops.exp(y - top), -1)  # (M, 1), (M, V / terms)


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
    y = _float32(ops.take_along_axis(logits, ids, axis=1)) + ops.take(bias, ids)
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
