"""Fitting: what is due after which step, in which order, and where it ends."""

import contextlib
import types

import numpy as np
import pytest

from electra.train.fit import NonFiniteLossError, fit, next_boundary
from electra.train.loop import Steps


class StandIn:
    """A loop, log and interval in one, which note what happens; stops or diverges at a step."""

    folder = "nowhere"

    def __init__(self, stop_at=None, bad_at=None):
        self.stop_at, self.bad_at = stop_at, bad_at
        self.stop_signal, self.seen, self.calls = None, [], []

    def run(self, first, count):
        self.calls.append(count)
        if self.stop_at is not None and first < self.stop_at <= first + count:
            self.stop_signal, count = 15, self.stop_at - first
        loss = np.arange(first + 1, first + count + 1, dtype=np.float32)
        loss[loss == self.bad_at] = np.nan
        return Steps(first, {"loss": loss, "learning_rate": np.ones(count)}, 1.0)

    def examples_per_sec(self):
        return None

    def evaluating(self):
        return contextlib.nullcontext()

    def add(self, steps, *speed):
        if not speed:  # the interval, not the log
            self.seen.append(f"made {len(steps)}")

    def finish(self):
        return {}

    def train(self, step, values):
        self.seen.append(f"log {step}")

    def fit(self, step=0, save_every=5, **changes):
        config = types.SimpleNamespace(
            iterations_per_loop=3, log_every_steps=4, save_checkpoints_steps=save_every
        )
        return fit(
            self,
            self,
            self,
            config,
            step=step,
            last_step=10,
            save=lambda step: self.seen.append(f"save {step}"),
            evaluate=lambda step: self.seen.append(f"eval {step}"),
            **changes,
        )


def test_what_is_due_is_logged_then_evaluated_then_saved():
    run = StandIn()
    assert run.fit(evaluate_every=5).step == 10
    assert run.calls == [3, 1, 1, 3, 2]
    assert [each for each in run.seen if not each.startswith("made")] == [
        *("eval 0", "log 4", "eval 5", "save 5", "log 8", "log 10", "eval 10", "save 10"),
    ]


def test_a_stop_ends_it_with_a_checkpoint():
    run = StandIn(stop_at=7)
    reached = run.fit(evaluate_every=5)
    assert (reached.step, reached.stop_signal) == (7, 15)
    assert run.seen[-2:] == ["made 2", "save 7"]


def test_a_run_that_goes_on_makes_the_steps_that_are_left():
    run = StandIn()
    run.fit(step=9)
    assert run.seen == ["made 1", "log 10", "save 10"]
    done = StandIn()
    assert done.fit(step=10).step == 10
    assert done.seen == []


def test_seconds_make_a_checkpoint_due(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("electra.train.fit.time", types.SimpleNamespace(monotonic=clock.__next__))
    run = StandIn()
    run.fit(save_seconds=2, save_every=100)
    assert [each for each in run.seen if "save" in each] == ["save 4", "save 8", "save 10"]


def test_a_number_that_is_not_finite_ends_it_before_anything_is_written():
    run = StandIn(bad_at=3)
    with pytest.raises(NonFiniteLossError, match="Step 3: loss not finite at learning rate 1"):
        run.fit()
    assert run.seen == []


@pytest.mark.parametrize(
    ("step", "last", "periods", "expected"),
    [
        (0, 1000, (100, 250), 100),
        (100, 1000, (100, 250), 200),
        (200, 1000, (100, 250), 250),
        (249, 1000, (100, 250), 250),
        (950, 1000, (300, 0), 1000),
        (5, 9, (), 9),
    ],
)
def test_next_boundary(step, last, periods, expected):
    assert next_boundary(step, last, *periods) == expected
