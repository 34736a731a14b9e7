"""Engines, which map jobs to results: this process, processes of this machine, a Ray cluster.

An engine is a generator (function, jobs, options) that calls function(*job, **options) for each
job, anywhere and in any order, and yields what the calls return. The first item of a job is the
path of what it makes. A job's error ends them all. Uses ray, which the extra `ray` installs.
"""

import atexit
import contextlib
import functools
import importlib.util
import itertools
import multiprocessing
import multiprocessing.connection
import os
import platform
import re
import signal
import socket
import threading
from concurrent import futures

from absl import logging

from electra.cli import import_tensorflow_quietly, make_tensorflow_quiet
from electra.hparams import Field

FIELDS = {
    "num_processes": Field(1, "Processes of this machine that share the work.", at_least=1),
    "engine": Field(
        "local",
        "What does the work: this machine, or a Ray cluster whose nodes all see the files.",
        choices=("local", "ray"),
    ),
    "ray_address": Field(
        "auto",
        "The cluster: host:port, auto for the one that this machine is part of, local to start one "
        "of this machine alone.",
    ),
}
_WRITERS = 2  # files that are written at once
_SUBMITTED = 1000  # jobs that Ray knows of at once, at least: more wait here
_PATIENCE_SECONDS = 10  # until a cluster answers
_TRIES = 6  # of a job whose process or node dies; the job may be what kills it


def check(num_processes, engine, ray_address):
    """Raises ValueError: impossible values, or Ray is wanted and not installed."""
    values = {"num_processes": num_processes, "engine": engine, "ray_address": ray_address}
    for name, field in FIELDS.items():
        field.checked(f"--{name}", values[name])
    if engine != "ray" and ray_address != FIELDS["ray_address"].default:
        raise ValueError(f"--ray_address {ray_address} is for --engine ray. Received: {engine}")
    if not re.fullmatch(r"auto|local|.+:\d+", ray_address):
        raise ValueError(f"--ray_address must be host:port, auto or local. Received: {ray_address}")
    if engine == "ray" and num_processes != 1:
        raise ValueError(
            "--engine ray runs as many processes as its nodes have CPUs. Leave --num_processes out"
        )
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        raise ValueError("--engine ray needs Ray. Install it: pip install -e '.[ray]'")


@contextlib.contextmanager
def opened(num_processes, engine, ray_address):
    """Gives two engines: one for jobs that compute with TensorFlow, one for jobs that copy.

    Raises:
        ValueError: no cluster at ray_address.
    """
    if engine == "ray":
        with _connected(ray_address):
            yield functools.partial(in_ray, prepare=_prepare_node), in_ray
    else:
        yield functools.partial(in_processes, number=num_processes), in_threads


def in_threads(function, jobs, options):
    """An engine: threads of this process."""
    with futures.ThreadPoolExecutor(_WRITERS) as pool:
        yield from pool.map(lambda job: function(*job, **options), jobs)


def in_processes(function, jobs, options, number=1):
    """An engine: so many processes of this machine; of one, or of one job, it is this process.

    Args:
        jobs: a list. A process that dies is a ValueError.
    """
    number = min(number, len(jobs))
    if number <= 1:
        yield from (function(*job, **options) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    # Workers end at once when lifeline is closed, as it is when this process dies.
    watched, lifeline = context.Pipe(duplex=False)
    pool = futures.ProcessPoolExecutor(number, context, _prepare_worker, (watched,))
    try:
        submitted = [pool.submit(function, *job, **options) for job in jobs]
        yield from (done.result() for done in futures.as_completed(submitted))
    except futures.process.BrokenProcessPool:
        raise ValueError(
            "A worker process ended at once, perhaps for lack of memory. Run the same command "
            "again, with a smaller --num_processes"
        ) from None
    except BaseException:
        lifeline.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def use_one_thread():
    """Makes TensorFlow use one thread and no GPU; before its first operation."""
    import_tensorflow_quietly()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")


def _prepare_worker(watched):
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: end at once, without a traceback

    def end_with_first_process():
        multiprocessing.connection.wait([watched])
        os._exit(1)

    threading.Thread(target=end_with_first_process, daemon=True).start()
    use_one_thread()
    atexit.register(os._exit, 0)  # TensorFlow shuts down slowly


def in_ray(function, jobs, options, prepare=None):
    """An engine: the cluster that this process is connected to, a CPU for each job.

    Ray repeats jobs whose process or node dies, and shows here what the workers log.

    Args:
        jobs: an iterable, of which only some are known to Ray at once.
        prepare: function that a worker calls before a job.
    Raises:
        ValueError: a job's process died each time. What a job raises, after a log line that says
            which job it was and where it ran.
    """
    import ray

    remote = ray.remote(num_cpus=1, max_retries=_TRIES - 1)(_call)
    jobs, pending = iter(jobs), {}
    try:
        while True:
            limit = max(_SUBMITTED, 2 * int(ray.cluster_resources().get("CPU", 0)))
            for job in itertools.islice(jobs, max(0, limit - len(pending))):  # nodes may go
                name = os.path.basename(job[0])
                pending[remote.options(name=name).remote(function, job, options, prepare)] = name
            if not pending:
                return
            (done,), _ = ray.wait(list(pending))
            name = pending.pop(done)
            yield _result(done, name)
    finally:
        for job in pending:
            ray.cancel(job, force=True)


def _result(done, name):
    """Returns what a job returned, or raises its error."""
    import ray

    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        logging.error("%s failed: %s", name, getattr(error.cause, "__notes__", [error])[-1])
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise ValueError(
            f"{name}: its process died {_TRIES} times, perhaps for lack of memory. Run the same "
            f"command again, on nodes with more memory for each CPU. Ray says: {error}"
        ) from None


def _call(function, job, options, prepare):
    """Does a job in a worker of Ray; a note on its error says where that was."""
    import ray

    folder = os.path.dirname(job[0])
    node = f"node {platform.node()}, {ray.util.get_node_ip_address()}"
    try:
        if not os.path.isdir(folder):  # to be made by none: it would be on this node's own disk
            raise FileNotFoundError(
                f"{folder} is not there on {node}. Every node of the cluster must see corpus, "
                "vocabulary and output under the same path"
            )
        if prepare:
            prepare()
        return function(*job, **options)
    except Exception as error:
        error.add_note(f"on {node}, process {os.getpid()}")
        raise


@functools.cache
def _prepare_node():
    make_tensorflow_quiet()
    use_one_thread()


@contextlib.contextmanager
def _connected(address):
    """Connects this process to a Ray cluster, unless it is connected already."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    own = {"include_dashboard": False} if address == "local" else {}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address not in ("auto", "local"):  # Ray would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_SECONDS).close()
        ray.init(address, logging_level="WARNING", **own)
    except (OSError, RuntimeError) as error:  # RuntimeError: another version
        raise ValueError(
            f"--ray_address {address}: {error}. `ray start --head` on one machine begins a "
            "cluster, and says how others join it"
        ) from None
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray took it
        yield
    finally:
        ray.shutdown()
