"""Tokens drawn of logits: their distribution, islands beside plain operations, edges."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from electra import random
from electra.model import kernels, vocab_kernels
from tests.model.test_kernels import SEED, floats


def chi_square(counts, probabilities):
    expected = counts.sum() * probabilities
    frequent = expected >= 10
    observed = np.append(counts[frequent], counts[~frequent].sum())
    expected = np.append(expected[frequent], expected[~frequent].sum())
    keep = expected > 0
    expected *= observed[keep].sum() / expected[keep].sum()
    return scipy.stats.chisquare(observed[keep], expected[keep]).pvalue


@pytest.mark.parametrize("islands", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_samples_follow_the_softmax(islands, temperature):
    draws, vocab_size = 40_000, 600
    logits, bias = floats(1, vocab_size, seed=3) * 2, floats(vocab_size, seed=4)
    with kernels.use_islands(islands):
        ids = vocab_kernels.sample(
            tf.repeat(logits, draws, axis=0),
            bias,
            random.uniform(SEED, (draws,)),
            temperature=temperature,
        ).numpy()
    exact = (logits[0] + bias).numpy().astype(np.float64)
    probabilities = scipy.special.softmax(exact / temperature)
    assert chi_square(np.bincount(ids, minlength=vocab_size), probabilities) > 1e-4


def test_islands_draw_the_tokens_that_plain_operations_draw():
    logits, bias = floats(300, 600, seed=3) * 2, floats(600, seed=4)
    plain = vocab_kernels.sample(logits, bias, random.uniform(SEED, (300,)))
    with kernels.use_islands(True):
        island = vocab_kernels.sample(logits, bias, random.uniform(SEED, (300,)))
    np.testing.assert_array_equal(plain, island)


def test_disallowed_tokens_are_never_drawn():
    logits = tf.repeat(tf.constant([[0.0, 9.0, 1.0]]), 2000, axis=0)
    ids = vocab_kernels.sample(
        logits, tf.zeros(3), random.uniform(SEED, (2000,)), disallowed=tf.ones(2000, tf.int32)
    ).numpy()
    counts = np.bincount(ids, minlength=3)
    assert counts[1] == 0
    assert abs(counts[2] / 2000 - np.e / (1 + np.e)) < 0.06


def test_sampling_at_the_ends_of_the_interval_stays_inside():
    logits = tf.zeros((2, 7))
    uniform = tf.constant([0.0, np.nextafter(np.float32(1), np.float32(0))])
    # The tokens stand in the order 0, 3, 6, 1, 4, 2, 5; see vocab_kernels._draw.
    np.testing.assert_array_equal(vocab_kernels.sample(logits, tf.zeros(7), uniform), [0, 5])
