"""ELECTRA's Adam: a hand example, a NumPy reference, the official trajectories, replicas."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from electra.optim.adamw import AdamW
from electra.optim.layerwise import layer_wise_multipliers
from electra.optim.schedule import learning_rate_at
from electra.stacked import by_official_name
from tests.shared import FIXTURES, TINY, assert_close, needs_fixtures

CASES = FIXTURES / "optimizer" / "constant_gradients.json"


def tenth(step):
    return tf.constant(0.1)


def numpy_adamw(values, gradients, steps, rate, decay, excluded=("bias", "LayerNorm")):
    """The update restated on plain arrays; gradients stay the same in every step."""
    values = {name: np.array(value, np.float64) for name, value in values.items()}
    m = {name: np.zeros_like(value) for name, value in values.items()}
    v = {name: np.zeros_like(value) for name, value in values.items()}
    norm = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients.values()))
    for _ in range(steps):
        for name, gradient in gradients.items():
            g = gradient * min(1.0, 1.0 / norm)
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g * g
            change = m[name] / (np.sqrt(v[name]) + 1e-6)
            if not any(part in name for part in excluded):
                change = change + decay * values[name]
            values[name] = values[name] - rate * change
    return values


@pytest.mark.parametrize("compiled", [True, False])
def test_one_step_by_hand(compiled):
    # Norm 5, so the gradients become 0.6 and 0.8; m = 0.06, 0.08; v = 0.00036, 0.00064;
    # m / sqrt(v) = 3.162278 for both, less what epsilon takes.
    variables = {"a/kernel": tf.Variable([1.0]), "a/bias": tf.Variable([1.0])}
    optimizer = AdamW(variables, learning_rate=tenth, compiled=compiled)
    rate, norm = optimizer.apply([tf.constant([3.0]), tf.constant([4.0])], tf.constant(0))
    assert (float(rate), float(norm)) == (np.float32(0.1), 5.0)
    np.testing.assert_allclose(variables["a/kernel"], [1 - 0.1 * (3.162111 + 0.01)], rtol=1e-6)
    np.testing.assert_allclose(variables["a/bias"], [1 - 0.1 * 3.162153], rtol=1e-6)
    np.testing.assert_allclose(optimizer.slots["a/kernel/adam_m"], [0.06], rtol=1e-6)
    np.testing.assert_allclose(optimizer.slots["a/bias/adam_v"], [0.00064], rtol=1e-5)


def network():
    random = np.random.RandomState(1)
    shapes = {
        "electra/embeddings/word_embeddings": (7, 3),
        "electra/encoder/layer_0/output/LayerNorm/gamma": (5,),
        "electra/encoder/layer_0/output/dense/kernel": (3, 5),
        "electra/encoder/layer_0/output/dense/bias": (5,),
    }
    start = {name: random.randn(*shape).astype(np.float32) for name, shape in shapes.items()}
    return start, {name: random.randn(*shape).astype(np.float32) for name, shape in shapes.items()}


def outer_graph(optimizer, gradients, steps):
    tf.function(lambda: [optimizer.apply(gradients, tf.constant(0)) for _ in range(steps)])()


def outer_xla(optimizer, gradients, steps):
    @tf.function(jit_compile=True)
    def step():
        optimizer.apply(gradients, tf.constant(0))

    for _ in range(steps):
        step()


def graph_loop(optimizer, gradients, steps):
    @tf.function
    def loop(count):
        for step in tf.range(count):
            optimizer.apply(gradients, step)

    loop(tf.constant(steps))


def eager(optimizer, gradients, steps):
    for _ in range(steps):
        optimizer.apply(gradients, tf.constant(0))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("run", [eager, outer_graph, outer_xla, graph_loop])
def test_every_way_of_running_gives_the_numpy_reference(run, compiled):
    start, gradients = network()
    variables = {name: keras.Variable(value) for name, value in start.items()}
    optimizer = AdamW(variables, learning_rate=tenth, weight_decay_rate=0.05, compiled=compiled)
    run(optimizer, [tf.constant(each) for each in gradients.values()], 3)
    expected = numpy_adamw(start, gradients, steps=3, rate=0.1, decay=0.05)
    for name in start:
        np.testing.assert_allclose(variables[name], expected[name], rtol=1e-5, atol=1e-6)


def test_rates_of_single_variables_are_scaled_with_their_decay():
    start, gradients = network()
    first = next(iter(start))
    variables = {name: tf.Variable(value) for name, value in start.items()}
    optimizer = AdamW(variables, learning_rate=tenth, rate_multipliers={first: 0.5}, compiled=False)
    eager(optimizer, list(gradients.values()), 2)
    expected = numpy_adamw(start, gradients, steps=2, rate=0.05, decay=0.01)
    np.testing.assert_allclose(variables[first], expected[first], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_stacked_variable_is_updated_as_its_layers_would_be(compiled):
    random = np.random.RandomState(2)
    shapes = {"attention/self/query_key_value/kernel": (2, 3, 3, 3), "output/dense/bias": (2, 3)}
    start = {f"electra/encoder/layers/{k}": random.randn(*s) for k, s in shapes.items()}
    start = {name: value.astype(np.float32) for name, value in start.items()}
    gradients = {name: random.randn(*v.shape).astype(np.float32) for name, v in start.items()}
    names = by_official_name(start)
    multipliers = layer_wise_multipliers(names, decay=0.5, num_layers=2)
    results = []
    for split in (False, True):
        each = (
            (by_official_name(start), by_official_name(gradients)) if split else (start, gradients)
        )
        variables = {name: tf.Variable(np.array(value)) for name, value in each[0].items()}
        optimizer = AdamW(
            variables, learning_rate=tenth, rate_multipliers=multipliers, compiled=compiled
        )
        eager(optimizer, [tf.constant(np.array(g)) for g in each[1].values()], 2)
        results.append({**by_official_name(variables), **optimizer.slots})
    for name, value in results[1].items():
        np.testing.assert_allclose(results[0][name], value, rtol=1e-5, err_msg=name)
    assert len(results[1]) == 3 * len(names) == 24


def test_a_small_gradient_is_not_clipped_and_a_given_norm_counts():
    for norm, expected in ((None, 0.01), (0.5, 0.01), (4.0, 0.0025)):
        variable = tf.Variable([0.0])
        optimizer = AdamW({"kernel": variable}, learning_rate=tenth, compiled=False)
        _, reported = optimizer.apply([tf.constant([0.1])], tf.constant(0), norm=norm)
        np.testing.assert_allclose(optimizer.slots["kernel/adam_m"], [expected], rtol=1e-6)
        assert float(reported) == np.float32(norm or 0.1)


def test_rows_of_equal_id_are_summed():
    variable = tf.Variable(tf.zeros((3, 2)))
    optimizer = AdamW({"table": variable}, learning_rate=tenth, compiled=False)
    rows = tf.IndexedSlices(tf.constant([[0.1, 0.0], [0.2, 0.0]]), tf.constant([1, 1]), (3, 2))
    _, norm = optimizer.apply([rows], tf.constant(0))
    assert float(norm) == pytest.approx(0.3)
    np.testing.assert_allclose(
        optimizer.slots["table/adam_m"], [[0, 0], [0.03, 0], [0, 0]], rtol=1e-6
    )


def test_a_variable_without_gradient_is_left_alone():
    variables = {"kernel": tf.Variable([1.0]), "other": tf.Variable([1.0])}
    optimizer = AdamW(variables, learning_rate=tenth, compiled=False)
    optimizer.apply([tf.constant([0.1]), None], tf.constant(0))
    assert variables["other"].numpy() == 1.0
    assert variables["kernel"].numpy() != 1.0


def test_bad_input_is_refused():
    variables = {"kernel": tf.Variable([1.0])}
    with pytest.raises(ValueError, match="no variables to train"):
        AdamW({}, learning_rate=tenth)
    with pytest.raises(ValueError, match=r"name no variable: \['kernal'\]"):
        AdamW(variables, learning_rate=tenth, rate_multipliers={"kernal": 0.5})
    optimizer = AdamW(variables, learning_rate=tenth)
    with pytest.raises(ValueError, match="expected 1 gradients. Received: 2"):
        optimizer.apply([None, None], tf.constant(0))
    with pytest.raises(ValueError, match="every gradient is None"):
        optimizer.apply([None], tf.constant(0))


@pytest.mark.parametrize("compiled", [True, False])
def test_two_replicas_update_as_one_device_does(compiled):
    start, gradients = network()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        variables = {name: keras.Variable(value) for name, value in start.items()}
        optimizer = AdamW(variables, learning_rate=tenth, weight_decay_rate=0.05, compiled=compiled)

    def step():
        context = tf.distribute.get_replica_context()
        index = tf.cast(context.replica_id_in_sync_group, tf.float32)
        # A quarter of the gradient on the first replica, three quarters on the second.
        own = [each * (0.25 + 0.5 * index) for each in gradients.values()]
        return optimizer.apply(context.all_reduce("SUM", own), tf.constant(0))

    @tf.function
    def loop(count):
        for _ in tf.range(count):
            strategy.run(step)

    loop(tf.constant(3))
    expected = numpy_adamw(start, gradients, steps=3, rate=0.1, decay=0.05)
    for name, variable in variables.items():
        first, second = strategy.experimental_local_results(variable.value)
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(first, expected[name], rtol=1e-5, atol=1e-6)
    for slot in optimizer.slots.values():
        np.testing.assert_array_equal(*strategy.experimental_local_results(slot))


def close_to_official(ours, official):
    assert_close(ours, official, 2e-6, atol=TINY)


def official_gradients(arrays, case, names, shapes):
    """Returns the case's gradients, gathered tables as tf.IndexedSlices."""
    result = []
    for name in names:
        if f"{case}/gradient/{name}" in arrays:
            result.append(tf.constant(arrays[f"{case}/gradient/{name}"]))
        else:
            rows = tf.constant(arrays[f"{case}/gradient_rows/{name}"])
            ids = tf.constant(arrays[f"{case}/gradient_row_ids/{name}"])
            result.append(tf.IndexedSlices(rows, ids, shapes[name]))
    return result


@needs_fixtures
@pytest.mark.parametrize("case", json.loads(CASES.read_text()) if CASES.exists() else [])
@pytest.mark.parametrize("compiled", [True, False])
def test_official_trajectories_of_constant_gradients(case, compiled):
    official = json.loads(CASES.read_text())[case]
    arrays = np.load(CASES.with_suffix(".npz"))
    hparams = dict(official["hparams"])
    prefix = f"{case}/start/"
    start = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
    variables = {name: tf.Variable(value) for name, value in start.items()}
    decay = hparams.pop("layerwise_lr_decay_power", None)
    num_layers = hparams.pop("n_transformer_layers", None)
    weight_decay_rate = hparams.pop("weight_decay_rate")
    hparams["num_warmup_steps"] = hparams.pop("warmup_steps", 0)
    multipliers = (
        layer_wise_multipliers(start, decay=decay, num_layers=num_layers) if decay else None
    )
    optimizer = AdamW(
        variables,
        learning_rate=lambda step: learning_rate_at(step, **hparams),
        rate_multipliers=multipliers,
        weight_decay_rate=weight_decay_rate,
        compiled=compiled,
        **{name: official[name] for name in ("beta_1", "beta_2", "epsilon", "clip_norm")},
    )
    gradients = official_gradients(
        arrays, case, start, {name: value.shape for name, value in start.items()}
    )
    for k, expected in enumerate(official["steps"]):
        rate, _ = optimizer.apply(
            gradients,
            tf.constant(expected["global_step_before"], tf.int64),
            norm=expected["gradient_norm_official"],
        )
        close_to_official(
            tf.linalg.global_norm([tf.convert_to_tensor(each) for each in gradients]),
            expected["gradient_norm_dense"],
        )
        for name, variable in variables.items():
            factor = multipliers[name] if multipliers else 1.0
            close_to_official(rate * factor, expected["learning_rate"][name])
            close_to_official(variable, arrays[f"{case}/step_{k}/{name}"])
    for name in variables:
        for slot in ("adam_m", "adam_v"):
            close_to_official(
                optimizer.slots[f"{name}/{slot}"], arrays[f"{case}/final_{slot}/{name}"]
            )
