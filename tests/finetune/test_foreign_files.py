"""Files that are not what they should be: an error of one line says where, or they are read."""

import copy
import json

import pytest

from electra.finetune.readers import read_examples, resolve_labels
from electra.finetune.task_files import make_task, read_task_file
from electra.finetune.tasks import TASKS
from tests.finetune.test_readers import MRQA, WSC, squad

ANSWERED = {
    "id": "1",
    "question": "q",
    "is_impossible": False,
    "answers": [{"text": "b", "answer_start": 2}],
}
TEXTS = {"family": "classification", "columns": {"text_a": "text", "label": "label", "id": "id"}}
ROW = {"text": "a", "label": "no", "id": "1"}
# Format -> its task, the lines before, and a line that is right.
FILES = {
    "squad.json": ({"family": "qa"}, "", json.loads(squad("a b", ANSWERED))),
    "mrqa.jsonl": ({"family": "qa", "metrics": "mrqa"}, "", json.loads(MRQA.split("\n")[1])),
    "texts.jsonl": (TEXTS, json.dumps(ROW) + "\n", ROW | {"label": "yes"}),
    "scores.jsonl": (TEXTS | {"family": "regression"}, "", ROW | {"label": 0.5}),
    "wsc": (None, "", WSC),
}
ODD = (None, [], {}, 1, -1, 1.5, "x", "", True, [[1]], [{}], ["x"], {"a": 1}, 10**250, "\ud800")


def places(value, path=()):
    """Yields the path of every value inside one, and of itself."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def replaced(value, path, other):
    if not path:
        return other
    result = inner = copy.deepcopy(value)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = other
    return result


@pytest.mark.parametrize("kind", FILES)
def test_a_value_of_any_other_type_is_read_or_refused_with_its_file(tmp_path, kind):
    values, before, right = FILES[kind]
    if kind == "wsc":
        path, task = tmp_path / "cluewsc2020" / "train.json", TASKS["wsc"]
        path.parent.mkdir()
    else:
        path = tmp_path / kind
        task = make_task({"name": "my", "files": {"train": kind}, **values}, "x", str(tmp_path))
    outcomes = set()
    for place in places(right):
        for odd in ODD:
            path.write_text(before + json.dumps(replaced(right, place, odd)))
            try:
                outcomes.add(len(read_examples(resolve_labels(task, tmp_path), "train", tmp_path)))
            except ValueError as error:
                assert str(path) in str(error)
                outcomes.add("refused")
    assert outcomes > {"refused"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[" * 900 + "]" * 900, "brackets are nested too deep"),
        ("1" * 5000, r"111111111\.\.\. has 5000 digits"),
        ('"\\ud83d"', r"label '\\ud83d' is no text. Expected: UTF-8 without NUL"),
        ('"a\\u0000"', r"label 'a\\x00' is no text"),
    ],
)
def test_what_nothing_later_could_take_is_refused_with_its_line(tmp_path, value, message):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ROW) + '\n{"text": "a", "id": "1", "label": ' + value + "}\n")
    task = make_task({"name": "my", "files": {"train": "a.jsonl"}, **TEXTS}, "x", str(tmp_path))
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 2: {message}"):
        resolve_labels(task, "")


def test_half_a_character_in_a_text_is_read(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a \\ud83d", "label": "no"}\n')
    task = make_task({"name": "my", "files": {"train": "a.jsonl"}, **TEXTS}, "x", str(tmp_path))
    assert read_examples(task, "train", "")[0].text_a == "a \ud83d"


LINE = "first " + "x" * 100 + " secret " + "y" * 100 + "\n"
TABLE = {"columns": {"text_a": 0, "label": 1}, "labels": ["a", "b"]}


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("a.tsv", TEXTS, LINE),
        ("a.tsv", TEXTS | TABLE, LINE),
        ("a.tsv", TEXTS | TABLE, f"a\t{LINE}"),
        ("a.csv", TEXTS, f"a,b\n{LINE.replace(' ', ',')}"),
        ("a.csv", TEXTS | TABLE, f'"{LINE}'),
        ("a.jsonl", TEXTS, LINE),
        ("a.jsonl", TEXTS, json.dumps({LINE: 1})),
        ("a.jsonl", TEXTS | {"labels": ["a", "b"]}, json.dumps(ROW | {"label": LINE})),
        ("a.tsv", TEXTS | TABLE | {"family": "regression"}, f"a\t{LINE}"),
        ("a.json", {"family": "qa"}, LINE),
        ("a.json", {"family": "qa"}, json.dumps({LINE: 1})),
        ("a.json", {"family": "qa"}, squad("a", ANSWERED | {"is_impossible": LINE})),
        ("a.json", {"family": "qa"}, squad("a", ANSWERED | {"answers": [LINE]})),
        ("a.txt", {"family": "tagging"}, f"a O\n{LINE}"),
        ("a.txt", {"family": "tagging"}, f"a {LINE.replace(' ', '-')}"),
    ],
)
def test_an_error_shows_little_of_a_file_that_is_no_data(tmp_path, name, values, text):
    (tmp_path / name).write_text(text)
    task = make_task({"name": "my", "files": {"train": name}, **values}, "x", str(tmp_path))
    with pytest.raises(ValueError, match=name) as error:
        resolve_labels(task, "") and read_examples(task, "train", "")
    assert "secret" not in str(error.value) and "x" * 81 not in str(error.value)


@pytest.mark.parametrize("name", [".", "..", ".hidden", "a/../b", "../a", "a\n", ""])
def test_a_tasks_name_is_no_path(tmp_path, name):
    path = tmp_path / "my.json"
    path.write_text(json.dumps({"name": name, "family": "qa", "files": {"train": "a.json"}}))
    with pytest.raises(ValueError, match="'name' must be of letters, digits, '_', '-' and '.'"):
        read_task_file(path)


@pytest.mark.parametrize("label", ["", "\ud800", "a\0"])
def test_a_task_files_labels_are_texts(label):
    row = {"name": "my", "files": {"train": "a.tsv"}, **TEXTS, "labels": ["no", label]}
    with pytest.raises(ValueError, match="labels must be two or more.* none empty, in UTF-8"):
        make_task(row, "my.json", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text,label\na\0b,no\n", ["a\0b"]),
        (f"text,label\n{'x' * 200_000},no\n", ["x" * 200_000]),
        ("text,label,c,c\na,no,1,2\n", ["a"]),
    ],
)
def test_tables_may_hold_long_fields_nul_and_columns_that_are_not_read(tmp_path, text, expected):
    (tmp_path / "a.csv").write_text(text)
    row = {"name": "my", "files": {"train": "a.csv"}, **TEXTS}
    examples = read_examples(make_task(row, "x", str(tmp_path)), "train", "")
    assert [each.text_a for each in examples] == expected
