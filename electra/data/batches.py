"""Batches of features of like length: which rows, in which order, how long.

Enters: the lengths of all features, a seed, an epoch. Leaves: a plan that depends on nothing else,
so that a run that goes on finds its place by counting; and batches, padded to one of few lengths,
because every length is a program of its own. In prediction several features may share a row.
"""

import dataclasses
import itertools

import numpy as np

from electra.features import RECORD_FEATURES

LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
SHARED_ROW = 64  # the shortest row that features share: attention costs its square


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows that go together: `rows` int64 (at most `size`), laid out as (size, length).

    Where they are packed, `groups` has for each row of the encoder the places in `rows` of those
    that share it, a range.
    """

    length: int
    rows: np.ndarray
    size: int
    groups: tuple = ()


def choose_lengths(lengths, max_seq_length, fewest, shortest=0):
    """Chooses the lengths of batches among LENGTHS and max_seq_length.

    Args:
        lengths: int (n,), of the features.
        max_seq_length: L, the longest.
        fewest: features that make a length worth its program; fewer are padded further.
        shortest: no shorter one, but for max_seq_length.
    Returns: list of int, rising; the last holds the longest feature.
    """
    chosen, waiting = [], 0
    steps = [step for step in LENGTHS if shortest <= step < max_seq_length] + [max_seq_length]
    longest = min(np.max(lengths), max_seq_length)
    for shorter, length in itertools.pairwise([0, *steps]):
        waiting += np.count_nonzero((lengths > shorter) & (lengths <= length))
        if waiting >= fewest or length >= longest:
            chosen.append(length)
            waiting = 0
        if length >= longest:
            break
    return chosen


def fewer_lengths(lengths, chosen, most):
    """Chooses those of the lengths of batches that leave the least padding.

    Args:
        lengths: int (n,), of the features; chosen: lengths of batches, rising.
        most: how many lengths to keep.
    Returns: list of int, rising; the last of `chosen` is kept.

    >>> fewer_lengths(np.array([8, 8, 8, 30, 60]), [8, 32, 64], most=2)
    [8, 64]
    """

    def tokens(kept):
        return np.sum(np.take(kept, np.searchsorted(kept, np.minimum(lengths, kept[-1]))))

    shorter = itertools.combinations(chosen[:-1], min(most, len(chosen)) - 1)
    return min(([*kept, chosen[-1]] for kept in shorter), key=tokens)


def plan(lengths, chosen, batch_size, order=None):
    """Deals features out to batches.

    Args:
        lengths: int (n,), of the features.
        chosen: lengths of batches, rising.
        batch_size: rows of a batch.
        order: None for the features as they come; else (seed, epoch), and features and batches
            are shuffled.
    Returns: list of Batch, ceil(n / batch_size) of them. What does not fill a batch of its length
        goes to the next longer one; only one batch of all is not full.
    """
    random = None if order is None else np.random.default_rng([*order, len(lengths)])
    rows = np.arange(len(lengths)) if random is None else random.permutation(len(lengths))
    places = np.minimum(np.searchsorted(chosen, lengths[rows]), len(chosen) - 1)
    batches, left = [], rows[:0]
    for place, length in enumerate(chosen):
        waiting = np.concatenate([left, rows[places == place]])
        is_last = place == len(chosen) - 1
        full = len(waiting) if is_last else len(waiting) - len(waiting) % batch_size
        for first in range(0, full, batch_size):
            rows_of_batch = waiting[first : min(first + batch_size, full)]
            batches.append(Batch(length, rows_of_batch, batch_size))
        left = waiting[full:]
    if random is not None:
        batches = [batches[i] for i in random.permutation(len(batches))]
    return batches


def plan_packed(lengths, chosen, max_tokens, multiple=1, few_shapes=False):
    """Deals features out to batches in which several may share a row.

    Only features of one length of rows share them: short ones in the gaps of long rows would make
    the batch of what they leave far larger than that of the rows.

    Args:
        lengths: int (n,), of the features; what is longer than the last of `chosen` is cut.
        chosen: lengths of rows, rising.
        max_tokens: of a batch's rows in the encoder, padding included.
        multiple: each length gets a multiple of so many batches, where it has rows enough.
        few_shapes: whether batches are padded to few shapes, so that plans of other features share
            them.
    Returns: list of Batch with groups; those of a length have equal shapes.
    """
    lengths = np.minimum(lengths, chosen[-1])
    places, batches = np.searchsorted(chosen, lengths), []
    for place, length in enumerate(chosen):
        rows = _shared_rows(lengths, np.flatnonzero(places == place), length)
        most_rows = max(1, max_tokens // length)
        count = min(-(-len(rows) // (most_rows * multiple)) * multiple, len(rows))
        # Early rows hold few long features, late ones many: every batch gets some of each.
        parts = [rows[i::count] for i in range(count)]
        most = max((sum(map(len, part)) for part in parts), default=0)
        height = len(parts[0]) if parts else 0
        if few_shapes:  # rows in eighths of a full batch, features in four steps an octave
            height = min(_rounded_up(height, max(1, most_rows // 8)), most_rows)
            most = _rounded_up(most, 1 << max(0, most.bit_length() - 3))
        for part in parts:
            ends = np.cumsum([len(row) for row in part]).tolist()
            groups = [range(end - len(row), end) for row, end in zip(part, ends, strict=True)]
            groups += [range(0)] * (height - len(part))
            batches.append(Batch(length, np.concatenate(part), most, tuple(groups)))
    return batches


def _rounded_up(number, step):
    return -(-number // step) * step


def _shared_rows(lengths, features, row_length):
    """Deals features out to rows, longest first, each to the fullest row that has room for it."""
    rows, rooms = [], [[] for _ in range(row_length)]  # number of free places -> rows that have it
    for feature in features[np.argsort(-lengths[features], kind="stable")].tolist():
        needed = int(lengths[feature])
        room = next((room for room in range(needed, row_length) if rooms[room]), row_length)
        if room == row_length:
            rows.append([])
        row = rows[-1] if room == row_length else rooms[room].pop()
        row.append(feature)
        rooms[room - needed].append(row)
    return rows


def packed(lengths, batch):
    """Returns where the tokens of a batch with groups lie in the encoder's rows.

    Args:
        lengths: int (n,), of all features.
        batch: Batch of plan_packed, with R groups.
    Returns: dict of int32 arrays, the places counted row by row:
        packed (R, L): of each token in the features laid out as (size, L); -1 for none.
        unpacked (size, L): of each token in the encoder's rows; 0 for none.
    """
    length = batch.length
    packed_places = np.full((len(batch.groups), length), -1, np.int32)
    unpacked_places = np.zeros((batch.size, length), np.int32)
    for row, group in enumerate(batch.groups):
        start = 0
        for place in group:
            tokens = np.arange(min(length, lengths[batch.rows[place]]))
            end = start + len(tokens)
            packed_places[row, start:end] = place * length + tokens
            unpacked_places[place, : len(tokens)] = row * length + start + tokens
            start = end
    return {"packed": packed_places, "unpacked": unpacked_places}


def joined_lengths(tasks):
    """Returns the lengths of all features of several tasks, one task after the other."""
    return np.concatenate([features.lengths() for features in tasks.values()])


def padded(tasks, batch, leave=()):
    """Lays a batch out; rows that are missing are filled up with rows of task_id -1.

    Args:
        tasks: dict task -> Features; a batch's rows count through all of them.
        batch: Batch.
        leave: names of features to leave out.
    Returns: dict of int32 or float32 arrays: RECORD_FEATURES (B, L), which one encoder reads;
        task_id (B,), the task's place; and <task>_<feature>, 0 in rows of other tasks.
    """
    result = {"task_id": np.full(batch.size, -1, np.int32)}
    first = 0
    for number, (task, features) in enumerate(tasks.items()):
        rows = batch.rows - first
        places = np.flatnonzero((rows >= 0) & (rows < len(features)))
        result["task_id"][places] = number
        for name, values in features.padded(rows[places], batch.length, leave).items():
            name = name if name in RECORD_FEATURES else f"{task}_{name}"
            if name not in result:
                result[name] = np.zeros((batch.size, *values.shape[1:]), values.dtype)
            result[name][places] = values
        first += len(features)
    return result
