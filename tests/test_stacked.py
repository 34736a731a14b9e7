"""Stacked variables behind their official names."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from electra.stacked import assign, by_official_name, parts_of

KERNEL = "electra/encoder/layers/attention/self/query_key_value/kernel"
GAMMA = "electra/encoder/layers/output/LayerNorm/gamma"


@pytest.fixture(params=[tf.Variable, keras.Variable])
def variables(request):
    rng = np.random.default_rng(0)
    shapes = {KERNEL: (2, 4, 3, 4), GAMMA: (2, 4), "electra/embeddings/word_embeddings": (5, 4)}
    return {k: request.param(rng.normal(size=s).astype("float32")) for k, s in shapes.items()}


def test_every_layer_has_the_official_names():
    assert parts_of("task_specific/cola/dense/bias", 2) == {"task_specific/cola/dense/bias": ()}
    assert list(parts_of(GAMMA + "/adam_m", 2)) == [
        "electra/encoder/layer_0/output/LayerNorm/gamma/adam_m",
        "electra/encoder/layer_1/output/LayerNorm/gamma/adam_m",
    ]
    assert list(parts_of(KERNEL, 1)) == [
        f"electra/encoder/layer_0/attention/self/{each}/kernel"
        for each in ("query", "key", "value")
    ]


def test_a_part_reads_as_a_variable_does(variables):
    named = by_official_name(variables)
    assert len(named) == 2 * 3 + 2 + 1
    key = named["electra/encoder/layer_1/attention/self/key/kernel"]
    expected = variables[KERNEL].numpy()[1, :, 1]
    assert (key.shape, key.dtype) == ((4, 4), variables[KERNEL].dtype)
    for found in (key.numpy(), key.value, key, tf.convert_to_tensor(key)):
        np.testing.assert_array_equal(found, expected)
    gamma = named["electra/encoder/layer_1/output/LayerNorm/gamma"]
    np.testing.assert_array_equal(gamma, variables[GAMMA].numpy()[1])
    words = "electra/embeddings/word_embeddings"
    assert named[words] is variables[words]


def test_assigning_parts_leaves_the_others(variables):
    before, named = variables[KERNEL].numpy(), by_official_name(variables)
    named["electra/encoder/layer_0/attention/self/value/kernel"].assign(np.full((4, 4), 7.0))
    before[0, :, 2] = 7.0
    np.testing.assert_array_equal(variables[KERNEL], before)
    values = {name: np.full(each.shape, i) for i, (name, each) in enumerate(named.items())}
    assign(named, values.get)
    for name, each in named.items():
        np.testing.assert_array_equal(each, values[name])
