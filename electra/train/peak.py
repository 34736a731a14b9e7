"""What the devices of a run could do at most: the yardstick of its throughput."""

import functools
import time

import tensorflow as tf

_WIDTHS = {"CPU": 2048, "GPU": 8192, "TPU": 8192}
_REPEATS = 8


def peak_flops(placement):
    """Measures how fast large matrices are multiplied in the run's precision.

    Args:
        placement: Placement.
    Returns: FLOP/s of all devices together: the best of some products on one device, times the
        devices. Logical CPU devices share one machine and count once.
    """
    dtype = "float32" if placement.dtype == "float32" else "bfloat16"
    share = placement.num_workers if placement.device == "CPU" else placement.num_replicas
    return share * _one_device(placement.device, dtype)


@functools.cache
def _one_device(device, dtype):
    width = _WIDTHS[device]
    multiply = tf.function(tf.matmul, jit_compile=device != "CPU", autograph=False)
    best = float("inf")
    with tf.device(f"{device}:0"):
        x = tf.cast(tf.fill((width, width), 1 / width), dtype)
        for _ in range(_REPEATS):
            started = time.perf_counter()
            y = multiply(x, x)
            y[0, 0].numpy()  # waits for the device
            best = min(best, time.perf_counter() - started)
    return 2 * width**3 / best
