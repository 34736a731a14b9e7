"""Sets TensorFlow up before any test module imports it: quiet, two logical CPU devices.

Several tests compare one device with two replicas in this process; the number of logical devices
is fixed once TensorFlow has started, so it is chosen here. Programs that tests start as
subprocesses see the machine as it is.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the expected numbers are a CPU's
# The tests compile much and compute little. Programs that tests start inherit this.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import random

import numpy as np
import pytest
import tensorflow as tf

LOGICAL_CPUS = 2

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * LOGICAL_CPUS,
)
tf.config.threading.set_intra_op_parallelism_threads(2)
tf.config.threading.set_inter_op_parallelism_threads(2)
tf.get_logger().setLevel("ERROR")


@pytest.fixture(autouse=True)
def same_random_numbers_in_every_order():
    """Seeds the global generators, so that no test depends on those before it."""
    random.seed(0)
    np.random.seed(0)
    tf.random.set_seed(0)


def pytest_collection_modifyitems(config, items):
    """Leaves the tests marked slow out, unless a -m expression or their own name asks for them."""
    if config.option.markexpr or config.option.keyword or any("::" in a for a in config.args):
        return
    skip = pytest.mark.skip(reason="slow; run with -m slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
