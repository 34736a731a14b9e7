"""build_pretraining_dataset.py as a user runs it: flags, errors in one line, kills."""

import os
import signal
import subprocess
import sys
import time

import pytest

from electra.data.build import build
from electra.data.manifest import read_manifest
from tests.data.tiny import make_text, read_files, write_files, write_vocab
from tests.shared import ROOT


def command(place, name, *flags):
    paths = {
        "corpus-dir": place / "corpus",
        "vocab-file": place / "vocab.txt",
        "output-dir": place / name,
    }
    arguments = [part for flag, path in paths.items() for part in (f"--{flag}", str(path))]
    return [sys.executable, "build_pretraining_dataset.py", *arguments, *flags]


def run(*arguments, **environment):
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    write_vocab(folder)
    # Two units of work.
    texts = {f"{i}.txt": make_text(400, i) * 20 for i in range(3)}
    write_files(folder / "corpus", texts)
    return folder


FLAGS = (
    "--max-seq-length",
    "64",
    "--no-lower-case",
    "--do-strip-accents",
    "--blanks-separate-docs",
    "False",
    "--eval_fraction=0.34",
    "--nokeep_long_lines",
)


def test_official_spellings_reach_the_build_and_a_second_run_says_it_is_done(place):
    done = run(place, "spelled", *FLAGS)
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(place / "spelled")
    assert manifest["max_seq_length"] == 64
    assert manifest["do_lower_case"] is False
    assert manifest["strip_accents"] is True
    assert manifest["flags"]["blanks_separate_docs"] is False
    assert manifest["flags"]["keep_long_lines"] is False
    assert f"{manifest['train_examples']} training examples" in done.stdout
    again = run(place, "spelled", *FLAGS)
    assert again.returncode == 0
    assert "already built: nothing to do" in again.stderr
    assert again.stdout == done.stdout


@pytest.fixture(scope="module")
def whole(place):
    build(place / "corpus", place / "vocab.txt", place / "whole")
    return read_files(place / "whole")


@pytest.mark.parametrize(
    ("num_processes", "moments"),
    [(1, (None, 0.0)), pytest.param(2, (None, None, 0.0, 0.5, 1.0, 2.0), marks=pytest.mark.slow)],
)
def test_a_build_that_is_killed_gives_the_same_files(place, whole, num_processes, moments):
    name, flags = f"killed{num_processes}", ("--num_processes", str(num_processes))
    kills = 0
    for seconds in moments:
        process = subprocess.Popen(command(place, name, *flags), cwd=ROOT)
        # None waits for a unit of work that is finished, a number that long after the beginning.
        wait_for(place / name / ".build", process, "unit-" if seconds is None else "state")
        time.sleep(seconds or 0)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills
    assert run(place, name, *flags).returncode == 0
    assert read_files(place / name) == whole


def wait_for(folder, process, start):
    """Waits until a finished file or folder begins with `start`, or the process has ended."""
    while process.poll() is None:
        names = os.listdir(folder) if folder.is_dir() else []
        if any(name.startswith(start) and not name.endswith(".tmp") for name in names):
            return
        time.sleep(0.01)


def test_bad_input_in_a_worker_ends_with_one_line_and_status_1(tmp_path):
    write_vocab(tmp_path)
    text = make_text(400) * 20
    write_files(tmp_path / "corpus", {"a.txt": text, "b.txt": b"na\xefve", "c.txt": text})
    done = run(tmp_path, "out", "--num_processes", "2")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "Error" in line]
    assert line.startswith("Error: ")
    assert "b.txt, byte 2 is not UTF-8" in line
    assert "Traceback" not in done.stderr


def test_mistakes_on_the_command_line_end_before_tensorflow_starts(place):
    start = time.monotonic()
    done = run(place, "out", "stray")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("Error: Command line: 'stray' belongs to no")
    assert time.monotonic() - start < 10
    done = run(place, "out", "--max_seq_lenght", "64")
    assert done.returncode == 1
    assert "max_seq_length" in done.stderr
    assert not (place / "out").exists()
