"""Islands: small functions compiled by XLA within a graph that TensorFlow runs.

On a CPU an island is several times faster than TensorFlow's own element-wise kernels, while the
matrix products stay with TensorFlow (oneDNN), which XLA on CPU cannot match. On GPU and TPU the
whole step is compiled, so the plain functions are used.

`use_islands(True)` chooses, for all code traced afterwards; so does `hand_written_gradients()`,
which gives the plain functions the islands' backward passes.
"""

import contextlib
import functools

import tensorflow as tf

_islands = _by_hand = False


@contextlib.contextmanager
def use_islands(enabled):
    """While active, operations traced are compiled islands (True) or plain (False)."""
    global _islands
    before, _islands = _islands, enabled
    try:
        yield
    finally:
        _islands = before


@contextlib.contextmanager
def hand_written_gradients():
    """While active, plain operations traced keep for their gradients what islands would keep.

    Within a loop a tape would keep every intermediate result of every round.
    """
    global _by_hand
    before, _by_hand = _by_hand, True
    try:
        yield
    finally:
        _by_hand = before


def islands_are_used():
    """Whether code that is traced now becomes part of an island, or calls islands."""
    return _islands


def compiled(function):
    """Decorator: where islands are used, `function(*tensors, *constants)` is compiled by XLA, once
    for each constants."""

    def traced(*args):
        with use_islands(True):
            return function(*args)

    island = tf.function(traced, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*args):
        return (island if _islands else function)(*args)

    return call


def island(plain=None, *, backward=None, keeps=None):
    """Decorator: `plain(*tensors, *constants)` becomes an island where islands are used.

    Args:
        backward: function (kept, dys, *constants) that returns the gradients of the float inputs,
            in order; it should call compiled functions. None: a GradientTape over `plain`.
        keeps: function (inputs, outputs) that returns what backward gets as `kept`. None: the
            inputs.
    """
    if plain is None:
        return functools.partial(island, backward=backward, keeps=keeps)
    forward = compiled(plain)

    @compiled
    def by_tape(xs, dys, *constants):
        floats = [x for x in xs if x.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(floats)
            ys = plain(*xs, *constants)
        return tape.gradient(ys, floats, dys, unconnected_gradients="zero")

    @functools.wraps(plain)
    def call(*xs, constants=()):
        if not (_islands or _by_hand):
            return plain(*xs, *constants)
        islands = _islands  # the tape calls grad after this mode has ended

        @tf.custom_gradient
        def fast(*xs):
            ys = forward(*xs, *constants)

            def grad(*dys):
                kept = keeps(xs, ys) if keeps else xs
                dys = dys if len(dys) > 1 else dys[0]
                with use_islands(islands):
                    grads = iter((backward or by_tape)(kept, dys, *constants))
                return [next(grads) if x.dtype.is_floating else None for x in xs]

            return ys, grad

        return fast(*[tf.convert_to_tensor(x) for x in xs])

    return call
