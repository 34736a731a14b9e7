"""What the scores of a training lead to: the best step, the end of patience."""

import types

import numpy as np
import pytest

from electra.finetune.monitor import Monitor
from electra.train.fit import Verdict

SCORES = [50.0, 52.0, 51.0, 52.0, 52.5, 52.6]


def follow(monitor, scores, first=0):
    return [monitor.update(10 * (first + i), score) for i, score in enumerate(scores, 1)]


def checkpoint(monitor):
    def numbers(value, shape):
        assert np.shape(value) == shape
        return np.array(value)

    return types.SimpleNamespace(state=monitor.dump(), numbers=numbers)


def test_the_best_step_is_the_first_of_equals_and_saved_at_once():
    monitor = Monitor(True)
    assert [each.save for each in follow(monitor, SCORES)] == [True, True, False, False, True, True]
    assert (monitor.best_step, monitor.best_score, monitor.kept_steps) == (60, 52.6, [60])
    assert follow(Monitor(False), SCORES) == [Verdict()] * 6
    assert Monitor(False).kept_steps == []


@pytest.mark.parametrize(
    ("patience", "min_delta", "made"), [(1, 0.0, 3), (2, 0.0, 4), (3, 0.0, 6), (3, 1.0, 5)]
)
def test_patience_counts_evaluations_without_improvement(patience, min_delta, made):
    verdicts = follow(Monitor(False, patience, min_delta), SCORES)
    stops = [each.stop for each in verdicts]
    assert (stops.index(True) + 1 if True in stops else len(stops)) == made


def test_a_monitor_goes_on_from_a_checkpoint():
    for cut in range(len(SCORES) + 1):
        whole, first, second = (Monitor(True, 3, 1.0) for _ in range(3))
        follow(whole, SCORES)
        follow(first, SCORES[:cut])
        second.load(checkpoint(first))
        follow(second, SCORES[cut:], cut)
        assert vars(second) == vars(whole)
