"""Tasks of a batch system that share a build: the files of one process, whoever dies or is late."""

import os
import signal
import subprocess
import time

import pytest

from electra.data import units
from electra.data.build import WORK, build
from electra.data.manifest import read_manifest
from electra.storage import locked
from tests.data.test_build import place, run, small_units  # noqa: F401
from tests.data.tiny import make_text, read_files, write_files, write_vocab
from tests.shared import ROOT
from tests.test_build_command import command, wait_for

TASKS = 4


@pytest.fixture
def shared(place, small_units):  # noqa: F811
    run(place, "whole", eval_fraction=0.2)
    return place


def run_task(place, index, number=TASKS):  # noqa: F811
    return run(place, eval_fraction=0.2, num_tasks=number, task_index=index)


def test_the_last_task_joins_what_all_have_built(shared, caplog):
    with caplog.at_level("INFO", logger="absl"):
        for index in (2, 0, 3):
            assert run_task(shared, index) is None
    assert "task 3 of 4 is done" in caplog.text
    assert "tasks 1 have more to do" in caplog.text
    assert not list((shared / "out").glob("*.tfrecord*"))
    assert run_task(shared, 1) == read_manifest(shared / "whole")
    assert read_files(shared / "out") == read_files(shared / "whole")
    assert not (shared / "out" / WORK).exists()
    assert run_task(shared, 2) == read_manifest(shared / "whole")  # late


def test_every_task_builds_its_own_units_alone(shared, monkeypatch):
    built, build_unit = [], units.build_unit
    monkeypatch.setattr(
        units,
        "build_unit",
        lambda folder, *a, **k: built.append(folder) or build_unit(folder, *a, **k),
    )
    counts = []
    for index in range(TASKS):
        run_task(shared, index)
        counts.append(len(built) - sum(counts))
    assert len(set(built)) == len(built)
    assert max(counts) - min(counts) <= 1
    assert min(counts) > 2


def test_another_number_of_tasks_or_none_goes_on_with_what_is_there(shared):
    run_task(shared, 0)
    run_task(shared, 1, 2)
    assert run(shared, eval_fraction=0.2) is not None
    assert read_files(shared / "out") == read_files(shared / "whole")


def test_a_task_that_finds_another_joining_leaves_it_to_that_one(shared, caplog):
    for index in range(TASKS - 1):
        run_task(shared, index)
    with locked(shared / "out" / WORK, "", ".joining"), caplog.at_level("INFO", logger="absl"):
        assert run_task(shared, TASKS - 1) is None
    assert "another task joins" in caplog.text
    assert run_task(shared, 0) is not None


def test_a_task_runs_once_at_a_time_and_beside_tasks_alone(shared):
    work = shared / "out" / WORK
    with locked(work, "", shared=True), locked(work, "", ".task-1"):
        with pytest.raises(ValueError, match="at work in .*Task 1 runs already"):
            run_task(shared, 1)
        run_task(shared, 2)
        with pytest.raises(ValueError, match="at work in .*Wait for that build"):
            run(shared, eval_fraction=0.2)


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ({"num_tasks": 2}, "--task_index must be 0 to 1, with --num_tasks 2. Received: None"),
        ({"task_index": 1}, "--task_index must be 0 to 0, with --num_tasks 1. Received: 1"),
        ({"num_tasks": 4, "task_index": 4}, "must be 0 to 3, with --num_tasks 4. Received: 4"),
        ({"num_tasks": 4, "task_index": -1}, "--task_index.* at least 0. Received: -1"),
        ({"num_tasks": 0, "task_index": 0}, "--num_tasks.* at least 1"),
    ],
)
def test_an_impossible_share_is_refused(shared, share, message):
    with pytest.raises(ValueError, match=message):
        run(shared, **share)
    assert not (shared / "out").exists()


def test_four_processes_of_which_two_are_killed_give_the_files_of_one(tmp_path):
    write_vocab(tmp_path)
    write_files(tmp_path / "corpus", {f"{i}.txt": make_text(300, i) * 20 for i in range(8)})
    build(tmp_path / "corpus", tmp_path / "vocab.txt", tmp_path / "whole")

    def start(index):
        flags = ("--num_tasks", str(TASKS), "--task_index", str(index))
        return subprocess.Popen(command(tmp_path, "out", *flags), cwd=ROOT)

    tasks = [start(index) for index in range(TASKS)]
    try:
        for task in tasks[1:3]:
            wait_for(tmp_path / "out" / WORK, task, "unit-")
            time.sleep(0.1)
            task.send_signal(signal.SIGKILL)
        assert tasks[0].wait(120) == tasks[3].wait(120) == 0
        assert -signal.SIGKILL in [task.wait(120) for task in tasks]
        again = [start(index) for index in (1, 2)]
        assert [task.wait(120) for task in again] == [0, 0]
    finally:
        for task in tasks:
            task.kill()
    assert read_files(tmp_path / "out") == read_files(tmp_path / "whole")
    assert os.listdir(tmp_path / "out") and not (tmp_path / "out" / WORK).exists()
