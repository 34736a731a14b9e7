"""The learning rate as a function of the step.

Enters: the step. Leaves: the rate of that step's update.
"""

import numpy as np
import tensorflow as tf


def learning_rate_at(
    step,
    *,
    learning_rate,
    num_train_steps,
    num_warmup_steps=0,
    warmup_proportion=0.0,
    lr_decay_power=1.0,
    lr_restart_step=0,
):
    """Polynomial decay to 0 times linear warm-up: lr * (1 - t/T)^power * min(1, t/W).

    Args:
        step: integer scalar, the updates made before this one; so the first has rate 0 where
            there is a warm-up.
        learning_rate: lr.
        num_train_steps: T; from there on the rate is that of T: 0 (lr if the power is 0).
        num_warmup_steps: W in steps; 0 means no warm-up.
        warmup_proportion: W as a share of T. The longer of the two counts.
        lr_decay_power: power; 1 is linear.
        lr_restart_step: s, below T; from there on the rate is that of step t - s in a run of T - s
            steps, warm-up included. 0 means no restart.
    Returns: float32 scalar tensor.
    Source: create_optimizer in model/optimization.py of the official code. Differs from source:
        W = 0 gives the factor 1 (there 0/0); the restart is ours.

    >>> float(learning_rate_at(5, learning_rate=1.0, num_train_steps=20, num_warmup_steps=10))
    0.375
    """

    def rate(step, num_train_steps):
        # As the official graph computes it: float32, and products with 1/T and 1/W where
        # TensorFlow rewrites the divisions. Near the end the rounding of 1 - t/T shows.
        step = tf.cast(step, tf.float32)
        done = tf.where(step < num_train_steps, step * _reciprocal(num_train_steps), 1.0)
        decay = 1.0 - done if lr_decay_power == 1.0 else tf.pow(1.0 - done, lr_decay_power)
        warmup = max(num_train_steps * warmup_proportion, num_warmup_steps)
        factor = tf.minimum(1.0, step * _reciprocal(warmup)) if warmup > 0 else 1.0
        return learning_rate * decay * factor

    schedules = {0: lambda step: rate(step, num_train_steps)}
    if lr_restart_step:
        schedules[lr_restart_step] = lambda step: rate(step, num_train_steps - lr_restart_step)
    return rate_of_parts(step, schedules)


def rate_of_parts(step, schedules):
    """The rate of a run whose parts have schedules of their own.

    Args:
        step: integer scalar, as above.
        schedules: dict first step of a part -> function from the step in that part to its rate;
            rising, the first at 0.
    Returns: float32 scalar tensor.

    >>> float(rate_of_parts(9, {0: lambda step: 1.0, 8: lambda step: tf.cast(step, tf.float32)}))
    1.0
    """
    step, result = tf.convert_to_tensor(step), None
    for first_step, schedule in schedules.items():
        start = tf.cast(first_step, step.dtype)
        rate = schedule(tf.maximum(step - start, 0)) if first_step else schedule(step)
        result = tf.where(step >= start, rate, result) if first_step else rate
    return result


def _reciprocal(number):
    return np.float32(1.0) / np.float32(number)
