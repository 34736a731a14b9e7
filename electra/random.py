"""Stateless random numbers: every draw is a function of named keys and a counter.

A Seed is folded with names while the graph is built and carries a counter known only at run time
(the training step, say). Two draws agree if and only if their names and counters agree, whatever
ran before: a resumed run draws what an unbroken one would have drawn.
"""

import hashlib
import math

import numpy as np
import tensorflow as tf

ALGORITHM = "philox"  # named, since XLA's default is another than that of TensorFlow's kernels


class Seed:
    """A random seed: a key (Python) and a counter (tensor).

    Args:
        key: whole number or string, e.g. the run's `seed`.
        counter: int64 scalar tensor or int, e.g. the step.
        part: whole number or scalar tensor, the number of one of the equal parts that a batch is
            cut into; see `noise_words`.

    >>> dropout = Seed(0, step).fold("dropout")
    >>> dropout.fold("layer_3", "attention")
    """

    def __init__(self, key, counter=0, part=0):
        self.key = key
        self.counter = counter
        self.part = part

    def fold(self, *names):
        """Returns a Seed whose draws are independent of this one's and of other names'."""
        key = "/".join(str(name) for name in (self.key, *names))
        return Seed(key, self.counter, self.part)

    def at(self, counter):
        """Returns a Seed with the same key and another counter."""
        return Seed(self.key, counter, self.part)

    def of_part(self, part):
        """Returns a Seed for a part of a batch: its noise is what the whole one has there."""
        return Seed(self.key, self.counter, part)

    def tensor(self):
        """Returns the pair that TensorFlow's stateless functions take, int64 (2,)."""
        digest = hashlib.blake2b(str(self.key).encode(), digest_size=4).digest()
        key = int.from_bytes(digest, "little") >> 1
        return tf.stack([tf.constant(key, tf.int64), tf.cast(self.counter, tf.int64)])


def uniform(seed, shape):
    """Draws float32 numbers in [0, 1), multiples of 2^-24, of the given static shape."""
    # Made of whole numbers: XLA and TensorFlow's kernels agree on those, not on floats.
    return tf.cast(_shift(words(seed, shape), 8), tf.float32) * 2.0**-24


def uniform_rows(seed, rows, num_rows, shape):
    """Draws one block of uniform numbers for each row of the global batch and picks some rows.

    Args:
        seed: Seed.
        rows: int32 (B,), indices in the global batch.
        num_rows: size of the global batch.
        shape: shape of one row's block.
    Returns: float32 (B, *shape); the same for a row wherever it is computed.
    """
    return tf.gather(uniform(seed, (num_rows, *shape)), rows)


def hashed(words, shape):
    """Hashes each place of a static shape with two words drawn for it: cheap noise for dropout.

    Args:
        words: uint32 (2,) or (3,), see `noise_words`.
        shape: of less than 2^32 elements, the batch first. Parts that lie 2^32 elements apart get
            the same noise.
    Returns: uint32 of that shape; the upper bits are the good ones.
    Source: the mixing steps of lowbias32, https://nullprogram.com/blog/2018/07/31/.
    """
    # words[0] + the number of the place in the whole batch. Of the numbers alone TensorFlow would
    # make a constant, as large as the shape, that the program then carries and reads.
    width, size = shape[-1], math.prod(shape)
    first = words[0] + words[2] * np.uint32(size) if words.shape[0] == 3 else words[0]
    rows = np.arange(0, size, width, np.uint32) + first
    x = tf.reshape(rows[:, None] + np.arange(width, dtype=np.uint32), shape)
    x = (x ^ _shift(x, 16)) * tf.constant(0x7FEB352D, tf.uint32)
    x = (x ^ _shift(x, 15) ^ words[1]) * tf.constant(0x846CA68B, tf.uint32)
    return x ^ _shift(x, 16)


def noise_words(seed, shape=()):
    """Draws what `hashed` takes: uint32 (*shape, 3), each time two words and the seed's part, or
    (*shape, 2) for the first part, known as such when the program is made."""
    if isinstance(seed.part, int) and seed.part == 0:
        return words(seed, (*shape, 2))
    part = tf.fill((*shape, 1), tf.cast(seed.part, tf.uint32))
    return tf.concat([words(seed, (*shape, 2)), part], axis=-1)


def words(seed, shape):
    """Draws uint32 numbers of the given static shape."""
    drawn = tf.random.stateless_uniform(
        shape, seed.tensor(), minval=None, maxval=None, dtype=tf.int32, alg=ALGORITHM
    )
    return tf.bitcast(drawn, tf.uint32)


def _shift(x, bits):
    return tf.bitwise.right_shift(x, tf.constant(bits, tf.uint32))
