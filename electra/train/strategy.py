"""Where a run computes: devices, replicas, precision, compilation.

Enters: hparams. Leaves: a Placement.
"""

import dataclasses
import json
import os

import tensorflow as tf
from absl import logging

_TF_CONFIG = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclasses.dataclass(frozen=True)
class Placement:
    """What was chosen at start.

    Attributes:
        strategy: tf.distribute.Strategy.
        device: "CPU", "GPU" or "TPU".
        dtype: "float32" or "mixed_bfloat16".
        compile_step: True where the whole step is compiled by XLA; else the element-wise chains
            are islands (see electra/model/islands.py).
        is_chief: whether this process writes files.
        num_workers: processes.
    """

    strategy: tf.distribute.Strategy
    device: str
    dtype: str
    compile_step: bool
    is_chief: bool = True
    num_workers: int = 1

    @property
    def num_replicas(self):
        return self.strategy.num_replicas_in_sync

    @property
    def calls_at_once(self):
        """Predictions that run side by side: one alone leaves cores of a CPU idle."""
        return 2 if self.device == "CPU" and self.num_replicas == 1 else 1

    def spread(self, batch):
        """Returns a batch of NumPy arrays as tensors, cut into the replicas' shares."""
        if self.num_replicas == 1:
            return {name: tf.constant(values) for name, values in batch.items()}
        share = len(next(iter(batch.values()))) // self.num_replicas

        def of_replica(context):
            first = context.replica_id_in_sync_group * share
            return {k: tf.constant(v[first : first + share]) for k, v in batch.items()}

        return self.strategy.experimental_distribute_values_from_function(of_replica)

    def describe(self):
        step = "whole step compiled by XLA" if self.compile_step else "compiled islands"
        return (
            f"{self.num_replicas} replica(s) on {self.device}, {self.num_workers} process(es), "
            f"{type(self.strategy).__name__}, {self.dtype}, {step}"
        )


def choose_placement(
    strategy="auto", *, precision="auto", xla="auto", require_gpu=False, use_tpu=False,
    tpu_name=None, tpu_zone=None, gcp_project=None, tpu_job_name=None, num_tpu_cores=None,
):  # fmt: skip
    """Chooses the devices of this process.

    Args: the hparams of the same names.
    Returns: Placement.
    Raises:
        ValueError: no GPU where one is required, multi_worker without TF_CONFIG, a TPU that
            cannot be reached or has another number of cores than given.
    """
    if use_tpu or strategy == "tpu":
        distribution = _tpu_strategy(tpu_name, tpu_zone, gcp_project, tpu_job_name, num_tpu_cores)
        return _placement(distribution, "TPU", precision, xla)
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        if require_gpu:
            raise ValueError(
                "require_gpu is set, but TensorFlow finds no GPU. Install tensorflow[and-cuda] and "
                "look at `nvidia-smi`, or leave require_gpu out to train on the CPU"
            )
        logging.info(
            "No GPU found: training on the CPU. TF_CPP_MIN_LOG_LEVEL=0 in the environment shows "
            "TensorFlow's reasons"
        )
    device = "GPU" if gpus else "CPU"
    if strategy in ("auto", "multi_worker"):
        num_workers = _num_workers()
    if strategy == "auto":
        strategy = "multi_worker" if num_workers > 1 else "mirrored" if len(gpus) > 1 else "one"
    if strategy == "one":
        return _placement(tf.distribute.OneDeviceStrategy(f"/{device}:0"), device, precision, xla)
    if strategy == "mirrored":
        devices = tf.config.list_logical_devices(device)
        distribution = mirrored_strategy([d.name for d in devices])
        return _placement(distribution, device, precision, xla)
    if not os.environ.get("TF_CONFIG"):
        raise ValueError(
            'strategy is "multi_worker", but the environment variable TF_CONFIG is not set. Set it '
            f"in each process, e.g. {_TF_CONFIG}"
        )
    return _placement(tf.distribute.MultiWorkerMirroredStrategy(), device, precision, xla)


def placement_of(config):
    """Returns the Placement that a config's hparams describe, and says so in the log."""
    placement = choose_placement(**config.values(
        "strategy", "precision", "xla", "require_gpu", "use_tpu", "tpu_name", "tpu_zone",
        "gcp_project", "tpu_job_name", "num_tpu_cores",
    ))  # fmt: skip
    logging.info("%s", placement.describe())
    config.precision = "float32" if placement.dtype == "float32" else "bfloat16"
    return placement


def mirrored_strategy(devices):
    """Returns the MirroredStrategy over some devices of this machine, given by name.

    On logical CPU devices the sums are made on one of them: TensorFlow's collective operations
    mix up two strategies of one process there.
    """
    on_cpu = all("CPU" in device for device in devices)
    reduction = tf.distribute.ReductionToOneDevice() if on_cpu else None
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


def _num_workers():
    """Returns the processes that TF_CONFIG names. Raises: ValueError where it is malformed."""
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        config = json.loads(text)
        cluster = config.get("cluster", {})
        for role in cluster.values():
            if type(role) is not list or not all(type(each) is str for each in role):
                raise TypeError(f"{role!r} is no list of addresses")
        number = sum(len(cluster.get(role, [])) for role in ("chief", "worker"))
        if number > 1:  # it names this process too
            cluster[config["task"]["type"]][int(config["task"]["index"])]
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ValueError(
            f"The environment variable TF_CONFIG is malformed ({error!r:.80}). Received: "
            f"{text[:200]}. Expected: {_TF_CONFIG}"
        ) from None
    return number


def _tpu_strategy(name, zone, project, job_name, num_cores):
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=name, zone=zone, project=project, job_name=job_name or "worker"
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ImportError, RuntimeError, ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"The TPU {name!r} (zone {zone!r}, project {project!r}) cannot be used: {error} Set "
            "tpu_name, tpu_zone and gcp_project to those of a running TPU, or use_tpu to false"
        ) from error
    strategy = tf.distribute.TPUStrategy(resolver)
    if num_cores and num_cores > 1 and num_cores != strategy.num_replicas_in_sync:
        raise ValueError(
            f"num_tpu_cores is {num_cores}, but the TPU {name!r} has "
            f"{strategy.num_replicas_in_sync} cores. Set num_tpu_cores to that"
        )
    return strategy


def _placement(strategy, device, precision, xla):
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    compile_step = device != "CPU" if xla == "auto" else bool(xla)
    resolver = strategy.cluster_resolver
    is_worker = resolver is not None and resolver.task_type is not None and device != "TPU"
    return Placement(
        strategy, device, "mixed_bfloat16" if precision == "bfloat16" else "float32", compile_step,
        is_chief=not is_worker or _is_chief(resolver),
        num_workers=max(1, _num_workers()) if is_worker else 1,
    )  # fmt: skip


def _is_chief(resolver):
    """The process of the role chief is; where the cluster has none, worker 0."""
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_id == 0


def has_bfloat16(device):
    """Whether the device multiplies bfloat16 matrices faster than float32 ones.

    True for TPUs, GPUs of compute capability 8.0 or more, and processors with AMX or AVX512-BF16.
    """
    if device == "TPU":
        return True
    if device == "GPU":
        details = [
            tf.config.experimental.get_device_details(gpu)
            for gpu in tf.config.list_physical_devices("GPU")
        ]
        return all(d.get("compute_capability", (0, 0)) >= (8, 0) for d in details)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
            flags = cpuinfo.read()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags
