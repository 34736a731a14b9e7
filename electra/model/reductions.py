"""Sums, means and maxima, written so that XLA on CPU fuses them with what they reduce."""

import functools

from keras import ops

from electra.model.islands import compiled, islands_are_used


def float32(x):
    return ops.cast(x, "float32")


def fold(combine, y, axis):
    """Shortens an axis by combining up to 15 slices of it element by element.

    XLA on CPU writes all of y to memory before it reduces it, but fuses a few element-wise
    operations with the computation of y. An axis of unknown length is left as it is.
    """
    terms = 1
    while (y.shape[axis] or 0) > 32:
        factor = next((n for n in (2, 3, 5, 7) if y.shape[axis] % n == 0), 16)
        terms *= factor
        if terms > 15:
            break
        y = functools.reduce(combine, ops.split(y, factor, axis=axis))
    return y


def row_max(y):
    y = fold(ops.maximum, y, -1) if islands_are_used() else y
    return ops.stop_gradient(ops.max(y, axis=-1, keepdims=True))


def row_sum(y):
    y = fold(ops.add, y, -1) if islands_are_used() else y
    return ops.sum(y, axis=-1, keepdims=True)


def row_mean(y):
    return row_sum(y) * (1.0 / y.shape[-1])


@compiled
def column_sum(y):
    """Sum over all axes but the last."""
    y = ops.reshape(float32(y), (-1, y.shape[-1]))
    return ops.sum(fold(ops.add, y, 0) if islands_are_used() else y, axis=0)
