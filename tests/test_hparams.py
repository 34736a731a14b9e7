"""Command lines, JSON overrides and configs made of knobs."""

import json
import os
import subprocess
import sys

import pytest

from electra.hparams import (
    Config,
    Knob,
    load_hparams,
    normalize_argv,
    read_json,
    refuse_positionals,
    write_json,
)
from tests.shared import ROOT

BOOLEANS = ("do_lower_case", "strip_accents", "blanks_separate_docs", "keep_long_lines")


class Small(Config):
    rate = Knob(0.5, "A rate.", unit="per step", above=0, below=1)
    steps = Knob(10, "A count.", at_least=1)
    name = Knob(None, "A name.", kinds=(str,))
    flag = Knob(False, "A switch.")
    mode = Knob("auto", "A choice.", choices=("auto", True, False))
    sizes = Knob({}, "A dict.")

    def __init__(self, **hparams):
        self.fill(hparams, {})


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


def test_hparams_are_read_from_text_and_from_a_file(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"debug": true}')
    assert load_hparams(' {"debug": true}') == {"debug": True}
    assert load_hparams(str(path)) == {"debug": True}
    assert load_hparams("") == load_hparams(None) == load_hparams("{}") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"debug": True}', "line 1, column 11"),
        ("{\n'debug': true}", "line 2, column 1"),
        ('{"seed": 1, "seed": 2}', r"\['seed'\] given more than once"),
        ('{"model_hparam_overrides": {"a": 1, "a": 1}}', r"\['a'\] given more than once"),
        ('["debug"]', "expected a JSON dict"),
        ('"debug"', "expected a JSON dict"),
        ('{"learning_rate": NaN}', "NaN is no JSON number"),
        ("{", "line 1, column 2"),
    ],
)
def test_malformed_hparams_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        load_hparams(text)


def test_a_malformed_file_is_named(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"debug": true,}')
    with pytest.raises(ValueError, match=r"settings\.json: not JSON at line 1"):
        load_hparams(str(path))


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"'nowhere\.json'"):
        load_hparams("nowhere.json")


def test_knobs_take_defaults_and_given_values():
    config = Small(steps=3, rate=0.25)
    assert config.to_json() == {
        "rate": 0.25,
        "steps": 3,
        "name": None,
        "flag": False,
        "mode": "auto",
        "sizes": {},
    }
    assert config.given == {"steps", "rate"}


def test_a_default_dict_is_not_shared():
    Small().sizes["a"] = 1
    assert Small().sizes == {}


def test_an_unknown_name_names_the_closest():
    with pytest.raises(ValueError, match=r"hparam 'stesp' is unknown\. Closest: 'steps'"):
        Small(stesp=3)
    with pytest.raises(ValueError, match=r"hparam 'zzzzzzzz' is unknown\. Known: flag, mode"):
        Small(zzzzzzzz=3)


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"steps": True}, "'steps' must be a whole number. Received: True"),
        ({"steps": 3.0}, "'steps' must be a whole number. Received: 3.0"),
        ({"steps": "3"}, "'steps' must be a whole number. Received: '3'"),
        ({"steps": None}, "'steps' must be a whole number. Received: None"),
        ({"steps": 0}, "'steps' must be at least 1. Received: 0"),
        ({"rate": 1.0}, "'rate' must be above 0 and below 1. Received: 1.0"),
        ({"rate": False}, "'rate' must be a number. Received: False"),
        ({"rate": float("inf")}, "'rate' must be a number. Received: inf"),
        ({"flag": 1}, "'flag' must be true or false. Received: 1"),
        ({"flag": "true"}, "'flag' must be true or false"),
        ({"name": 3}, "'name' must be a string or null"),
        ({"mode": 1}, "'mode' must be one of \"auto\", true, false. Received: 1"),
        ({"sizes": []}, "'sizes' must be a dict"),
    ],
)
def test_wrong_types_and_values_are_refused(hparams, message):
    with pytest.raises(ValueError) as error:
        Small(**hparams)
    assert message in str(error.value)


def test_an_int_passes_for_a_float():
    class Wide(Config):
        weight = Knob(1.0, "A weight.")

        def __init__(self, **hparams):
            self.fill(hparams, {})

    value = Wide(weight=50).weight
    assert value == 50.0
    assert type(value) is float


def test_the_table_shows_every_knob():
    table = Small.markdown().splitlines()
    assert table[2] == "| `rate` | `0.5` | per step; above 0 and below 1 | official |  | A rate. |"
    assert len(table) == 2 + 6


def test_json_is_written_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "hparams.json"
    write_json(path, {"name": "é"})
    write_json(path, {"name": "ü"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "ü"}
    assert os.listdir(path.parent) == ["hparams.json"]


# ---- doors --------------------------------------------------------------------------------------

DOOR = """
from absl import flags
from electra.hparams import run_door

flags.DEFINE_boolean("do_lower_case", True, "")
errors = {"value": ValueError("first\\n  second"), "file": FileNotFoundError(2, "gone", "a.txt"),
          "bug": KeyError("bug"), "ctrl-c": KeyboardInterrupt(),
          "memory": MemoryError("1 TiB"), "full": OSError(28, "No space left on device")}

def main(argv):
    print(flags.FLAGS.do_lower_case)
    if MODE in errors:
        raise errors[MODE]
    return MODE

MODE = %r
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
    assert "device. Make room on the disk" in run_door_with("full").stderr


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 200_000])
def test_a_damaged_json_is_named_with_the_remedy(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json is damaged: (?s:.*)\. Do this"):
        read_json(path, "Do this")
