"""Jobs for tests of engines; a worker loads them without TensorFlow."""

import os
import time
from pathlib import Path

BEGUN = "begun"  # file beside the output folder: which unit was begun on which node


def die(path, *_, **options):
    _note_try(path)
    os._exit(9)


def fail(path, **options):
    _note_try(path)
    raise OSError(28, os.strerror(28), path)


def touch(path, **options):
    Path(path).touch()
    return path


def build_slowly(folder, unit, **options):
    """Builds a unit after some time, and notes before that it was begun."""
    import ray

    from electra.data import units

    node = ray.get_runtime_context().get_node_id()
    with open(Path(folder).parents[2] / BEGUN, "a") as file:
        file.write(f"{os.path.basename(folder)} {node}\n")
    time.sleep(0.2)
    return units.build_unit(folder, unit, **options)


def read_begun(place):
    """Returns list of [unit, node] in the order in which they were begun."""
    path = Path(place) / BEGUN
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def _note_try(path):
    with open(Path(path).with_name("tries"), "a") as file:
        file.write("1")
