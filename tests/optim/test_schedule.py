"""The learning rate: literal values, a NumPy reference, the official schedules."""

import json

import numpy as np
import pytest
import tensorflow as tf

from electra.optim.layerwise import layer_wise_multipliers
from electra.optim.schedule import learning_rate_at, rate_of_parts
from tests.shared import FIXTURES, TINY, assert_close, needs_fixtures

OFFICIAL_NAMES = {"warmup_steps": "num_warmup_steps"}


def rate_at(step, **settings):
    return float(learning_rate_at(tf.constant(step, tf.int64), **settings))


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (5, 0.375), (10, 0.5), (15, 0.25), (20, 0.0), (99, 0.0)]
)
def test_warm_up_and_decay_are_multiplied(step, expected):
    assert rate_at(step, learning_rate=1.0, num_train_steps=20, num_warmup_steps=10) == expected


@pytest.mark.parametrize("num_train_steps", [41, 47, 49, 823, 999999])
def test_the_rate_at_the_end_is_exactly_0(num_train_steps):
    assert rate_at(num_train_steps, learning_rate=1.0, num_train_steps=num_train_steps) == 0.0


def test_no_warm_up_starts_at_the_full_rate():
    assert rate_at(0, learning_rate=0.5, num_train_steps=4) == 0.5


def test_the_longer_warm_up_counts():
    settings = {"learning_rate": 1.0, "num_train_steps": 100, "lr_decay_power": 0.0}
    assert rate_at(5, num_warmup_steps=20, warmup_proportion=0.1, **settings) == 0.25
    assert rate_at(5, num_warmup_steps=10, warmup_proportion=0.2, **settings) == 0.25


def test_a_restart_is_the_schedule_of_the_remaining_steps():
    settings = {"learning_rate": 1.0, "num_warmup_steps": 4, "warmup_proportion": 0.5}
    for step in range(25):
        whole = rate_at(step, num_train_steps=20, lr_restart_step=8, **settings)
        if step < 8:
            assert whole == rate_at(step, num_train_steps=20, **settings)
        else:
            assert whole == rate_at(step - 8, num_train_steps=12, **settings)


def test_each_part_of_a_run_counts_from_its_own_first_step():
    parts = {
        0: lambda step: learning_rate_at(step, learning_rate=1.0, num_train_steps=4),
        4: lambda step: learning_rate_at(
            step, learning_rate=8.0, num_train_steps=8, num_warmup_steps=4
        ),
    }
    rates = [float(rate_of_parts(tf.constant(step, tf.int64), parts)) for step in range(13)]
    assert rates == [1.0, 0.75, 0.5, 0.25, 0.0, 1.75, 3.0, 3.75, 4.0, 3.0, 2.0, 1.0, 0.0]


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_formula_in_numpy(power):
    steps = np.arange(0, 60)
    expected = 0.1 * (1 - np.minimum(steps / 50, 1)) ** power * np.minimum(1, steps / 7)
    settings = {"learning_rate": 0.1, "num_train_steps": 50, "num_warmup_steps": 7}
    ours = [rate_at(step, lr_decay_power=power, **settings) for step in steps]
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-9)


@needs_fixtures
def test_official_schedules():
    for entry in json.loads((FIXTURES / "optimizer" / "schedules.json").read_text()):
        hparams = {OFFICIAL_NAMES.get(name, name): x for name, x in entry["hparams"].items()}
        decay = hparams.pop("layerwise_lr_decay_power", None)
        num_layers = hparams.pop("n_transformer_layers", None)
        for step, expected in entry["learning_rate_at_step"].items():
            rate = rate_at(int(step), **hparams)
            if decay is None:
                assert_close(rate, expected, 1e-6, atol=TINY)
                continue
            names = {fragment: f"electra/{fragment.strip('/')}/kernel" for fragment in expected}
            factors = layer_wise_multipliers(names.values(), decay=decay, num_layers=num_layers)
            ours = [rate * factors[names[fragment]] for fragment in expected]
            assert_close(ours, list(expected.values()), 2e-6, atol=TINY, each=True)
