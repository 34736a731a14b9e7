"""Batches of like length: every row once, few lengths, an order that counting finds again."""

import numpy as np

from electra.data.batches import Batch, choose_lengths, padded, plan
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


def test_short_rows_share_larger_batches_of_no_more_tokens():
    chosen = choose_lengths(LENGTHS, 128, 10)
    batches = plan(LENGTHS, chosen, 8, max_tokens=8 * 64)
    assert sorted(rows_of(batches)) == list(range(101))
    assert all(len(b.rows) == b.size and b.size * b.length <= 512 for b in batches[:-1])
    assert {b.length: b.size for b in batches} == {8: 8, 24: 16, 32: 16, 48: 8, 64: 8}
    assert all(LENGTHS[batch.rows].max() <= batch.length for batch in batches)


def test_lengths_that_few_features_have_join_the_next():
    lengths = np.array([10] * 50 + [20] * 2 + [40] * 50 + [90])
    assert choose_lengths(lengths, 128, 5) == [16, 48, 96]
    assert choose_lengths(lengths, 40, 5) == [16, 40]  # what is longer is cut
    assert choose_lengths(np.array([500]), 512, 5) == [512]


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
