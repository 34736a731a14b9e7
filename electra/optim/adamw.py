"""ELECTRA's Adam: no bias correction, decoupled weight decay, clipping by the global norm.

Enters: variables by official name, gradients already summed over replicas. Leaves: updated
variables and moments. Imports tensorflow and keras (its variables).
"""

import keras
import numpy as np
import tensorflow as tf

from electra.stacked import by_official_name, parts_of

_WITHOUT_DECAY = ("LayerNorm", "layer_norm", "bias")  # parts of names


class AdamW:
    """Updates a set of variables and keeps their moments.

    For each variable p with gradient g, rate r (schedule times its multiplier), all float32:
        g = g * clip_norm / max(norm, clip_norm)
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g^2
        p = p - r * (m / (sqrt(v) + epsilon) + weight_decay_rate * p)

    Args:
        variables: dict path -> tf.Variable or Keras variable; a stacked one is updated as a whole.
        learning_rate: function from the step (integer scalar tensor) to a float32 scalar.
        rate_multipliers: dict official name -> factor of the rate; 1 where a name is missing. Those
            of a layer's query, key and value are one.
        weight_decay_rate: decay per unit of rate, of all but LayerNorm and biases.
        beta_1, beta_2, epsilon: of Adam.
        clip_norm: largest global norm of the gradients.
        compiled: compile the update of a variable by XLA, once for each shape. On a CPU that takes
            half the time or less; leave it out where the whole step is compiled anyway, and for
            short runs.
    Attributes:
        slots: dict `<official name>/adam_m` and `<official name>/adam_v` -> float32 tf.Variable or
            Part of one, made here, so under the strategy's scope if one is entered.
    Raises:
        ValueError: no variables, or multipliers for names that are no variables.
    Source: AdamWeightDecayOptimizer in model/optimization.py of the official code. Differs from
        source: the norm is that of dense gradients (a gathered table's rows of equal id are
        summed first) unless it is given.
    """

    def __init__(
        self,
        variables,
        *,
        learning_rate,
        rate_multipliers=None,
        weight_decay_rate=0.01,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        clip_norm=1.0,
        compiled=True,
    ):
        if not variables:
            raise ValueError("AdamW: no variables to train. Expected: dict name -> variable")
        multipliers = rate_multipliers or {}
        strangers = sorted(set(multipliers) - set(by_official_name(variables)))
        if strangers:
            raise ValueError(f"AdamW: rate_multipliers name no variable: {strangers}")
        self.learning_rate = learning_rate
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.clip_norm = clip_norm
        self.names = tuple(variables)
        self._variables = tuple(
            v.value if isinstance(v, keras.Variable) else v for v in variables.values()
        )
        self._multipliers = tuple(
            _factor(multipliers, name, variable.shape)
            for name, variable in zip(self.names, self._variables, strict=True)
        )
        self._decays = tuple(
            0.0 if any(part in name for part in _WITHOUT_DECAY) else weight_decay_rate
            for name in self.names
        )
        moments = {
            name: tf.Variable(tf.zeros(variable.shape), trainable=False, name=name)
            for path, variable in zip(self.names, self._variables, strict=True)
            for name in (f"{path}/adam_m", f"{path}/adam_v")
        }
        self.slots, self._moments = by_official_name(moments), tuple(moments.values())
        self._update = self._update_one
        if compiled:
            self._update = tf.function(self._update_one, jit_compile=True, autograph=False)

    def apply(self, gradients, step, norm=None):
        """Updates every variable that has a gradient.

        Call it in replica context with gradients that are equal on all replicas: each replica
        updates its own copy.

        Args:
            gradients: list in the order of the variables: tensor, tf.IndexedSlices, or None for a
                variable that is left alone (no decay either).
            step: integer scalar, the updates made before this one.
            norm: float32 scalar that counts as the gradients' global norm; None computes it.
        Returns: (learning_rate, norm), float32 scalars; the norm is that before clipping.
        Raises:
            ValueError: another number of gradients than variables, or all of them None.
        """
        if len(gradients) != len(self.names):
            raise ValueError(
                f"AdamW: expected {len(self.names)} gradients. Received: {len(gradients)}"
            )
        present = tuple(i for i, gradient in enumerate(gradients) if gradient is not None)
        if not present:
            raise ValueError("AdamW: every gradient is None. Does the loss reach a variable?")
        # Converting IndexedSlices sums the rows of equal id.
        dense = [tf.cast(tf.convert_to_tensor(gradients[i]), tf.float32) for i in present]
        norm = tf.linalg.global_norm(dense) if norm is None else tf.cast(norm, tf.float32)
        scale = self.clip_norm / tf.maximum(norm, self.clip_norm)
        rate = tf.cast(self.learning_rate(step), tf.float32)
        replica = _local_index()
        for i, gradient in zip(present, dense, strict=True):
            tensors = (self._variables[i], *self._moments[2 * i : 2 * i + 2])
            factor = self._multipliers[i]
            self._update(
                *(_copy(tensor, replica) for tensor in tensors),
                gradient,
                scale,
                rate if factor is None else rate * factor,
                self._decays[i],
            )
        return rate, norm

    def reset(self):
        """Sets the moments to 0."""
        for moment in self._moments:
            moment.assign(tf.zeros(moment.shape))

    def _update_one(self, variable, adam_m, adam_v, gradient, scale, rate, decay):
        # Only `decay` is a Python number: a program is compiled for each of its values.
        gradient = gradient * scale
        new_m = self.beta_1 * adam_m + (1.0 - self.beta_1) * gradient
        new_v = self.beta_2 * adam_v + (1.0 - self.beta_2) * tf.square(gradient)
        change = new_m / (tf.sqrt(new_v) + self.epsilon)
        if decay:
            change += decay * variable
        adam_m.assign(new_m)
        adam_v.assign(new_v)
        variable.assign_sub(rate * change)


def _factor(multipliers, path, shape):
    """Returns what a variable's rate is multiplied by: a number or one for each layer; None: 1."""
    parts = parts_of(path, *shape[:1])
    factors = [multipliers.get(name, 1.0) for name in parts]
    if len(set(factors)) == 1:
        return None if factors[0] == 1.0 else factors[0]
    by_layer = np.ones((shape[0], *[1] * (len(shape) - 1)), np.float32)
    for index, factor in zip(parts.values(), factors, strict=True):
        by_layer[index[0]] = factor
    return by_layer


def _local_index():
    """Returns the number of the running replica, or None on TPU, where TensorFlow picks copies."""
    if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
        return None
    context = tf.distribute.get_replica_context()
    assert context is not None, "AdamW.apply belongs in replica context (strategy.run)"
    index = tf.get_static_value(context.replica_id_in_sync_group)
    return None if index is None else int(index)


def _copy(variable, replica):
    """Returns the copy of a variable that belongs to a replica, the variable if it has one."""
    if replica is None:
        return variable
    copies = tf.distribute.get_strategy().experimental_local_results(variable)
    return copies[replica % len(copies)]
