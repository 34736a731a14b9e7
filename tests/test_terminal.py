"""A command at a terminal, and in a pipe: what a person reads, and what a log file holds."""

import json
import os
import pty
import re
import subprocess
import sys
import termios

import pytest

from tests.pretrain import runs
from tests.shared import ROOT

COMMAND = """
import sys
from absl import logging
from electra import console
from electra.cli import run_command

def main(_):
    console.log_info()
    with console.bar(total=2, desc="rows") as bar:
        bar.update(1)
        logging.info("a note")
        logging.warning("a %s", "warning")
    raise ValueError("an error")

run_command(main)
"""


def at_terminal(command):
    """Runs a command whose standard error is a terminal. Returns (status, lines, stdout); what
    was drawn over is in a line too, up to the carriage return."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    try:
        process = subprocess.Popen(
            command, stderr=theirs, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # Linux: nobody has it open any more
                break
            if not part:
                break
            written += part
        output, _ = process.communicate()
    finally:
        os.close(ours)
    lines = re.split(r"[\r\n]+", written.decode())
    return process.returncode, [line.strip() for line in lines if line.strip()], output


def test_a_terminal_has_plain_lines_above_the_bar():
    status, lines, _ = at_terminal([sys.executable, "-c", COMMAND])
    assert status == 1
    assert {"a note", "Warning: a warning", "Error: an error"} <= set(lines)
    assert any(line.startswith("rows:  50%") for line in lines)


@pytest.mark.parametrize("place", ["a terminal with --verbosity", "a pipe"])
def test_others_have_prefixes(place):
    command = [sys.executable, "-c", COMMAND]
    if place == "a pipe":
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        lines = done.stderr.splitlines()
        assert "rows" not in done.stderr
    else:
        _, lines, _ = at_terminal([*command, "--verbosity=0"])
    note, warning = (next(line for line in lines if text in line) for text in ("note", "warning"))
    assert re.match(r"I\d{4} \d\d:\d\d:\d\d\.\d+ .*\] a note$", note)
    assert re.match(r"W\d{4} .*\] a warning$", warning)


def test_verbosity_hides_notes():
    _, lines, _ = at_terminal([sys.executable, "-c", COMMAND, "--verbosity=-1"])
    assert not any("note" in line for line in lines)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("terminal") / "my data")


def pretraining(data, name):
    hparams = json.dumps(runs.TINY | {"log_every_steps": 4})
    flags = {"--data_dir": str(data), "--model_name": name, "--hparams": hparams}
    command = [sys.executable, "-m", "electra", "pretrain"]
    return [*command, *(word for pair in flags.items() for word in pair)]


def test_pre_training_at_a_terminal_is_a_bar_with_losses_above_it(data):
    status, lines, output = at_terminal(pretraining(data, "bar"))
    assert (status, output) == (0, "")
    bars = [line for line in lines if line.startswith("training:")]
    assert any("0/12, compiling (usually" in bar for bar in bars)
    assert re.search(r"\| 12/12, [\d.]+ examples/s$", bars[-1])
    told = [line for line in lines if line.startswith("step ") and " rate " in line]
    assert [line.split("  ")[0] for line in told] == ["step 4", "step 8", "step 12"]
    assert not any("ETA" in line or "examples/s" in line for line in told)
    # Nothing of TensorFlow's, no process ids, no names of files.
    assert [line for line in lines if re.match(r"[IWE]\d{4} |WARNING|.*oneDNN", line)] == []
    saved = lines.index(f"Saved to {data}/models/bar; next:")
    assert len(lines) == saved + 3 and " --text 'The chef ate the meal.'" in lines[-1]


def test_pre_training_in_a_pipe_is_lines(data):
    done = subprocess.run(
        pretraining(data, "lines"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "training:" not in done.stderr and "\r" not in done.stderr
    assert "] Compiling (usually" in done.stderr
    told = re.findall(r"\] (step \d+/12)  loss .* examples/s", done.stderr)
    assert told == ["step 4/12", "step 8/12", "step 12/12"]
