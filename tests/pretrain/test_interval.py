"""The numbers of a log line."""

import types

import numpy as np
import pytest

from electra.pretrain.interval import PretrainingInterval
from electra.pretrain.objectives import loss_terms
from electra.saving.checkpoints import Checkpoint
from electra.train.loop import Steps

MODEL = types.SimpleNamespace(loss_terms=loss_terms("electra", False, 1.0, 50.0))


def steps(count, seconds):
    ones = np.ones(count, np.float32)
    values = {"examples": 8 * ones, "tokens": 100 * ones}
    values |= {"masked": ones, "masked_lm_loss": 3 * ones}
    return Steps(0, {**values, "learning_rate": ones, "grad_norm": ones}, seconds)


def checkpoint(interval):
    return Checkpoint("model.ckpt-3.safetensors", 3, {}, {"interval": interval}, "safetensors")


def test_an_interval_that_was_broken_off_logs_all_its_steps_and_the_speed_of_the_rest():
    before, after = (PretrainingInterval(MODEL, 1e9, lambda: 4e12) for _ in range(2))
    before.add(steps(30, seconds=7.0))
    after.load(checkpoint(before.dump()))
    after.add(steps(10, seconds=2.0))
    line = after.finish()
    assert line["loss"] == 3.0
    assert line["examples_per_sec"] == pytest.approx(10 * 8 / 2.0)
    assert line["tokens_per_sec"] == pytest.approx(10 * 100 / 2.0)
    assert line["model_flops_per_sec"] == pytest.approx(40e9)
    assert line["share_of_peak"] == pytest.approx(0.01)
    after.add(steps(10, seconds=4.0))
    assert after.finish()["examples_per_sec"] == pytest.approx(10 * 8 / 4.0)


def test_without_a_peak_no_share_of_it_is_logged():
    interval = PretrainingInterval(MODEL, 1e9, None)
    interval.add(steps(30, seconds=7.0))
    line = interval.finish()
    assert "model_flops_per_sec" in line
    assert "share_of_peak" not in line


@pytest.mark.parametrize("value", ["x", None, {}, [1, [2]], [1, 2], float("inf"), 10**400])
def test_damaged_sums_of_a_checkpoint_are_named(value):
    interval = PretrainingInterval(MODEL, 1e9, lambda: 4e12)
    with pytest.raises(ValueError, match=r"ckpt-3.safetensors is damaged: .*expected numbers"):
        interval.load(checkpoint({"tokens": value}))
        interval.add(steps(1, seconds=1.0))
