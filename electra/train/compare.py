"""Says whether two runs are equal: `python -m electra.train.compare A B`.

A and B are model folders, or checkpoints. Compared bit for bit: step, tensors (parameters and
moments) and state of the newest checkpoints, and between folders also the logs and TensorBoard's
scalars, throughput left out. The first differences are printed, --output takes all of them. Exit
status: 0 equal, 1 different, 2 nothing to compare.
"""

import argparse
import collections
import itertools
import os
import signal
import sys

import numpy as np

from electra.cli import exit_status, import_tensorflow_quietly, make_tensorflow_quiet

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: no traceback of the import
    make_tensorflow_quiet()
    import_tensorflow_quietly()

import tensorflow as tf

from electra.saving import checkpoints
from electra.storage import write_text
from electra.train import tensorboard
from electra.train.lines import EVAL_LOG, THROUGHPUT, TRAIN_LOG, read_lines

_SHOWN = 10  # differences


def differences(a, b):
    """Compares two runs.

    Args:
        a, b: model folders, or checkpoints as checkpoints.read takes them.
    Returns: list of lines, one for each difference; empty for equal runs.
    Raises:
        FileNotFoundError, ValueError: no checkpoint there, or a damaged one.
    """
    lines = compare_checkpoints(checkpoints.read(a), checkpoints.read(b))
    if os.path.isdir(a) and os.path.isdir(b):
        for name in (TRAIN_LOG, EVAL_LOG):
            lines += compare_logs(os.path.join(a, name), os.path.join(b, name))
        lines += compare_events(a, b)
    return lines


def compare_checkpoints(a, b):
    """Compares two Checkpoints. Returns list of lines."""
    lines = []
    if a.step != b.step:
        lines.append(f"step: {a.step} and {b.step}")
    keys = {key for key in {*a.state, *b.state} if a.state.get(key) != b.state.get(key)}
    if keys - {"seconds"}:  # how long it took may differ
        lines.append(f"state of the loop: {', '.join(sorted(keys))}")
    for name in sorted({*a.tensors, *b.tensors}):
        if name not in a.tensors or name not in b.tensors:
            lines.append(f"{name}: only in {b.path if name in b.tensors else a.path}")
        else:
            lines += _compare_tensors(name, a.tensors[name], b.tensors[name])
    return lines


def compare_logs(a, b):
    """Compares two .jsonl logs, throughput left out. Returns list of lines."""
    name, lines = os.path.basename(a), []
    pairs = itertools.zip_longest(read_lines(a), read_lines(b))
    for number, (one, other) in enumerate(pairs, 1):
        if one is None or other is None:
            longer, entry = (b, other) if one is None else (a, one)
            lines.append(f"{name} line {number} (step {entry['step']}): only in {longer}")
            continue
        for key in sorted({*one, *other}):
            # repr, because NaN differs from itself
            values = repr(one.get(key)), repr(other.get(key))
            if not _is_throughput(key) and values[0] != values[1]:
                lines.append(f"{name} line {number}, {key}: {values[0]} and {values[1]}")
    return lines


def compare_events(a, b):
    """Compares TensorBoard's scalars of two folders, throughput left out. Returns list of lines."""
    (one, damaged), (other, damaged_too) = _scalars(a), _scalars(b)
    return (
        damaged
        + damaged_too
        + [
            f"TensorBoard {tag} step {step}: {one.get((tag, step), 'none')} and "
            f"{other.get((tag, step), 'none')}"
            for tag, step in sorted({*one, *other})
            if repr(one.get((tag, step))) != repr(other.get((tag, step)))
        ]
    )


def main(argv=None):
    """Compares the two runs named in argv and prints what differs. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m electra.train.compare", description="Says whether two runs are equal."
    )
    parser.add_argument("a", help="model folder or checkpoint")
    parser.add_argument("b", help="model folder or checkpoint")
    parser.add_argument("--output", help="file to write all differences to")
    arguments = parser.parse_args(argv)
    try:
        lines = differences(arguments.a, arguments.b)
        if arguments.output:
            write_text(arguments.output, "".join(f"{line}\n" for line in lines))
    except (OSError, ValueError, MemoryError, tf.errors.OpError) as error:
        parser.error(" ".join(str(error).split()))
    print("\n".join(lines[:_SHOWN]) if lines else "equal")
    if lines[_SHOWN:]:
        print(f"and {len(lines) - _SHOWN} more: {arguments.output or '--output FILE takes all'}")
    return 1 if lines else 0


def _compare_tensors(name, one, other):
    if one.shape != other.shape or one.dtype != other.dtype:
        return [f"{name}: {one.dtype} {one.shape} and {other.dtype} {other.shape}"]
    if one.tobytes() == other.tobytes():
        return []
    distance = np.abs(one.astype(np.float64) - other.astype(np.float64))
    count = np.count_nonzero(distance)
    if not count:
        return [f"{name}: equal numbers, different bits (0.0 and -0.0)"]
    return [f"{name}: differs in {count} of {one.size}, by {distance.max():.3g} at most"]


def _is_throughput(name):
    return name.rsplit("/", 1)[-1] in THROUGHPUT


def _scalars(folder):
    """Returns dict (tag, step) -> list of values, in the order in which they were written, and a
    line for each damaged file.
    """
    scalars, damaged = collections.defaultdict(list), []
    for path in tensorboard.event_files(folder):
        events, damage = tensorboard.read_events(path)
        damaged += [f"{path} is damaged after {len(events)} events"] if damage else []
        run = os.path.relpath(os.path.dirname(path), folder)
        for event in events:
            for value in event.summary.value:
                tensor = value.tensor  # looked at first: a few bytes may claim a huge one
                is_scalar = tensor.dtype == tf.float32.as_datatype_enum
                if is_scalar and not tensor.tensor_shape.dim and not _is_throughput(value.tag):
                    tag = f"{run}/{value.tag}".removeprefix("./")
                    scalars[tag, event.step].append(float(tf.make_ndarray(tensor)))
    return dict(scalars), damaged


if __name__ == "__main__":
    sys.exit(exit_status(main))
