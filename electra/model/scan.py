"""A loop over layers: each is the same program, with its own part of stacked weights.

Enters: a layer as a function, and the stacks. Leaves: the output of the last layer.
"""

import tensorflow as tf

from electra.model import kernels


def scan(layer, count, group_of, x, weights, recomputes=False):
    """Runs layers one after another.

    Args:
        layer: function (i, x, residual, weights of the layer) -> (x, residual); a function of these
            alone, equal numbers for equal ones.
        count: layers.
        group_of: function from a layer, int32 scalar, to the place of its weights in the stacks.
        x: (R, H), input of the first layer, and its residual.
        weights: stacks of weights, each (groups, ...).
        recomputes: whether only the layers' inputs are kept for the backward pass.
    Returns: (R, H), of the last layer.
    """
    if recomputes:
        return _recomputing(layer, count, group_of, x, weights)

    def body(i, x, residual):
        return i + 1, *layer(i, x, residual, part_of(weights, group_of(i)))

    with kernels.hand_written_gradients():
        return tf.while_loop(_is_below(count), body, (0, x, x), maximum_iterations=count)[1]


def _recomputing(layer, count, group_of, x, weights):
    # XLA knows the rounds of both loops: a GPU need not ask the host before each.
    islands = kernels.islands_are_used()

    @tf.custom_gradient
    def run(x, *weights):
        def forward(i, x, residual, inputs):
            inputs = inputs.write(i, x)
            parts = part_of(weights, group_of(i))
            return i + 1, *layer(i, x, residual, parts), inputs

        inputs = tf.TensorArray(x.dtype, count, element_shape=x.shape)
        _, y, _, inputs = tf.while_loop(_is_below(count), forward, (0, x, x, inputs))
        kept = inputs.stack()  # (layers, R, H)

        def backward(n, dx, dresidual, *gradients):
            i = count - 1 - n
            x = kept[i]
            sources = [x, tf.identity(x), *part_of(weights, group_of(i))]
            with tf.GradientTape() as tape:
                tape.watch(sources)
                ys = layer(i, *sources[:2], sources[2:])
            dx, dresidual, *found = tape.gradient(ys, sources, [dx, dresidual])
            written = [to.write(i, one) for to, one in zip(gradients, found, strict=True)]
            return n + 1, dx, dresidual, *written

        def gradient(dy):
            arrays = [tf.TensorArray(w.dtype, count, element_shape=w.shape[1:]) for w in weights]
            start = (0, dy, tf.zeros_like(dy), *arrays)
            with kernels.use_islands(islands), kernels.hand_written_gradients():
                _, dx, dresidual, *arrays = tf.while_loop(_is_below(count), backward, start)
            return dx + dresidual, *[
                by_group(array.stack(), w.shape[0])
                for array, w in zip(arrays, weights, strict=True)
            ]

        def by_group(gradients, groups):
            if groups == count:
                return gradients
            places = group_of(tf.range(count))
            total = tf.math.unsorted_segment_sum(tf.cast(gradients, tf.float32), places, groups)
            return tf.cast(total, gradients.dtype)

        return y, gradient

    return run(x, *weights)


def _is_below(count):
    return lambda i, *_: i < count


def part_of(stacks, i):
    """Returns the parts of stacks, (layers, ...), that belong to layer i, an int32 scalar."""
    return [tf.gather(stack, i) for stack in stacks]
