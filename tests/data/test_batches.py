"""Batches of like length: every row once, few lengths, an order that counting finds again."""

import numpy as np
import pytest

from electra.data.batches import (
    Batch,
    choose_lengths,
    fewer_lengths,
    packed,
    padded,
    plan,
    plan_packed,
)
from electra.data.features import collect

LENGTHS = np.random.default_rng(0).integers(3, 60, 101)


def rows_of(batches):
    return np.concatenate([batch.rows for batch in batches])


def test_every_row_comes_once_in_a_batch_that_holds_it():
    chosen = choose_lengths(LENGTHS, 128, 10)
    assert chosen == [8, 24, 32, 48, 64]
    for order in (None, (0, 0), (5, 2)):
        batches = plan(LENGTHS, chosen, 8, order)
        assert sorted(rows_of(batches)) == list(range(101))
        assert sorted(len(batch.rows) for batch in batches) == [5] + [8] * 12
        assert all(LENGTHS[batch.rows].max() <= batch.length for batch in batches)


def test_the_order_is_a_function_of_seed_and_epoch():
    chosen = [32, 64]
    first, again, other_epoch, other_seed = (
        rows_of(plan(LENGTHS, chosen, 8, order)).tolist()
        for order in ((1, 2), (1, 2), (1, 3), (2, 2))
    )
    assert first == again
    assert first != other_epoch != other_seed != first
    shown = [batch.length for batch in plan(LENGTHS, chosen, 8, (1, 2))]
    assert shown != sorted(shown)  # lengths are mixed


def test_without_an_order_rows_stay_in_theirs():
    batches = plan(np.array([9, 20, 3, 5]), [16, 32], 2)
    assert [(b.length, b.rows.tolist()) for b in batches] == [(16, [0, 2]), (32, [3, 1])]


@pytest.mark.parametrize(("chosen", "padding"), [([64], 1.2), ([32, 64], 1.5)])
def test_packed_features_share_rows_that_hold_them(chosen, padding):
    batches = plan_packed(LENGTHS, chosen, 8 * 64, multiple=2)
    assert sorted(rows_of(batches)) == list(range(101))
    assert sum(len(batch.groups) * batch.length for batch in batches) < padding * LENGTHS.sum()
    shapes = [(batch.length, len(batch.groups), batch.size) for batch in batches]
    assert all(length * rows <= 512 for length, rows, _ in shapes)
    assert all(shapes.count(shape) % 2 == 0 for shape in shapes)
    for batch in batches:
        layout = packed(LENGTHS, batch)
        there, back = layout["packed"], layout["unpacked"]
        assert there.shape == (len(batch.groups), batch.length)
        assert back.shape == (batch.size, batch.length)
        lengths = LENGTHS[batch.rows]
        tokens = [i * batch.length + j for i, n in enumerate(lengths) for j in range(n)]
        assert sorted(there[there >= 0]) == tokens  # every token once
        assert (there.ravel()[back.ravel()[tokens]] == tokens).all()  # and found again


def test_packed_features_that_are_too_long_are_cut():
    (batch,) = plan_packed(np.array([9, 2]), [4], 12)
    assert packed(np.array([9, 2]), batch)["packed"].tolist() == [[0, 1, 2, 3], [4, 5, -1, -1]]


def test_batches_of_packed_features_have_equal_shapes():
    one, two = plan_packed(np.array([3, 3, 3]), [4], 32, multiple=2)
    assert len(one.groups) == len(two.groups) == 2 and one.size == two.size == 2
    assert packed(np.array([3, 3, 3]), two)["packed"].tolist() == [[0, 1, 2, -1], [-1] * 4]
    assert len(plan_packed(np.array([3]), [4], 32, multiple=2)) == 1


def test_parts_of_a_stream_share_few_shapes_that_hold_every_token():
    random, shapes = np.random.default_rng(1), {True: set(), False: set()}
    for number in random.integers(1, 1000, 100):
        lengths = random.integers(3, 60, number)
        for few_shapes, seen in shapes.items():
            batches = plan_packed(lengths, [64], 16 * 64, few_shapes=few_shapes)
            assert sorted(rows_of(batches)) == list(range(len(lengths)))
            assert all(len(batch.groups) <= 16 for batch in batches)
            there = [packed(lengths, batch)["packed"] for batch in batches]
            assert sum((places >= 0).sum() for places in there) == lengths.sum()
            seen |= {(len(batch.groups), batch.size) for batch in batches}
    assert 2 * len(shapes[True]) < len(shapes[False])


def test_lengths_that_few_features_have_join_the_next():
    lengths = np.array([10] * 50 + [20] * 2 + [40] * 50 + [90])
    assert choose_lengths(lengths, 128, 5) == [16, 48, 96]
    assert choose_lengths(lengths, 40, 5) == [16, 40]  # what is longer is cut
    assert choose_lengths(np.array([500]), 512, 5) == [512]
    assert choose_lengths(lengths, 128, 5, shortest=32) == [32, 48, 96]


def test_rows_of_several_tasks_share_a_batch():
    tasks = {
        "a": collect([{"example": 0, "input_ids": [1, 2], "label_ids": 1}]),
        "b": collect([{"example": i, "input_ids": [3 + i], "labels": [4, 5]} for i in range(2)]),
    }
    batch = padded(tasks, Batch(3, np.array([2, 0]), 4), leave=("example",))
    assert {name: values.tolist() for name, values in batch.items()} == {
        "task_id": [1, 0, -1, -1],
        "input_ids": [[4, 0, 0], [1, 2, 0], [0, 0, 0], [0, 0, 0]],
        "a_label_ids": [0, 1, 0, 0],
        "b_labels": [[4, 5, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]],
    }


def test_fewer_lengths_leave_the_least_padding():
    lengths = np.array([8] * 9 + [30] * 4 + [60, 99])  # 99: longer than the last, and cut
    assert fewer_lengths(lengths, [8, 32, 64], 2) == [8, 64]  # 456 tokens; [32, 64]: 544
    assert fewer_lengths(lengths, [8, 32, 64], 1) == [64]
    assert fewer_lengths(lengths, [8, 32, 64], 3) == fewer_lengths(lengths, [8, 32, 64], 9)
    assert fewer_lengths(lengths, [64], 2) == [64]
