import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from electra import random
from electra.model import kernels
from electra.model.config import encoder_config
from electra.model.embeddings import Embeddings
from electra.model.encoder import ElectraEncoder
from electra.stacked import by_official_name

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def tiny(**overrides):
    overrides = {**SIZES, **overrides}
    return encoder_config("small", vocab_size=50, embedding_size=16, overrides=overrides)


def batch(rows=3, length=12, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 50, (rows, length)).astype(np.int32)
    mask = (np.arange(length) < rng.integers(6, length + 1, (rows, 1))).astype(np.int32)
    segments = (np.arange(length) > 4).astype(np.int32) * mask
    return {
        k: tf.constant(v)
        for k, v in {"input_ids": ids * mask, "input_mask": mask, "segment_ids": segments}.items()
    }


@pytest.fixture
def encoder():
    keras.utils.set_random_seed(0)
    encoder = ElectraEncoder(tiny())
    encoder.build()
    return encoder


def test_variable_paths_are_the_official_names(encoder):
    paths = set(by_official_name({v.path: v for v in encoder.variables}))
    layer = "electra/encoder/layer_1"
    assert {
        "electra/embeddings/word_embeddings",
        "electra/embeddings/LayerNorm/gamma",
        "electra/embeddings_project/kernel",
        f"{layer}/attention/self/query/kernel",
        f"{layer}/attention/output/dense/bias",
        f"{layer}/attention/output/LayerNorm/beta",
        f"{layer}/intermediate/dense/kernel",
        f"{layer}/output/LayerNorm/gamma",
    } <= paths
    assert len(paths) == 5 + 2 + 2 * 16


def test_no_projection_where_the_widths_agree():
    encoder = ElectraEncoder(
        encoder_config("small", vocab_size=50, embedding_size=32, overrides=SIZES)
    )
    assert encoder.embeddings_project is None


def test_padding_does_not_change_what_real_tokens_see(encoder):
    inputs = batch()
    other = dict(inputs)
    noise = tf.random.stateless_uniform((3, 12), [1, 2], 5, 50, tf.int32)
    other["input_ids"] = tf.where(inputs["input_mask"] == 1, inputs["input_ids"], noise)
    real = tf.cast(inputs["input_mask"], tf.float32)[:, :, None]
    np.testing.assert_allclose(encoder(inputs) * real, encoder(other) * real, atol=1e-6)


def test_ltr_positions_do_not_see_what_follows():
    encoder = ElectraEncoder(tiny(), direction="ltr")
    encoder.build()
    inputs = batch()
    changed = inputs["input_ids"].numpy()
    changed[:, 5:] = 7
    other = dict(inputs, input_ids=tf.constant(changed))
    np.testing.assert_allclose(encoder(inputs)[:, :5], encoder(other)[:, :5], atol=1e-6)


def test_an_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="direction must be None, 'ltr' or 'rtl'. Received: 'l'"):
        ElectraEncoder(tiny(), direction="l")


def test_dropout_is_a_function_of_its_seed(encoder):
    inputs = batch()
    first, again = (encoder(inputs, seed=random.Seed(3, 5)).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - encoder(inputs, seed=random.Seed(3, 6)).numpy()).max() > 0.01
    assert np.abs(first - encoder(inputs).numpy()).max() > 0.01


def test_bfloat16_stays_near_float32(encoder):
    half = ElectraEncoder(tiny(), dtype="mixed_bfloat16")
    half.build()
    for mine, theirs in zip(half.variables, encoder.variables, strict=True):
        assert mine.dtype == "float32"
        mine.assign(theirs)
    inputs = batch()
    output = half(inputs)
    assert output.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(output, tf.float32), encoder(inputs), atol=0.1)


@pytest.mark.parametrize("islands", [False, True])
def test_one_program_takes_any_batch_and_length(encoder, islands):
    inputs = batch()
    unknown = {name: tf.TensorSpec((None, None), tf.int32) for name in inputs}

    @tf.function(input_signature=[unknown], autograph=False)
    def encode(inputs):
        with kernels.use_islands(islands):
            return encoder(inputs)

    for rows, length in ((3, 12), (1, 7)):
        inputs = batch(rows, length)
        np.testing.assert_allclose(encode(inputs), encoder(inputs), atol=1e-6)


@pytest.mark.parametrize("groups", [4, 3, 1])
@pytest.mark.parametrize(("islands", "xla"), [(False, False), (True, False), (False, True)])
def test_a_loop_over_the_layers_computes_what_layers_written_out_do(groups, islands, xla):
    """With dropout, forward and backward."""
    inputs, results = batch(), []
    for options in ({"scan_layers": True}, {"scan_layers": False}, {"recompute_layers": True}):
        keras.utils.set_random_seed(1)
        encoder = ElectraEncoder(
            tiny(num_hidden_layers=4, num_layer_groups=groups, initializer_range=0.2),
            **options,
        )
        encoder.build()

        @tf.function(autograph=False, jit_compile=xla)
        def gradients(encoder=encoder):
            with tf.GradientTape() as tape, kernels.use_islands(islands):
                output = encoder(inputs, seed=random.Seed(3, 5))
                loss = tf.reduce_sum(output[..., 0])
            values = [v.value for v in encoder.trainable_variables]
            return output, *map(tf.convert_to_tensor, tape.gradient(loss, values))

        results.append([each.numpy() for each in gradients()])
    close = 1e-5 if xla else 2e-6
    for loop, written_out, recomputed in zip(*results, strict=True):
        np.testing.assert_allclose(loop, written_out, atol=close * np.abs(written_out).max())
        np.testing.assert_allclose(recomputed, loop, atol=close * np.abs(loop).max())


@pytest.mark.parametrize(("recomputes", "kept"), [(False, 1), (True, 0)])
def test_a_loop_keeps_one_tensor_of_attention_or_none(recomputes, kept):
    """Of the loops' states in XLA's program; their rounds are known where all is computed anew."""
    encoder, inputs = ElectraEncoder(tiny(), recompute_layers=recomputes), batch(3, 12)
    encoder.build()

    @tf.function(jit_compile=True, autograph=False)
    def gradient(inputs):
        values = [v.value for v in encoder.trainable_variables]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(encoder(inputs, seed=random.Seed(3, 5))[..., 0])
        return tape.gradient(loss, values)

    hlo = gradient.experimental_get_compiler_ir(inputs)(stage="hlo")
    loops = [line for line in hlo.splitlines() if " while(" in line]
    assert len(loops) == 2
    layers, heads = encoder.config.num_hidden_layers, encoder.config.num_attention_heads
    for loop in loops:
        shapes = loop.split(" while(")[0]
        assert len(re.findall(rf"f32\[{layers},3,{heads},12,12\]", shapes)) == kept


def test_layers_of_a_group_share_their_weights():
    keras.utils.set_random_seed(1)
    shared = ElectraEncoder(tiny(num_hidden_layers=4, num_layer_groups=2))
    shared.build()
    names = by_official_name({v.path: v for v in shared.variables})
    assert {n.split("/")[2] for n in names if "/encoder/" in n} == {"layer_0", "layer_1"}
    own = ElectraEncoder(tiny(num_hidden_layers=4))
    own.build()
    for mine, theirs in zip(own.variables, shared.variables, strict=True):
        is_of_layers = "/layers/" in mine.path
        mine.assign(np.repeat(theirs, 2, axis=0) if is_of_layers else theirs)
    np.testing.assert_allclose(own(batch()), shared(batch()), atol=1e-6)


def test_get_config_round_trip(encoder):
    config = json.loads(json.dumps(encoder.get_config()))
    copy = ElectraEncoder.from_config(config)
    assert copy.get_config() == encoder.get_config()
    copy.build()
    copy.set_weights(encoder.get_weights())
    np.testing.assert_array_equal(copy(batch()), encoder(batch()))


def test_get_config_keeps_direction_and_precision():
    half = ElectraEncoder(tiny(), direction="rtl", name="generator_rtl", dtype="mixed_bfloat16")
    copy = ElectraEncoder.from_config(half.get_config())
    assert (copy.direction, copy.name) == ("rtl", "generator_rtl")
    assert copy.compute_dtype == "bfloat16" and copy.config == half.config


def test_seeds_make_equal_weights():
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        encoder = ElectraEncoder(tiny())
        encoder.build()
        weights.append(encoder.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(weights[0][0]).max() <= 2 * 0.02 + 1e-6  # truncated at two deviations


def test_calls_side_by_side_share_no_resource():
    """Grappler's memory optimizer makes a variable of a sum of three, named alike in all calls."""
    layer = Embeddings(tiny())
    layer.build()
    ids = tf.ones((2, 8), tf.int32)
    program = tf.function(lambda ids: layer(ids, ids, position_ids=ids), autograph=False)
    context.enable_graph_collection()
    try:
        program(ids)
        graphs = context.export_run_metadata().function_graphs
    finally:
        context.disable_graph_collection()
    nodes = [node for graph in graphs for node in graph.post_optimization_graph.node]
    assert any(node.op == "AddV2" for node in nodes)
    assert [node.name for node in nodes if node.op == "AddN" and len(node.input) > 2] == []
