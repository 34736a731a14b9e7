"""What every command does: the spellings of its flags, its exit status, its errors."""

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tensorflow as tf

from electra import cli
from electra.cli import normalize_argv, refuse_positionals, run_settings
from electra.storage import write_json
from tests.shared import ROOT

BOOLEANS = ("do_lower_case", "strip_accents", "blanks_separate_docs", "keep_long_lines")


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ("--corpus-dir a-b", "--corpus_dir a-b"),
        ("--corpus-dir=a-b", "--corpus_dir=a-b"),
        ("--corpus_dir a-b", "--corpus_dir a-b"),
        ("--do-lower-case", "--do_lower_case"),
        ("--no-lower-case", "--nodo_lower_case"),
        ("--no_lower_case", "--nodo_lower_case"),
        ("--no-do-lower-case", "--nodo_lower_case"),
        ("--nodo_lower_case", "--nodo_lower_case"),
        ("--do-strip-accents", "--strip_accents"),
        ("--strip_accents", "--strip_accents"),
        ("--no-strip-accents", "--nostrip_accents"),
        ("--nostrip_accents", "--nostrip_accents"),
        ("--no-keep-long-lines", "--nokeep_long_lines"),
        ("--blanks-separate-docs False", "--noblanks_separate_docs"),
        (
            "--blanks-separate-docs True --num-processes 2",
            "--blanks_separate_docs --num_processes 2",
        ),
        ("--blanks-separate-docs=False", "--noblanks_separate_docs"),
        ("--blanks_separate_docs=maybe", "--blanks_separate_docs=maybe"),
        ("--blanks-separate-docs --no-lower-case", "--blanks_separate_docs --nodo_lower_case"),
        ("--no-such-flag 3", "--no_such_flag 3"),
        ("-- --corpus-dir", "-- --corpus-dir"),
    ],
)
def test_official_spellings_become_flags_of_absl(received, expected):
    assert normalize_argv(["x", *received.split()], BOOLEANS) == ["x", *expected.split()]


def test_values_keep_their_hyphens_and_blanks():
    argv = ["my-command", "--hparams", '{"model-dir": "a-b c"}', "--model-name", "-x-"]
    expected = ["my-command", "--hparams", '{"model-dir": "a-b c"}', "--model_name", "-x-"]
    assert normalize_argv(argv, BOOLEANS) == expected


def test_wrong_flags_end_a_command_with_one_line():
    for arguments, line in (
        (["--text_column", "t"], "--model_dir is missing."),
        (["--textcolumn", "t"], "Unknown command line flag 'textcolumn'."),
        (["--multi_label=maybe"], "flag --multi_label=maybe: "),
    ):
        command = [sys.executable, "-m", "electra", "classification", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
        assert done.stderr.startswith("Error: ") and line in done.stderr
        assert done.stderr.endswith(" (--help lists the flags)\n")


def test_leftover_arguments_are_named():
    refuse_positionals(["command"])
    with pytest.raises(ValueError, match="'stray more' belongs to no flag"):
        refuse_positionals(["command", "stray", "more"])


def test_a_runs_hparams_file_is_taken_for_that_model_only(tmp_path):
    path = tmp_path / "hparams.json"
    write_json(path, {"model_name": "m", "seed": 3, "tasks": [], "trial_seed": 4})
    flags = SimpleNamespace(model_name="m", data_dir="D", hparams=str(path))
    assert run_settings(flags) == ("m", "D", {"seed": 3})
    flags.model_name = "n"
    with pytest.raises(ValueError, match="--hparams is of model 'm'.* Received: --model_name n"):
        run_settings(flags)


COMMAND = """
MODE = %r
import atexit, os, signal, tempfile
from absl import flags
from electra.cli import run_command

flags.DEFINE_boolean("do_lower_case", True, "")
errors = {"value": ValueError("first\\n  second"), "file": FileNotFoundError(2, "gone", "a.txt"),
          "bug": KeyError("bug"), "ctrl-c": KeyboardInterrupt(),
          "memory": MemoryError("1 TiB"), "full": OSError(28, "No space left on device"),
          "long": ValueError("x" * 10**5 + ". Expected: less")}
if MODE == "deleted":
    os.chdir(tempfile.mkdtemp())
    os.rmdir(os.getcwd())

def stop():
    os.kill(os.getpid(), signal.SIGTERM)

def main(argv):
    print(flags.FLAGS.do_lower_case)
    if MODE in errors:
        raise errors[MODE]
    if MODE == "sigterm":
        stop()
    elif MODE == "swallowed":
        try:
            stop()
        except KeyboardInterrupt:
            raise ImportError("as a library may") from None
    elif MODE == "late":
        atexit.register(stop)
        return 0
    elif MODE == "text":
        print("\\udcff")
        return 0
    elif MODE == "much":
        print("x" * 10**6)
    return MODE

run_command(main, ("do_lower_case",))
"""


def run_command_with(mode, *arguments, stdout=subprocess.PIPE, **environment):
    return subprocess.run(
        [sys.executable, "-c", COMMAND % (mode,), *arguments],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def test_a_command_ends_with_the_status_of_its_main():
    done = run_command_with(None, "--no-lower-case")
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")
    assert run_command_with(7).returncode == 7


def test_what_the_user_can_mend_ends_a_command_with_one_line_and_status_1():
    done = run_command_with("value")
    assert (done.returncode, done.stderr) == (1, "Error: first second\n")
    done = run_command_with("file")
    assert (done.returncode, done.stderr) == (1, "Error: [Errno 2] gone: 'a.txt'\n")
    done = run_command_with(None, "stray")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Command line: 'stray' belongs to no flag")


def test_bugs_and_those_who_ask_get_the_traceback():
    assert "Traceback" in run_command_with("bug").stderr
    assert "Traceback" in run_command_with("value", ELECTRA_TRACEBACK="1").stderr
    assert "Traceback" not in run_command_with("value", ELECTRA_TRACEBACK="0").stderr


@pytest.mark.parametrize(
    ("mode", "status"), [("ctrl-c", 130), ("sigterm", 143), ("swallowed", 143)]
)
def test_a_stopped_door_ends_with_one_line_and_the_signals_status(mode, status):
    done = run_command_with(mode)
    assert done.returncode == status
    assert done.stderr == "Interrupted. The same command begins again or goes on\n"


def test_a_signal_after_the_end_leaves_the_status():
    done = run_command_with("late")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("mode", "arguments", "status"), [(0, [], 0), ("much", [], 141), (0, ["--help"], 141)]
)
def test_output_that_nobody_reads_ends_a_command_quietly(mode, arguments, status):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = run_command_with(mode, *arguments, stdout=write_end, PYTHONUNBUFFERED="")
    os.close(write_end)
    assert (done.returncode, done.stderr) == (status, "")


def test_what_is_no_unicode_can_be_printed():
    done = run_command_with("text")
    assert (done.returncode, done.stdout) == (0, "True\n\\udcff\n")


def test_a_deleted_working_folder_is_named():
    done = run_command_with("deleted")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The working folder was deleted. Change to one")


def test_a_long_message_keeps_its_remedy():
    line = run_command_with("long").stderr
    assert len(line) < 2100
    assert line.endswith(". Expected: less\n")


def test_too_little_memory_or_disk_ends_a_command_with_the_remedy():
    assert "1 TiB. Choose smaller sizes" in run_command_with("memory").stderr
    assert "device. Make room on the disk" in run_command_with("full").stderr


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        (
            "ResourceExhausted",
            "{{node W}} w.data; No space left on device\n\tFailed to",
            "w.data; No space left on device. Make room on the disk",
        ),
        ("ResourceExhausted", f"w.data; {os.strerror(errno.EDQUOT)}", "exceeded. Make room on"),
        ("OutOfRange", f"w.data; {os.strerror(errno.EFBIG)} [Op:W]", "w.data; File too large. M"),
        ("ResourceExhausted", "OOM when allocating tensor", "Not enough memory: OOM when alloc"),
        ("ResourceExhausted", "w.data; Too many open files", "w.data; Too many open files"),
    ],
)
def test_a_full_disk_inside_tensorflow_is_not_called_memory(kind, message, expected):
    error = getattr(tf.errors, f"{kind}Error")(None, None, message)
    assert expected in cli._explained(error)


def test_other_errors_of_tensorflow_are_bugs():
    assert cli._explained(tf.errors.OutOfRangeError(None, None, "End of sequence")) is None
