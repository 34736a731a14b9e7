"""Weights with the official names: a dense map and a LayerNorm.

They only hold their variables and apply them; the fused operations around them are in kernels.py.
"""

import keras
from keras import ops

from electra.model import kernels
from electra.stacked import by_official_name


def truncated_normal(stddev):
    """The official initialiser of all kernels and tables but the Glorot ones."""
    return keras.initializers.TruncatedNormal(stddev=stddev)


def stacked(initializers, axis=0):
    """Returns the initialiser of a stacked variable: each place of an axis is drawn by its own."""

    def initialize(shape, dtype=None):
        rest = shape[:axis] + shape[axis + 1 :]
        parts = [keras.initializers.get(initializer)(rest, dtype) for initializer in initializers]
        return ops.stack(parts, axis)

    return initialize


class NamedModel(keras.Model):
    """A Keras model that knows its variables by path and by official name."""

    def variables_by_path(self):
        """Returns dict path -> trainable Keras variable, the layers' stacked."""
        prefix = self.name + "/"
        return {v.path.removeprefix(prefix): v for v in self.trainable_variables}

    def named_variables(self):
        """Returns dict official name -> variable or Part of one, as checkpoints hold them."""
        return by_official_name(self.variables_by_path())


class Layer(keras.layers.Layer):
    """A Keras layer that leaves dtypes alone: every cast to the compute dtype is written out."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)


class Dense(Layer):
    """x @ kernel + bias, with the kernel cast to the compute dtype.

    Args:
        units: output width; a tuple makes several axes of a stacked map.
        initializer: of the kernel; "glorot_uniform" where the official code leaves the default.
        stack: axes before those of the weights: (layers,) of a stacked map, which is not called.
    """

    def __init__(self, units, initializer="glorot_uniform", stack=(), **kwargs):
        super().__init__(**kwargs)
        self.units, self.initializer, self.stack = units, initializer, stack

    def build(self, input_shape):
        units = self.units if isinstance(self.units, tuple) else (self.units,)
        shape = (*self.stack, input_shape[-1], *units)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self.initializer)
        shape = (*self.stack, *units)
        self.bias = self.add_weight(name="bias", shape=shape, initializer="zeros")

    def project(self, x):
        """x @ kernel, for callers that fuse the bias into what follows."""
        return ops.matmul(x, ops.cast(self.kernel, x.dtype))

    def call(self, x):
        return self.project(x) + ops.cast(self.bias, x.dtype)


class LayerNorm(Layer):
    """LayerNorm over the last axis with epsilon 1e-12; stack: as of Dense."""

    def __init__(self, stack=(), **kwargs):
        super().__init__(**kwargs)
        self.stack = stack

    def build(self, input_shape):
        shape = (*self.stack, input_shape[-1])
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")

    def call(self, x):
        return kernels.layer_norm(x, float32(self.gamma), float32(self.beta))


def gather_positions(states, positions):
    """Picks positions from each sequence: (B, L, H) and (B, N) give (B, N, H)."""
    return ops.take_along_axis(states, positions[..., None], axis=1)


def float32(variable):
    """A variable's own float32 value, whatever the layer's compute dtype."""
    return ops.convert_to_tensor(variable.value, dtype="float32")
