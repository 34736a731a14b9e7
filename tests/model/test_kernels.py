"""The islands are held to the plain operations, forward and backward; dropout to its law."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from electra import random
from electra.model import kernels, vocab_kernels

SEED = random.Seed(1, 2)


def floats(*shape, seed=0, dtype=tf.float32):
    return tf.cast(tf.random.stateless_normal(shape, [seed, len(shape)]), dtype)


def cases(dtype):
    x = floats(6, 72, seed=1, dtype=dtype)  # more than 32 and no multiple of it
    residual = floats(6, 72, seed=2, dtype=dtype)
    bias, gamma, beta = (floats(72, seed=s) for s in (3, 4, 5))
    scores = floats(2, 3, 4, 4, seed=6, dtype=dtype)
    mask_bias = tf.constant([[[[0.0, 0, 0, kernels.MASKED_SCORE]]]] * 2)
    qkv = floats(2, 4, 72, seed=9, dtype=dtype)
    logits, vocab_bias = floats(5, 40, seed=7, dtype=dtype), floats(40, seed=8)
    ids = tf.constant([0, 3, 39, 7, 7])
    return {
        "bias_gelu": (kernels.bias_gelu, [x, bias]),
        "layer_norm": (kernels.layer_norm, [x, gamma, beta]),
        "dropout": (lambda y: kernels.dropout(y, 0.3, SEED), [x]),
        "add_layer_norm": (
            lambda *a: tf.concat(kernels.dropout_add_layer_norm(*a, 0.1, None), -1),
            [x, bias, residual, gamma, beta],
        ),
        "dropout_add_layer_norm": (
            lambda *a: tf.concat(kernels.dropout_add_layer_norm(*a, 0.3, SEED), -1),
            [x, bias, residual, gamma, beta],
        ),
        "masked_softmax": (
            lambda s: kernels.masked_softmax(s, mask_bias, 0.5, 0.1, None),
            [scores],
        ),
        "masked_softmax_dropout": (
            lambda s: kernels.masked_softmax(s, mask_bias, 0.5, 0.3, SEED),
            [scores],
        ),
        "attend": (lambda y, b: kernels.attend(y, b, mask_bias, 3, 0.3, SEED), [qkv, bias]),
        "cross_entropy": (
            lambda x, b: vocab_kernels.cross_entropy(x, b, ids),
            [logits, vocab_bias],
        ),
    }


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
@pytest.mark.parametrize("name", cases(tf.float32))
def test_island_equals_plain_forward_and_backward(name, dtype):
    function, inputs = cases(dtype)[name]
    results = []
    for islands in (False, True):
        with tf.GradientTape() as tape, kernels.use_islands(islands):
            tape.watch(inputs)
            output = function(*inputs)
            loss = tf.reduce_sum(tf.cast(output, tf.float32) * floats(*output.shape, seed=9))
        results.append([output, *tape.gradient(loss, inputs)])
    # In bfloat16 both round the same float32 numbers; sums may differ by one rounding.
    tolerance = 2e-6 if dtype == tf.float32 else 1e-2
    for plain, island in zip(*results, strict=True):
        assert plain.dtype == island.dtype
        plain, island = (tf.cast(t, tf.float32).numpy() for t in (plain, island))
        np.testing.assert_allclose(island, plain, atol=tolerance * np.abs(plain).max())


def test_gelu_is_the_erf_form():
    x = np.linspace(-4, 4, 101).astype(np.float32)
    expected = x * scipy.stats.norm.cdf(x)
    np.testing.assert_allclose(kernels.bias_gelu(x, np.zeros(101, np.float32)), expected, atol=1e-6)


def test_layer_norm_of_tiny_numbers_needs_its_small_epsilon():
    x = tf.constant([[1e-4, -1e-4, 2e-4, -2e-4]])
    y = kernels.layer_norm(x, tf.ones(4), tf.zeros(4)).numpy()
    np.testing.assert_allclose(y.std(), 1.0, atol=1e-3)  # 1e-6 instead of 1e-12 would give 0.16


def test_dropout_drops_its_share_and_keeps_the_mean():
    x = tf.ones((400, 1000))
    y = kernels.dropout(x, 0.1, SEED).numpy()
    n, rate = y.size, 0.1
    dropped = (y == 0).sum()
    assert abs(dropped - n * rate) < 5 * np.sqrt(n * rate * (1 - rate))
    np.testing.assert_allclose(y[y > 0], 1 / (1 - rate), rtol=1e-6)


def test_dropout_of_neighbours_and_of_other_draws_is_independent():
    def dropped(seed):
        return kernels.dropout(tf.ones((400, 1024)), 0.1, seed).numpy().ravel() == 0

    first = dropped(SEED)
    expected = first.size * 0.1**2
    pairs = {f"{lag} further": (first[lag:], first[:-lag]) for lag in (1, 2, 16, 256, 1024)}
    pairs["next step"] = (first, dropped(SEED.at(3)))
    pairs["another layer"] = (first, dropped(SEED.fold("layer")))
    for name, (a, b) in pairs.items():
        assert abs((a & b).sum() - expected) < 5 * np.sqrt(expected), name
    rows = first.reshape(-1, 1024).sum(axis=1)
    assert abs(rows.var() / (1024 * 0.1 * 0.9) - 1) < 5 * np.sqrt(2 / len(rows))


def test_dropout_is_the_same_in_islands_and_differs_between_seeds():
    x = tf.ones((30, 50))
    plain = kernels.dropout(x, 0.3, SEED).numpy()
    with kernels.use_islands(True):
        np.testing.assert_array_equal(kernels.dropout(x, 0.3, SEED), plain)
        assert not np.array_equal(kernels.dropout(x, 0.3, SEED.at(3)), plain)


def test_dropout_just_below_1_keeps_something_finite():
    y = kernels.dropout(tf.ones((64, 1024)), 0.999, SEED).numpy()
    assert np.isfinite(y).all()
    assert 0 < np.count_nonzero(y) < y.size / 100
