"""Batches of features of like length: which rows, in which order, how long.

Enters: the lengths of all features, a seed, an epoch. Leaves: a plan that depends on nothing else,
so that a run that goes on finds its place by counting; and batches, padded to one of few lengths,
because every length is a program of its own.
"""

import dataclasses

import numpy as np

LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
SHARED = ("input_ids", "input_mask", "segment_ids")  # one encoder reads them, whatever the task


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows that go together: `rows` int64 (at most `size`), laid out as (size, length)."""

    length: int
    rows: np.ndarray
    size: int


def choose_lengths(lengths, max_seq_length, fewest):
    """Chooses the lengths of batches among LENGTHS and max_seq_length.

    Args:
        lengths: int (n,), of the features.
        max_seq_length: L, the longest.
        fewest: features that make a length worth its program; fewer are padded further.
    Returns: list of int, rising; the last holds the longest feature.
    """
    chosen, waiting = [], 0
    steps = [each for each in LENGTHS if each < max_seq_length] + [max_seq_length]
    longest = next((each for each in steps if each >= np.max(lengths)), max_seq_length)
    steps = [each for each in steps if each <= longest]
    for shorter, length in zip([0, *steps], steps, strict=False):
        waiting += np.count_nonzero((lengths > shorter) & (lengths <= length))
        if waiting >= fewest or length == longest:
            chosen.append(length)
            waiting = 0
    return chosen


def plan(lengths, chosen, batch_size, order=None, max_tokens=0):
    """Deals features out to batches.

    Args:
        lengths: int (n,), of the features.
        chosen: lengths of batches, rising.
        batch_size: rows of a batch.
        max_tokens: a length's batches have twice the rows, or four times, and so on, while that
            makes no more tokens than this and there are features enough.
        order: None for the features as they come; else (seed, epoch), and features and batches
            are shuffled.
    Returns: list of Batch; ceil(n / batch_size) of them, or fewer with max_tokens. What does not
        fill a batch of its length goes to the next longer one; only one batch of all is not full.
    """
    random = None if order is None else np.random.default_rng([*order, len(lengths)])
    rows = np.arange(len(lengths)) if random is None else random.permutation(len(lengths))
    places = np.minimum(np.searchsorted(chosen, lengths[rows]), len(chosen) - 1)
    batches, left = [], rows[:0]
    for place, length in enumerate(chosen):
        waiting = np.concatenate([left, rows[places == place]])
        size = batch_size
        while 2 * size <= min(len(waiting), max_tokens // length):
            size *= 2
        is_last = place == len(chosen) - 1
        full = len(waiting) if is_last else len(waiting) - len(waiting) % size
        for first in range(0, full, size):
            batches.append(Batch(length, waiting[first : min(first + size, full)], size))
        left = waiting[full:]
    if random is not None:
        batches = [batches[i] for i in random.permutation(len(batches))]
    return batches


def joined_lengths(tasks):
    """Returns the lengths of all features of several tasks, one task after the other."""
    return np.concatenate([features.lengths() for features in tasks.values()])


def padded(tasks, batch, leave=()):
    """Lays a batch out; rows that are missing are filled up with rows of task_id -1.

    Args:
        tasks: dict task -> Features; a batch's rows count through all of them.
        batch: Batch.
        leave: names of features to leave out.
    Returns: dict of int32 or float32 arrays: SHARED (B, L); task_id (B,), the task's place; and
        <task>_<feature>, 0 in rows of other tasks.
    """
    result = {"task_id": np.full(batch.size, -1, np.int32)}
    first = 0
    for number, (task, features) in enumerate(tasks.items()):
        rows = batch.rows - first
        places = np.flatnonzero((rows >= 0) & (rows < len(features)))
        result["task_id"][places] = number
        for name, values in features.padded(rows[places], batch.length, leave).items():
            name = name if name in SHARED else f"{task}_{name}"
            if name not in result:
                result[name] = np.zeros((batch.size, *values.shape[1:]), values.dtype)
            result[name][places] = values
        first += len(features)
    return result
