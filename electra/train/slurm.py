"""TF_CONFIG of a process that srun has started, made of Slurm's environment variables."""

import json
import re

_FIRST_PORT, _PORTS = 20000, 20000  # jobs that share a machine get other ones
_NAMES = (
    *("SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"),
    *("SLURM_PROCID", "SLURM_NODEID", "SLURM_LOCALID", "SLURM_JOB_ID"),
)
_PART = re.compile(r"([^\[\],]+)(?:\[([0-9,-]+)\])?([^\[\],]*)")  # n[01-03,7]-ib
_MOST = 1 << 16  # processes: beyond any run


def tf_config(environment):
    """Returns TF_CONFIG as JSON text, or None outside of a step of several tasks.

    Args:
        environment: dict, os.environ.
    Raises:
        ValueError: the variables contradict each other or are malformed.
    """
    values = {name: environment.get(name, "") for name in _NAMES}
    if not all(values.values()):
        return None
    try:
        hosts = hosts_of(values["SLURM_STEP_NODELIST"])
        counts = tasks_of(values["SLURM_STEP_TASKS_PER_NODE"])
        rank, node, place, job = (int(values[name]) for name in _NAMES[2:])
        places = [(i, k) for i, count in enumerate(counts) for k in range(count)]
        if len(hosts) != len(counts):
            raise ValueError(f"{len(hosts)} machines and {len(counts)} numbers of tasks")
        if len(places) == 1:
            return None
        if rank not in range(len(places)) or places[rank] != (node, place):
            raise ValueError(
                "tasks are not numbered machine by machine. Start them with srun "
                "--distribution=block"
            )
    except ValueError as error:
        about = ", ".join(f"{name}={value:.80}" for name, value in values.items())
        raise ValueError(
            f"Slurm's environment variables make no TF_CONFIG: {error}. Received: {about}. Set "
            "TF_CONFIG yourself, or leave strategy out"
        ) from None
    first = _FIRST_PORT + job % _PORTS
    workers = [f"{hosts[i]}:{first + k}" for i, k in places]
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}})


def hosts_of(text):
    """Returns the machines of a node list.

    >>> hosts_of("login,n[08-10,3]-ib")
    ['login', 'n08-ib', 'n09-ib', 'n10-ib', 'n3-ib']
    """
    if not re.fullmatch(f"(?:{_PART.pattern},)*{_PART.pattern}", text):
        raise ValueError(f"{text[:80]!r} is no list of machines")
    hosts = []
    for prefix, ranges, suffix in _PART.findall(text):
        numbers = _numbers(ranges) if ranges else [""]
        hosts += [f"{prefix}{number}{suffix}" for number in numbers]
        _check(len(hosts))
    return hosts


def tasks_of(text):
    """Returns the number of tasks of each machine.

    >>> tasks_of("4(x2),1")
    [4, 4, 1]
    """
    counts = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,6})(?:\(x([0-9]{1,6})\))?", part)
        if not match:
            raise ValueError(f"{text[:80]!r} are no numbers of tasks")
        counts += [int(match[1])] * int(match[2] or 1)
        _check(len(counts))
    _check(sum(counts))
    return counts


def _numbers(ranges):
    numbers = []
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise ValueError(f"{ranges[:80]!r} is no list of numbers")
        count = int(last or first) - int(first) + 1
        _check(count)
        numbers += [f"{int(first) + i:0{len(first)}}" for i in range(count)]
    return numbers


def _check(count):
    if not 0 < count <= _MOST:
        raise ValueError(f"{count} machines or tasks")
