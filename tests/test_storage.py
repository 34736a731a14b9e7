"""Files that appear whole, damaged JSON, folders that one process keeps."""

import errno
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from electra.storage import locked, parse_json_dict, published, read_json, write_json


def test_json_is_written_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "hparams.json"
    write_json(path, {"name": "é"})
    write_json(path, {"name": "ü"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "ü"}
    assert os.listdir(path.parent) == ["hparams.json"]


SHAPE = {"name": str, "steps?": int, "scores": {str: {str: float}}, "rows": [{"labels": [str]}]}


def test_what_was_written_is_read_in_its_shape(tmp_path):
    values = {"name": "1", "scores": {"cola": {"mcc": 1, "loss": 0.5}}, "rows": [], "more": None}
    for each in (values, {**values, "steps": 2}):
        write_json(tmp_path / "a.json", each)
        assert read_json(tmp_path / "a.json", "Remove it", SHAPE) == each


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("name", None, "it lacks 'name'"),
        ("name", "1", "'name' of it is 1, expected a string"),
        ("steps", "true", "'steps' of it is True, expected a whole number"),
        ("scores", "[]", "'scores' of it is [], expected a dict"),
        ("scores", '{"a": []}', "'a' of 'scores' of it is [], expected a dict"),
        ("scores", '{"a": {"b": "5"}}', "'b' of 'a' of 'scores' of it is '5', expected a finite"),
        ("scores", '{"a": {"b": 1e999}}', "is inf, expected a finite number"),
        ("scores", '{"a": {"b": 1e290}}', "is 1e+290, expected a finite number"),
        ("scores", '{"a": {"b": NaN}}', "NaN is no JSON number"),
        ("scores", '{"a": {"b": 1%s}}' % ("0" * 400), "has 401 digits"),
        ("rows", '"tasks"', "'rows' of it is 'tasks', expected a list"),
        ("rows", "[{}]", "an item of 'rows' of it lacks 'labels'"),
        ("rows", '[{"labels": [1]}]', "an item of 'labels' of an item of 'rows' of it is 1"),
    ],
)
def test_json_of_another_shape_is_damaged(tmp_path, key, text, message):
    values = {"name": '"1"', "scores": "{}", "rows": "[]", key: text}
    parts = [f'"{name}": {part}' for name, part in values.items() if part]
    path = tmp_path / "a.json"
    path.write_text(f"{{{', '.join(parts)}}}")
    expected = f"{re.escape(str(path))} is damaged: .*{re.escape(message)}.*. Remove it"
    with pytest.raises(ValueError, match=expected):
        read_json(path, "Remove it", SHAPE)


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(OSError, match=re.escape(str(path))), published(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    pytest.importorskip("fcntl")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for process in (dead.pid, os.getppid()):
        (tmp_path / f"a.json.{process}.tmp").touch()
        os.utime(tmp_path / f"a.json.{process}.tmp", (0, 0))
    write_json(tmp_path / "a.json", {})
    assert sorted(os.listdir(tmp_path)) == ["a.json", f"a.json.{os.getppid()}.tmp"]


@pytest.mark.parametrize("name", [".lock", "a.json.{}.tmp"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_not_written_through(tmp_path, name, exists):
    folder, victim = tmp_path / "model", tmp_path / "victim"
    folder.mkdir()
    if exists:
        victim.write_text("a user's")
    (folder / name.format(os.getpid())).symlink_to(victim)
    with pytest.raises(OSError, match="is a link to .*victim.*Remove the link"):
        write_json(folder / "a.json", {}) if "json" in name else locked(folder, "").__enter__()
    assert victim.exists() == exists and (not exists or victim.read_text() == "a user's")


def test_a_text_is_written_whatever_it_holds_and_a_file_is_no_folder(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"half": "\ud800"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"half": "\ud800"}
    with pytest.raises(NotADirectoryError, match=r"a\.json or a part of it is a file"):
        write_json(path / "b.json", {})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 200_000,
        b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a": ' + b"1" * 5000 + b"}",
    ],
)
def test_a_damaged_json_is_named_with_the_remedy(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json is damaged: (?s:.*)\. Do this"):
        read_json(path, "Do this")


def test_an_error_shows_a_few_characters_around_what_is_wrong():
    text = "{" + '"a": 1, ' * 50 + "secret " * 50
    with pytest.raises(ValueError, match="not JSON at line 1, column 402: ") as error:
        parse_json_dict(text, "it")
    (shown,) = re.findall("Received: '(.*)'[.]", str(error.value))
    assert (len(shown), shown) == (80, text[362:442])


def test_a_folder_is_kept_until_the_end_or_a_kill(tmp_path):
    pytest.importorskip("fcntl")
    folder = tmp_path / "new"
    with (
        locked(folder, "Wait"),
        pytest.raises(ValueError, match="Another process is at work in .*new. Wait"),
        locked(folder, "Wait"),
    ):
        pass
    code = (
        "import sys, time; from electra.storage import locked\n"
        "with locked(sys.argv[1], ''): print(flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
    with holder:
        holder.stdout.readline()
        with pytest.raises(ValueError, match="Another process"), locked(folder, ""):
            pass
        holder.send_signal(signal.SIGKILL)
    with locked(folder, ""):
        assert os.listdir(folder) == [".lock"]
