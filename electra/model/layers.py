"""Weights with the official names: a dense map and a LayerNorm.

They only hold their variables and apply them; the fused operations around them are in kernels.py.
"""

import keras
from keras import ops

from electra.model import kernels


def truncated_normal(stddev):
    """The official initialiser of all kernels and tables but the Glorot ones."""
    return keras.initializers.TruncatedNormal(stddev=stddev)


class Layer(keras.layers.Layer):
    """A Keras layer that leaves dtypes alone: every cast to the compute dtype is written out."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)


class Dense(Layer):
    """x @ kernel + bias, with the kernel cast to the compute dtype.

    Args:
        units: output width.
        initializer: of the kernel; "glorot_uniform" where the official code leaves the default.
    """

    def __init__(self, units, initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.initializer = initializer

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), initializer=self.initializer
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def project(self, x):
        """x @ kernel, for callers that fuse the bias into what follows."""
        return ops.matmul(x, ops.cast(self.kernel, x.dtype))

    def call(self, x):
        return self.project(x) + ops.cast(self.bias, x.dtype)


class LayerNorm(Layer):
    """LayerNorm over the last axis with epsilon 1e-12."""

    def build(self, input_shape):
        width = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=width, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=width, initializer="zeros")

    def call(self, x):
        return kernels.layer_norm(x, float32(self.gamma), float32(self.beta))


def gather_positions(states, positions):
    """Picks positions from each sequence: (B, L, H) and (B, N) give (B, N, H)."""
    return ops.take_along_axis(states, positions[..., None], axis=1)


def float32(variable):
    """A variable's own float32 value, whatever the layer's compute dtype."""
    return ops.convert_to_tensor(variable.value, dtype="float32")
