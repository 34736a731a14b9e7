"""JSON overrides and configs made of fields."""

import os
import threading

import pytest

from electra.hparams import Config, Field, load_hparams


class Small(Config):
    rate = Field(0.5, "A rate.", unit="per step", above=0, below=1)
    steps = Field(10, "A count.", at_least=1)
    name = Field(None, "A name.", kinds=(str,))
    flag = Field(False, "A switch.")
    mode = Field("auto", "A choice.", choices=("auto", True, False))
    sizes = Field({}, "A dict.")

    def __init__(self, **hparams):
        self.fill(hparams, {})


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
        ('{"seed": 1%s}' % ("0" * 5000), r"--hparams: 100000000\.\.\. has 5001 digits"),
        ('{"learning_rate": 1%s}' % ("0" * 5000), "has 5001 digits"),
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


def test_of_several_the_later_wins(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"seed": 1, "debug": true}')
    assert load_hparams([str(path), '{"seed": 2}']) == {"seed": 2, "debug": True}
    assert load_hparams([]) == {}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (".", "cannot read '.' .Is a dir"),
        ("/dev/zero", "longer than 1048576 bytes"),
        ("pipe", "not JSON"),
    ],
)
def test_what_is_no_file_of_hparams_ends_at_once(tmp_path, path, message):
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it
    path = str(tmp_path / "pipe") if path == "pipe" else path
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_hparams(path)


def test_hparams_are_read_from_the_pipe_of_a_shell():
    reading, writing = os.pipe()
    timer = threading.Timer(0.05, os.write, (writing, b'{"debug": true}'))
    closing = threading.Timer(0.1, os.close, (writing,))
    for each in (timer, closing):
        each.start()
    assert load_hparams(f"/dev/fd/{reading}") == {"debug": True}
    os.close(reading)


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
        ({"rate": float("inf")}, "'rate' must be a number of at most 1.79769e+308. Received: inf"),
        ({"rate": 10**400}, "'rate' must be a number of at most 1.79769e+308. Received: 1000"),
        ({"steps": 10**30}, "'steps' must be a whole number of at most 9.22337e+18. Received: 1"),
        ({"name": "a\0"}, "'name' must be a string or null, in UTF-8 without NUL. Received: 'a"),
        ({"name": "\udcff"}, "'name' must be a string or null, in UTF-8 without NUL"),
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
        weight = Field(1.0, "A weight.")

        def __init__(self, **hparams):
            self.fill(hparams, {})

    value = Wide(weight=50).weight
    assert value == 50.0
    assert type(value) is float


def test_the_table_shows_every_knob():
    table = Small.markdown().splitlines()
    assert table[2] == "| `rate` | `0.5` | per step; above 0 and below 1 | official |  | A rate. |"
    assert len(table) == 2 + 6
