"""The element-wise chains between the matrix products, each one plain and one fast.

The plain version of every operation is written here in keras.ops, computes in float32 and returns
its input's dtype. The fast version is the same code as an island: a small function compiled by XLA,
with a backward pass that recomputes from the inputs and is compiled too. On a CPU that is several
times faster than TensorFlow's own element-wise kernels, while the matrix products stay with
TensorFlow (oneDNN), which XLA on CPU cannot match. On GPU and TPU the whole step is compiled, so
the plain versions are used.

`use_islands(True)` chooses, for all code traced afterwards.
"""

import contextlib
import functools

import tensorflow as tf
from keras import ops

from electra import random

LAYER_NORM_EPSILON = 1e-12
MASKED_SCORE = -10000.0  # added to attention scores of padding; not -inf, as the official code

_islands = False


@contextlib.contextmanager
def use_islands(enabled):
    """While active, operations traced are compiled islands (True) or plain (False)."""
    global _islands
    before, _islands = _islands, enabled
    try:
        yield
    finally:
        _islands = before


def _island(plain):
    """Decorator: makes the compiled twin of `plain(*tensors, *constants)`, chooses at each call."""
    compiled = {}

    def build(constants):
        forward = tf.function(lambda *xs: plain(*xs, *constants), jit_compile=True, autograph=False)

        @tf.function(jit_compile=True, autograph=False)
        def backward(dys, *xs):
            floats = [i for i, x in enumerate(xs) if x.dtype.is_floating]
            with tf.GradientTape() as tape:
                tape.watch([xs[i] for i in floats])
                ys = plain(*xs, *constants)
            return tape.gradient(ys, [xs[i] for i in floats], dys, unconnected_gradients="zero")

        @tf.custom_gradient
        def fast(*xs):
            def grad(*dys):
                grads = iter(backward(dys if len(dys) > 1 else dys[0], *xs))
                return [next(grads) if x.dtype.is_floating else None for x in xs]

            return forward(*xs), grad

        return fast

    @functools.wraps(plain)
    def call(*xs, constants=()):
        if not _islands:
            return plain(*xs, *constants)
        if constants not in compiled:
            compiled[constants] = build(constants)
        return compiled[constants](*[tf.convert_to_tensor(x) for x in xs])

    return call


def _float32(x):
    return ops.cast(x, "float32")


def _drop(x, noise, threshold):
    """Sets to 0 where the noise byte lies below the threshold, and scales the rest up."""
    return ops.where(noise >= threshold, x * (256.0 / (256 - threshold)), 0.0)


def _dropout_bytes(shape, rate, seed):
    """Returns the noise bytes and their threshold; dropout happens at threshold / 256.

    Differs from source: the rate is rounded to a 256th (0.1 becomes 26 / 256 = 0.1016).
    """
    threshold = min(round(rate * 256), 255)
    return random.random_bytes(seed, shape), threshold


# ---- dense + GELU -------------------------------------------------------------------------------


@_island
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


def _normalize(y, gamma, beta, dtype):
    mean = ops.mean(y, axis=-1, keepdims=True)
    centered = y - mean
    variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
    return ops.cast(centered * ops.rsqrt(variance + LAYER_NORM_EPSILON) * gamma + beta, dtype)


@_island
def _add_norm(x, bias, residual, gamma, beta):
    return _normalize(_float32(x) + bias + _float32(residual), gamma, beta, x.dtype)


@_island
def _drop_add_norm(x, bias, residual, gamma, beta, noise, threshold):
    dropped = _drop(_float32(x) + bias, noise, threshold)
    return _normalize(dropped + _float32(residual), gamma, beta, x.dtype)


@_island
def _drop_only(x, noise, threshold):
    return ops.cast(_drop(_float32(x), noise, threshold), x.dtype)


@_island
def layer_norm(x, gamma, beta):
    """LayerNorm over the last axis, statistics in float32.

    Args:
        x: (..., H); gamma, beta: (H,) float32.
    Returns: like x.
    """
    return _normalize(_float32(x), gamma, beta, x.dtype)


def dropout(x, rate, seed):
    """Dropout; the identity where seed is None or rate is 0."""
    if seed is None or not rate:
        return x
    noise, threshold = _dropout_bytes(x.shape, rate, seed)
    return _drop_only(x, noise, constants=(threshold,))


def dropout_add_layer_norm(x, bias, residual, gamma, beta, rate, seed):
    """LayerNorm(residual + dropout(x + bias)).

    Args:
        x, residual: (..., H) in the compute dtype, x without its bias yet.
        bias, gamma, beta: (H,) float32.
        rate: of the dropout; seed: random.Seed, or None for no dropout.
    Returns: like x.
    """
    if seed is None or not rate:
        return _add_norm(x, bias, residual, gamma, beta)
    noise, threshold = _dropout_bytes(x.shape, rate, seed)
    return _drop_add_norm(x, bias, residual, gamma, beta, noise, constants=(threshold,))


# ---- attention probabilities --------------------------------------------------------------------


def _softmax_float32(scores, mask_bias):
    y = _float32(scores) + mask_bias
    e = ops.exp(y - ops.stop_gradient(ops.max(y, axis=-1, keepdims=True)))
    return e / ops.sum(e, axis=-1, keepdims=True)


@_island
def _masked_softmax(scores, mask_bias):
    return ops.cast(_softmax_float32(scores, mask_bias), scores.dtype)


@_island
def _masked_softmax_drop(scores, mask_bias, noise, threshold):
    return ops.cast(_drop(_softmax_float32(scores, mask_bias), noise, threshold), scores.dtype)


def masked_softmax(scores, mask_bias, rate, seed):
    """Attention probabilities with dropout.

    Args:
        scores: (B, A, L, L) in the compute dtype, already scaled.
        mask_bias: (B, 1, 1 or L, L) float32, 0 or MASKED_SCORE.
        rate: of the dropout; seed: random.Seed, or None for no dropout.
    Returns: like scores.
    """
    if seed is None or not rate:
        return _masked_softmax(scores, mask_bias)
    noise, threshold = _dropout_bytes(scores.shape, rate, seed)
    return _masked_softmax_drop(scores, mask_bias, noise, constants=(threshold,))


# ---- vocabulary: cross-entropy and sampling -----------------------------------------------------


@_island
def cross_entropy(logits, bias, ids):
    """-log softmax(logits + bias)[ids]; the probabilities are never kept, only recomputed.

    Args:
        logits: (M, V) in the compute dtype; bias: (V,) float32; ids: (M,) int32.
    Returns: float32 (M,).
    """
    y = _float32(logits) + bias
    top = ops.stop_gradient(ops.max(y, axis=-1, keepdims=True))
    log_sum = ops.log(ops.sum(ops.exp(y - top), axis=-1)) + top[..., 0]
    chosen = ops.arange(y.shape[-1], dtype=ids.dtype) == ids[..., None]
    return log_sum - ops.sum(ops.where(chosen, y, 0.0), axis=-1)


@_island
def _sample(logits, bias, disallowed, uniform, temperature):
    vocab_size = logits.shape[-1]
    y = (_float32(logits) + bias) / temperature
    ids = ops.arange(vocab_size, dtype="int32")
    y = ops.where(ids == disallowed[:, None], y - 1000.0, y)
    p = ops.exp(y - ops.max(y, axis=-1, keepdims=True))
    # Two levels: find the block of the vocabulary, then the token within it. Each level is a
    # product with a triangle of ones, where one running sum over the vocabulary would be serial.
    block = max(1, round(vocab_size**0.5))
    blocks = -(-vocab_size // block)
    p = ops.reshape(ops.pad(p, [[0, 0], [0, blocks * block - vocab_size]]), (-1, blocks, block))
    ends = ops.matmul(ops.sum(p, axis=-1), ops.triu(ops.ones((blocks, blocks))))  # (M, blocks)
    target = uniform[:, None] * ends[:, -1:]
    chosen = ops.sum(ops.cast(ends <= target, "int32"), axis=-1)
    chosen = ops.minimum(chosen, blocks - 1)  # (M,)
    is_chosen = ops.arange(blocks, dtype="int32") == chosen[:, None]
    inside = ops.sum(ops.where(is_chosen[:, :, None], p, 0.0), axis=1)  # (M, block)
    before = ops.sum(ops.where(is_chosen, ends, 0.0), axis=-1) - ops.sum(inside, axis=-1)
    running = ops.matmul(inside, ops.triu(ops.ones((block, block)))) + before[:, None]
    offset = ops.sum(ops.cast(running <= target, "int32"), axis=-1)
    return ops.minimum(chosen * block + ops.minimum(offset, block - 1), vocab_size - 1)


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
    if disallowed is None:
        disallowed = ops.full((logits.shape[0],), -1, dtype="int32")
    drawn = _sample(logits, bias, disallowed, uniform, constants=(float(temperature),))
    return ops.stop_gradient(drawn)
