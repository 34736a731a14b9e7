"""The element-wise chains between the matrix products of a layer, each one plain and one fast.

The plain version of every operation is written here in keras.ops, computes in float32 and returns
its input's dtype. The fast version is the same code as an island (see islands.py), most with a
backward pass written by hand, whose sums are faster than those that the tape finds.
"""

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
from electra.model.reductions import column_sum, float32, row_max, row_mean, row_sum

__all__ = [
    "attend",
    "bias_gelu",
    "dropout",
    "dropout_add_layer_norm",
    "hand_written_gradients",
    "islands_are_used",
    "layer_norm",
    "masked_softmax",
    "use_islands",
]

LAYER_NORM_EPSILON = 1e-12
MASKED_SCORE = -10000.0  # added to attention scores of padding; not -inf, as the official code


def _noise(rate, seed):
    """Returns (random.noise_words, rate), the arguments of an island with dropout."""
    if seed is None or not rate:
        return tf.zeros((2,), tf.uint32), 0.0
    return random.noise_words(seed) if isinstance(seed, random.Seed) else seed, float(rate)


def _drop(x, words, rate):
    """Dropout of float32 numbers; the same again for the same words."""
    if not rate:
        return x
    kept = random.hashed(words, x.shape) >= tf.constant(int(rate * 2**32), tf.uint32)
    return ops.where(kept, x * (1.0 / (1.0 - rate)), 0.0)


# ---- dense + GELU -------------------------------------------------------------------------------


@compiled
def _gelu_gradient(x, bias, dy):
    y = float32(x) + bias
    slope = 0.5 * (1.0 + ops.erf(y * 0.7071067811865476))
    slope = slope + y * ops.exp(-0.5 * y * y) * 0.3989422804014327
    return ops.cast(float32(dy) * slope, x.dtype)


def _gelu_backward(kept, dy):
    dx = _gelu_gradient(*kept, dy)
    return dx, column_sum(dx)


@island(backward=_gelu_backward)
def bias_gelu(x, bias):
    """erf GELU of x + bias.

    Args:
        x: (..., H) in the compute dtype.
        bias: (H,) float32.
    Returns: like x.
    Source: GELU of the paper's code is the erf form, not the tanh approximation.
    """
    y = float32(x) + bias
    return ops.cast(0.5 * y * (1.0 + ops.erf(y * 0.7071067811865476)), x.dtype)


# ---- (dropout, residual,) LayerNorm -------------------------------------------------------------


def _standardize(y):
    """Returns (y with mean 0 and variance 1 in each row, 1 / standard deviation)."""
    centered = y - row_mean(y)
    scale = ops.rsqrt(row_mean(ops.square(centered)) + LAYER_NORM_EPSILON)
    return centered * scale, scale


def _sum_to_norm(x, bias, residual, words, rate):
    return _drop(float32(x) + bias, words, rate) + float32(residual)


@compiled
def _drop_add_norm_backward(kept, dys, rate):
    x, bias, residual, gamma, _, words = kept
    y, scale = _standardize(_sum_to_norm(x, bias, residual, words, rate))
    d = float32(dys[0]) + float32(dys[1])
    dy = d * gamma
    dy = scale * (dy - row_mean(dy) - y * row_mean(dy * y))
    dx = _drop(dy, words, rate)
    dbias, dgamma, dbeta = column_sum(dx), column_sum(d * y), column_sum(d)
    return ops.cast(dx, x.dtype), dbias, ops.cast(dy, x.dtype), dgamma, dbeta


@island(backward=_drop_add_norm_backward)
def _drop_add_norm(x, bias, residual, gamma, beta, words, rate):
    y, _ = _standardize(_sum_to_norm(x, bias, residual, words, rate))
    y = ops.cast(y * gamma + beta, x.dtype)
    return y, y


@island
def _drop_only(x, words, rate):
    return ops.cast(_drop(float32(x), words, rate), x.dtype)


@island
def layer_norm(x, gamma, beta):
    """LayerNorm over the last axis, statistics in float32.

    Args:
        x: (..., H); gamma, beta: (H,) float32.
    Returns: like x.
    """
    return ops.cast(_standardize(float32(x))[0] * gamma + beta, x.dtype)


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
        seed: random.Seed, or the words that it would draw; None for no dropout.
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
    return dx, column_sum(dx)


@island(backward=_split_heads_backward)
def _split_heads(x, bias, heads):
    """(B, L, 3H) and (3H,) -> query, key, value (B, A, L, H/A)."""
    batch, length, width = ops.shape(x)
    size = width // (3 * heads)
    x = ops.reshape(x, (batch, length, 3, heads, size))
    bias = ops.reshape(bias, (3, heads, size))
    parts = [ops.cast(float32(x[:, :, i]) + bias[i], x.dtype) for i in range(3)]
    return tuple(ops.transpose(part, (0, 2, 1, 3)) for part in parts)


@island
def _merge_heads(x):
    """(B, A, L, H/A) -> (B, L, H)."""
    batch, heads, length, size = ops.shape(x)
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch, length, heads * size))


@compiled
def _softmax_backward(kept, dys, scale, rate):
    p, words = float32(kept[0]), kept[1]
    d = _drop(float32(dys[0]), words, rate) * p
    return ops.cast((d - p * row_sum(d)) * scale, kept[0].dtype), None


@island(backward=_softmax_backward, keeps=lambda xs, ys: (ys[1], xs[2]))
def _masked_softmax(scores, mask_bias, words, scale, rate):
    """Returns the probabilities with and without dropout."""
    y = float32(scores) * scale + mask_bias
    e = ops.exp(y - row_max(y))
    p = e * (1.0 / row_sum(e))
    return ops.cast(_drop(p, words, rate), scores.dtype), ops.cast(p, scores.dtype)


def masked_softmax(scores, mask_bias, scale, rate, seed):
    """Attention probabilities with dropout.

    Args:
        scores: (B, A, L, L) in the compute dtype.
        mask_bias: (B, 1, 1 or L, L) float32, 0 or MASKED_SCORE; gets no gradient.
        scale: that the scores are multiplied by.
        rate: of the dropout.
        seed: random.Seed, or the words that it would draw; None for no dropout.
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
            again = ops.cast(_drop(float32(p), words, rate), p.dtype)
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
    if seed is not None and not islands_are_used():  # else there is no dropout
        return _merge_heads(_weigh(scores, mask_bias, value, scale, rate, seed))
    return _merge_heads(tf.matmul(masked_softmax(scores, mask_bias, scale, rate, seed), value))
