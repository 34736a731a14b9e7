"""Measures two sides alternately, each in a process of its own that waits while the other works.

A side is the benchmark's own script called with `--side NAME`: it sets itself up, then measures
once whenever the driver asks.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
sys.path.insert(0, str(ROOT))


def positive(text):
    """Reads a number of an option of the command line."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more. Received: {text}")
    return int(text)


def parser_of(doc, sides=(), rounds=5):
    """Returns a parser with the options that benchmarks share: --rounds, and --side of `sides`."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--rounds", type=positive, default=rounds)
    if sides:
        parser.add_argument("--side", choices=sides, help="measure one side, in this process")
    return parser


def measure_sides(parser, sides, names=None):
    """Measures all sides in turn, in reverse order every other round, after one to warm up.

    In a process that is a side of its own: serves the measurements, then ends it.

    Args:
        sides: dict name -> function of the parsed arguments; returns a function without arguments
            that measures once and returns a number.
        names: of those that are measured where --side names none; None for all.
    Returns: (parsed arguments, dict name -> Side).
    """
    args = parser.parse_args()
    if args.side:
        serve(sides[args.side](args))
        sys.exit()
    names = list(names or sides)
    with contextlib.ExitStack() as stack:
        sides = {name: stack.enter_context(Side(name)) for name in names}
        for side in sides.values():  # set up one after another
            side.measure()
            side.values.clear()
        for i in range(args.rounds):
            for name in names if i % 2 == 0 else names[::-1]:
                sides[name].measure()
            values = ", ".join(f"{name} {side.values[-1]:.4g}" for name, side in sides.items())
            print(f"round {i + 1}: {values}", flush=True)
    return args, sides


def serve(measure):
    """Measures once for each line on standard input."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not reach the driver
    for _ in sys.stdin:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        out.write(json.dumps({"value": measure(), "peak_mb": kilobytes / 1024}) + "\n")
        out.flush()


class Side:
    """A side in its own process; a context manager.

    Args:
        name: of the side.
        argv: the benchmark's script and its arguments; default: those of this process.
    Attributes:
        values: list of what each measurement returned.
        peak_mb: resident memory at its highest, as of the last measurement's start.
    """

    def __init__(self, name, argv=None):
        self.name, self.values, self.peak_mb = name, [], 0
        path = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
        self._process = subprocess.Popen(
            [sys.executable, *(argv or sys.argv), "--side", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "TF_CPP_MIN_LOG_LEVEL": "2"},
        )

    def measure(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: ended with status {self._process.wait()}; see above")
        reply = json.loads(line)
        self.values.append(reply["value"])
        self.peak_mb = reply["peak_mb"]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.stdin.close()
        self._process.wait()


def beside_fastest(mine, peers):
    """Returns how many times faster than the fastest of several peers a Side is, as text.

    Args: mine: Side; peers: dict name -> Side; all of them measure rates.
    """
    name, peer = max(peers.items(), key=lambda item: statistics.median(item[1].values))
    ratios = [a / b for a, b in zip(mine.values, peer.values, strict=True)]
    return f"{spread(ratios)} times {name}: {spread(mine.values)} and {spread(peer.values)}"


def spread(values, digits=2):
    """Returns the median with its range, as text."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def record(result):
    """Prints a result and appends it to RESULTS.md."""
    print(result)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    command = " ".join([os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]])
    with open(RESULTS, "a", encoding="utf-8") as file:
        row = (date.today(), commit, machine(), f"`{command}`", result)
        file.write("| " + " | ".join(map(str, row)) + " |\n")


def machine():
    """Names the processor, its cores and what speeds bfloat16 up."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    model = next((x.split(":")[1].strip() for x in info.splitlines() if "model name" in x), "?")
    units = [name for name in ("amx_bf16", "avx512_bf16") if name in info]
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {' '.join(units) or 'no bf16 units'}"
