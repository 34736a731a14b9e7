"""The order of training: which record is the k-th of an epoch, computed without drawing the others.

Enters: the number of records, a seed, places in the order. Leaves: numbers of records.
"""

import functools

import numpy as np

ORDERS = ("index_shuffle", "permutation")
_ROUNDS = 12  # of the cipher: with 8, the 120 orders of five records are not equally likely
_MIX = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)


class Order:
    """Every epoch a permutation of all records, by (seed, epoch).

    Args:
        num_records: n.
        seed: below 2^32.
        kind: of ORDERS. "index_shuffle" computes each place, in constant memory; "permutation"
            draws an epoch at once and holds two, 4 bytes a record, as runs did before version 0.2.
    """

    def __init__(self, num_records, seed, kind="index_shuffle"):
        self.num_records, self.seed = num_records, seed
        self._of_epoch = self._shuffled if kind == "index_shuffle" else self._drawn
        self._permutation = functools.lru_cache(2)(self._draw)  # threads may be an epoch apart

    def numbers(self, step, global_batch, rows):
        """Returns which records some rows of a global batch hold.

        Args:
            step: updates made before this batch, or an array of them; rows: range of rows in it.
        Returns: int64 (len(rows),), with the array's shape before it.

        Example g = step * global_batch + row is number g % n of epoch g // n.
        """
        examples = np.expand_dims(step, -1) * global_batch + np.arange(rows.start, rows.stop)
        epochs, places = np.divmod(examples, self.num_records)
        numbers = np.empty_like(examples)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            numbers[chosen] = self._of_epoch(int(epoch), places[chosen])
        return numbers

    def _shuffled(self, epoch, places):
        return index_shuffle(places, self.num_records, [self.seed, epoch])

    def _drawn(self, epoch, places):
        return self._permutation(epoch)[places]

    def _draw(self, epoch):
        numbers = np.arange(self.num_records, dtype=np.uint32)
        np.random.Generator(np.random.Philox(key=[self.seed, epoch])).shuffle(numbers)
        return numbers


def index_shuffle(places, n, key):
    """Returns what a keyed permutation of 0 to n - 1 has at some places.

    Args:
        places: int (m,), each below n; n: at most 2^62.
        key: two whole numbers of 64 bits.
    Returns: int64 (m,).
    Source: a Feistel network over the bits of n - 1, whose results from n on are put in again until
        they are below it (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). Its
        rounds hash with multiplications as splitmix64 does; their keys are drawn by Philox.
        tf.random.experimental.index_shuffle has only 256 orders for 400 such keys.
    """
    bits = max(2, (n - 1).bit_length())
    width = np.uint64(bits // 2)  # of the lower part
    low, high = (np.uint64((1 << part) - 1) for part in (bits // 2, bits - bits // 2))
    keys = np.random.Philox(key=key).random_raw(_ROUNDS)
    result, todo = np.array(places, np.uint64), np.arange(len(places))
    while len(todo):
        numbers = result[todo]
        left, right = numbers >> width, numbers & low
        for first, second in keys.reshape(-1, 2):
            left ^= _hashed(right, first) & high
            right ^= _hashed(left, second) & low
        result[todo] = left << width | right
        todo = todo[result[todo] >= n]
    return result.astype(np.int64)


def _hashed(numbers, key):
    numbers = (numbers ^ key) * _MIX[0]
    numbers = (numbers ^ numbers >> np.uint64(32)) * _MIX[1]
    return numbers >> np.uint64(20)
