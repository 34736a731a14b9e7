"""Where a run computes: devices, replicas, precision, compilation.

Enters: hparams. Leaves: a Placement.
"""

import contextlib
import dataclasses
import inspect
import os
import re

import tensorflow as tf
from absl import logging

from electra import compilation
from electra.storage import parse_json_dict
from electra.train import slurm
from electra.train.peers import Peers, host_and_port

_ROLES = ("chief", "worker")
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
        peers: to be entered while the run lasts: Peers where there are other processes.
    """

    strategy: tf.distribute.Strategy
    device: str
    dtype: str
    compile_step: bool
    is_chief: bool = True
    num_workers: int = 1
    peers: contextlib.AbstractContextManager = dataclasses.field(
        default_factory=contextlib.nullcontext
    )

    @property
    def num_replicas(self):
        return self.strategy.num_replicas_in_sync

    @property
    def precision(self):
        """The hparam that chooses this dtype."""
        return "float32" if self.dtype == "float32" else "bfloat16"

    @property
    def calls_at_once(self):
        """Predictions that run side by side: one alone leaves cores of a CPU idle."""
        return 2 if self.device == "CPU" and self.num_replicas == 1 else 1

    def check_batch_size(self, train_batch_size, micro_batches=1):
        """Refuses a batch that cannot be shared out alike. Raises: ValueError."""
        if train_batch_size % (self.num_replicas * micro_batches):
            raise ValueError(
                f"train_batch_size {train_batch_size} must be a multiple of replicas x "
                f"gradient_accumulation_steps = {self.num_replicas} x {micro_batches}"
            )

    def spread(self, batch):
        """Returns a batch of NumPy arrays as tensors, cut into the replicas' shares."""
        if self.num_replicas == 1:
            return {name: tf.constant(values) for name, values in batch.items()}
        share = len(next(iter(batch.values()))) // self.num_replicas

        def of_replica(context):
            first = context.replica_id_in_sync_group * share
            return {k: tf.constant(v[first : first + share]) for k, v in batch.items()}

        return self.strategy.experimental_distribute_values_from_function(of_replica)

    def iterate(self, make_dataset):
        """Returns an iterator whose elements strategy.run takes: the batches of a step.

        Args:
            make_dataset: tf.distribute.InputContext -> the batches of the replicas that one input
                pipeline feeds, in turn.
        """
        if self.device == "CPU" and self.num_replicas == 1:
            # The strategy's iterator would copy to a device what is there already, by a dataset of
            # its own that tf.data tunes: ending it can wait up to a minute for the tuning thread.
            return iter(make_dataset(tf.distribute.InputContext()))
        return iter(self.strategy.distribute_datasets_from_function(make_dataset))

    def describe(self):
        step = "whole step compiled by XLA" if self.compile_step else "compiled islands"
        return (
            f"{self.num_replicas} replica(s) on {self.device}, {self.num_workers} process(es), "
            f"{type(self.strategy).__name__}, {self.dtype}, {step}"
        )


def choose_placement(
    strategy="auto",
    *,
    precision="auto",
    xla="auto",
    require_gpu=False,
    use_tpu=False,
    tpu_name=None,
    tpu_zone=None,
    gcp_project=None,
    tpu_job_name=None,
    num_tpu_cores=None,
    compilation_cache_dir=None,
):
    """Chooses the devices of this process, and sets TensorFlow up for them.

    On GPUs float32 products are made in float32, not in TensorFloat-32.

    Args: the hparams of the same names.
    Returns: Placement.
    Raises:
        ValueError: no GPU where one is required, multi_worker without Slurm and TF_CONFIG, or a
            malformed one, a TPU that cannot be reached or has another number of cores than given, a
            compilation_cache_dir that cannot be made.
    """
    compilation.set_environment(compilation_cache_dir)
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
            "No GPU found: using the CPU. TF_CPP_MIN_LOG_LEVEL=0 in the environment shows "
            "TensorFlow's reasons"
        )
    else:
        tf.config.experimental.enable_tensor_float_32_execution(False)
    device = "GPU" if gpus else "CPU"
    by_slurm = None
    if strategy == "multi_worker" and not os.environ.get("TF_CONFIG"):
        by_slurm = slurm.tf_config(os.environ)
    if by_slurm:
        logging.info("TF_CONFIG of Slurm's variables: %s", by_slurm)
        os.environ["TF_CONFIG"] = by_slurm
    if strategy in ("auto", "multi_worker"):
        own, names = _cluster()
    if strategy == "auto":
        strategy = "multi_worker" if len(names) > 1 else "mirrored" if len(gpus) > 1 else "one"
    if strategy == "one":
        return _placement(tf.distribute.OneDeviceStrategy(f"/{device}:0"), device, precision, xla)
    if strategy == "mirrored":
        devices = tf.config.list_logical_devices(device)
        distribution = mirrored_strategy([d.name for d in devices])
        return _placement(distribution, device, precision, xla)
    if not os.environ.get("TF_CONFIG"):
        raise ValueError(
            'strategy is "multi_worker", but the environment variable TF_CONFIG is not set, and no '
            "srun has started several tasks. Start them by srun, or set it in each process, e.g. "
            f"{_TF_CONFIG}"
        )
    peers = Peers(own, names).meet() if len(names) > 1 else contextlib.nullcontext()
    placement = _placement(tf.distribute.MultiWorkerMirroredStrategy(), device, precision, xla)
    return dataclasses.replace(placement, num_workers=max(len(names), 1), peers=peers)


def placement_of(config):
    """Returns the Placement that a config's hparams describe, and says so in the log."""
    names = inspect.signature(choose_placement).parameters
    placement = choose_placement(**config.values(*names))
    logging.info("%s", placement.describe())
    return placement


def mirrored_strategy(devices):
    """Returns the MirroredStrategy over some devices of this machine, given by name.

    On logical CPU devices the sums are made on one of them: TensorFlow's collective operations
    mix up two strategies of one process there.
    """
    on_cpu = all("CPU" in device for device in devices)
    reduction = tf.distribute.ReductionToOneDevice() if on_cpu else None
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


def _cluster():
    """Reads TF_CONFIG.

    Returns: (own address, dict address -> name of all processes, such as "worker 1"); (None, {})
        without a cluster.
    Raises:
        ValueError: it is malformed.
    """
    text = os.environ.get("TF_CONFIG") or "{}"

    def need(holds, problem):
        if not holds:
            raise ValueError(
                f"The environment variable TF_CONFIG is malformed: {problem}. Received: "
                f"{text:.200}. Expected: {_TF_CONFIG}"
            )

    try:
        config = parse_json_dict(text, "JSON")
    except ValueError as error:
        need(False, f"{error!s:.200}")
    cluster, task = config.get("cluster", {}), config.get("task", {})
    need(type(cluster) is dict and type(task) is dict, "cluster and task are no dicts")
    for role, listed in cluster.items():
        need(role in _ROLES, f"the role {role!r} in cluster is none of {', '.join(_ROLES)}")
        need(type(listed) is list, f"the addresses of {role!r} are no list")
    need(len(cluster.get("chief", [])) <= 1, "cluster has several chiefs")
    addresses = [address for role in _ROLES for address in cluster.get(role, [])]
    for address in addresses:
        is_address = type(address) is str and re.fullmatch(".+:[0-9]{1,5}", address)
        need(is_address and 0 < host_and_port(address)[1] < 2**16, f"{address!r} is no host:port")
    need(len(set(addresses)) == len(addresses), "an address in cluster is given twice")
    if not task and len(addresses) < 2:
        return None, {}
    role, index = task.get("type"), str(task.get("index"))
    is_known = type(role) is str and role in cluster
    need(is_known, f"the type of task, {role!r}, is no role of cluster")
    is_index = index.isdecimal() and int(index) < len(cluster[role])
    need(is_index, f"the index of task, {index:.20}, is none of 0 to {len(cluster[role]) - 1}")
    names = {each: f"{role} {i}" for role in cluster for i, each in enumerate(cluster[role])}
    return cluster[role][int(index)], names


def _tpu_strategy(name, zone, project, job_name, num_cores):
    logging.info("Connecting to the TPU %s", name)
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=name, zone=zone, project=project, job_name=job_name or "worker"
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ImportError, OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"The TPU {name!r} (zone {zone!r}, project {project!r}) cannot be used: "
            f"{str(error).rstrip('.'):.500}. Set tpu_name, tpu_zone and gcp_project to those of a "
            "running TPU, or use_tpu to false"
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
    folder = compilation.cache_folder(device) if compile_step else None
    if folder:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        logging.info("Programs that XLA compiles are kept in %s", folder)
    resolver = strategy.cluster_resolver
    is_worker = resolver is not None and resolver.task_type is not None and device != "TPU"
    return Placement(
        strategy,
        device,
        "mixed_bfloat16" if precision == "bfloat16" else "float32",
        compile_step,
        is_chief=not is_worker or _is_chief(resolver),
    )


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
