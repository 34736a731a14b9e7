"""What every command does: the spellings of its flags, its exit status, its errors."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from electra.door import normalize_argv, refuse_positionals, run_settings
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
    argv = ["my-door", "--hparams", '{"model-dir": "a-b c"}', "--model-name", "-x-"]
    expected = ["my-door", "--hparams", '{"model-dir": "a-b c"}', "--model_name", "-x-"]
    assert normalize_argv(argv, BOOLEANS) == expected


def test_leftover_arguments_are_named():
    refuse_positionals(["door"])
    with pytest.raises(ValueError, match="'stray more' belongs to no flag"):
        refuse_positionals(["door", "stray", "more"])


def test_a_runs_hparams_file_is_taken_for_that_model_only(tmp_path):
    path = tmp_path / "hparams.json"
    write_json(path, {"model_name": "m", "seed": 3, "tasks": [], "trial_seed": 4})
    flags = SimpleNamespace(model_name="m", data_dir="D", hparams=str(path))
    assert run_settings(flags) == ("m", "D", {"seed": 3})
    flags.model_name = "n"
    with pytest.raises(ValueError, match="--hparams is of model 'm'.* Received: --model_name n"):
        run_settings(flags)


DOOR = """
MODE = %r
from absl import flags
from electra.door import run_door

flags.DEFINE_boolean("do_lower_case", True, "")
errors = {"value": ValueError("first\\n  second"), "file": FileNotFoundError(2, "gone", "a.txt"),
          "bug": KeyError("bug"), "ctrl-c": KeyboardInterrupt(),
          "memory": MemoryError("1 TiB"), "full": OSError(28, "No space left on device")}
if MODE == "tensorflow":
    import tensorflow as tf
    full = "weights.data; No space left on device"
    errors["tensorflow"] = tf.errors.ResourceExhaustedError(None, None, full)

def main(argv):
    print(flags.FLAGS.do_lower_case)
    if MODE in errors:
        raise errors[MODE]
    return MODE

run_door(main, ("do_lower_case",))
"""


def run_door_with(mode, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", DOOR % (mode,), *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_a_door_ends_with_the_status_of_its_main():
    done = run_door_with(None, "--no-lower-case")
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")
    assert run_door_with(7).returncode == 7


def test_what_the_user_can_mend_ends_a_door_with_one_line_and_status_1():
    done = run_door_with("value")
    assert (done.returncode, done.stderr) == (1, "Error: first second\n")
    done = run_door_with("file")
    assert (done.returncode, done.stderr) == (1, "Error: [Errno 2] gone: 'a.txt'\n")
    done = run_door_with(None, "stray")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Command line: 'stray' belongs to no flag")


def test_bugs_and_those_who_ask_get_the_traceback():
    assert "Traceback" in run_door_with("bug").stderr
    assert "Traceback" in run_door_with("value", ELECTRA_TRACEBACK="1").stderr
    assert "Traceback" not in run_door_with("value", ELECTRA_TRACEBACK="0").stderr


def test_ctrl_c_ends_a_door_with_one_line_and_status_130():
    done = run_door_with("ctrl-c")
    assert done.returncode == 130
    assert done.stderr == "Interrupted. The same command begins again or goes on\n"


def test_too_little_memory_or_disk_ends_a_door_with_the_remedy():
    assert "1 TiB. Choose smaller sizes" in run_door_with("memory").stderr
    for mode in ("full", "tensorflow"):
        assert "device. Make room on the disk" in run_door_with(mode).stderr
