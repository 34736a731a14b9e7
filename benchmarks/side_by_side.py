"""Measures two sides alternately, each in a process of its own that waits while the other works.

A side is the benchmark's own script called with `--side NAME`: it sets itself up, then hands a
function that measures once to `serve`, which calls it whenever the driver asks.
"""

import argparse
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
_HEAD = """# Results of the benchmarks

Every line was appended by the command that it names. A ratio is the median over the rounds of one
run, with its range; both sides were measured alternately.

| date | commit | machine | command | result |
|---|---|---|---|---|
"""


def positive(text):
    """Reads a number of an option of the command line."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more. Received: {text}")
    return int(text)


def serve(measure):
    """Measures once for each line on standard input.

    Args: measure: function without arguments that returns a number.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not reach the driver
    for _ in sys.stdin:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        out.write(json.dumps({"value": measure(), "peak_mb": kilobytes / 1024}) + "\n")
        out.flush()


class Side:
    """A side in its own process; a context manager.

    Attributes:
        values: list of what each measurement returned.
        peak_mb: resident memory at its highest, as of the last measurement's start.
    """

    def __init__(self, name, argv):
        self.name, self.values, self.peak_mb = name, [], 0
        self._process = subprocess.Popen(
            [sys.executable, *argv, "--side", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
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


def alternate(names, argv, rounds):
    """Measures all sides in turn, in reverse order every other round, after one round to warm up.

    Returns: dict name -> Side.
    """
    sides = {name: Side(name, argv) for name in names}
    for each in sides.values():  # set up one after another
        each.measure()
        each.values.clear()
    for i in range(rounds):
        for name in names if i % 2 == 0 else names[::-1]:
            sides[name].measure()
        print(
            f"round {i + 1}: " + ", ".join(f"{n} {s.values[-1]:.4g}" for n, s in sides.items()),
            flush=True,
        )
    for each in sides.values():
        each.__exit__()
    return sides


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
    if not RESULTS.exists():
        RESULTS.write_text(_HEAD, encoding="utf-8")
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
