"""The order of training: permutations, computed place by place, that the key alone decides."""

import collections
import itertools

import numpy as np
import pytest

from electra.data.order import ORDERS, Order, index_shuffle


@pytest.mark.parametrize("kind", ORDERS)
def test_every_epoch_has_each_record_once_in_another_order(kind):
    numbers = Order(10, 7, kind).numbers(0, 30, range(30))
    epochs = numbers.reshape(3, 10)
    assert np.sort(epochs).tolist() == [list(range(10))] * 3
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3
    other = Order(10, 8, kind).numbers(0, 30, range(30))
    assert other.tolist() != numbers.tolist()


@pytest.mark.parametrize("kind", ORDERS)
def test_the_order_depends_on_the_example_number_alone(kind):
    at_once = Order(7, 1, kind).numbers(0, 24, range(24))
    parts = [
        Order(7, 1, kind).numbers(step, 4, rows)
        for step, rows in itertools.product(range(6), (range(3), range(3, 4)))
    ]
    assert np.concatenate(parts).tolist() == at_once.tolist()


def test_the_orders_are_those_of_runs_before():
    """Literal: a run that goes on must read what it would have read."""
    old = Order(10, 7, "permutation").numbers(0, 20, range(20))
    assert old.tolist() == [6, 3, 9, 1, 2, 0, 5, 7, 8, 4, 1, 9, 2, 8, 5, 0, 4, 3, 7, 6]
    assert Order(10, 7).numbers(0, 20, range(20)).tolist() == [
        3,
        1,
        4,
        7,
        8,
        0,
        5,
        9,
        6,
        2,
        5,
        3,
        1,
        2,
        8,
        9,
        6,
        0,
        7,
        4,
    ]
    assert Order(10**12, 2**32 - 1).numbers(3, 4, range(4)).tolist() == [
        114840907676,
        930486682726,
        942351490302,
        234305220659,
    ]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 1000, 4095, 4096, 4097, 100_003])
def test_any_number_of_records_is_permuted(n):
    assert np.sort(index_shuffle(np.arange(n), n, [1, 2])).tolist() == list(range(n))


def test_all_orders_of_five_records_are_about_equally_likely():
    counts = collections.Counter(tuple(index_shuffle(range(5), 5, [2, e])) for e in range(6000))
    of_each = np.array([counts[order] for order in itertools.permutations(range(5))])
    # Chi squared of 119 degrees of freedom: above 180 by chance once in 5,000 draws of the keys.
    assert ((of_each - 50) ** 2 / 50).sum() < 180


def test_the_orders_of_epochs_and_neighbours_in_one_are_independent():
    n, places = 10**8, np.arange(50_000)
    first, second = (index_shuffle(places, n, [0, epoch]) for epoch in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02  # 4.5 standard deviations
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.02
    assert len({tuple(index_shuffle(range(9), 1000, [1, epoch])) for epoch in range(1000)}) == 1000
