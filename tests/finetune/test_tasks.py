"""The table of tasks, and a user's own rows."""

import json

import pytest

from electra.finetune.families import FAMILIES
from electra.finetune.task_files import make_task, read_task_file
from electra.finetune.tasks import TASKS, get_task

OWN = {
    "name": "my",
    "family": "classification",
    "files": {"train": "train.csv", "dev": "dev.jsonl"},
    "columns": {"text_a": "text", "label": "class"},
    "labels": ["no", "yes"],
    "metrics": ["f1", "accuracy"],
    "hparams": {"max_seq_length": 64},
}


@pytest.mark.parametrize("name", TASKS)
def test_rows_fit_their_family(name):
    task = TASKS[name]
    assert task.metrics and set(task.metrics) <= set(FAMILIES[task.family].metrics)
    assert len(set(task.labels)) == len(task.labels) or isinstance(task.labels, str)
    assert bool(task.labels) == (task.family in ("classification", "tagging"))
    assert set(task.leaderboard) <= set(task.sources)
    assert (set(task.sources) >= {"train", "dev"}) or task.model_of in TASKS
    needed, others = FAMILIES[task.family].columns
    for source in (source for sources in task.sources.values() for source in sources):
        assert set(needed) <= set(source.columns) <= {*needed, *others}


def test_unknown_tasks_are_refused_with_the_closest():
    with pytest.raises(ValueError, match="Task 'colla' is unknown. Closest: 'cola'"):
        get_task("colla")


def test_own_tasks_are_found_beside_the_table():
    own = make_task(OWN, "x", "y")
    assert get_task("my", [own]) is own
    assert get_task("cola", [own]) is TASKS["cola"]
    with pytest.raises(ValueError, match="Two of the task_files have a task 'my'"):
        get_task("my", [own, own])


def test_a_task_file_is_a_row(tmp_path):
    path = tmp_path / "my_task.json"
    path.write_text(json.dumps({**OWN, "folder": "data", "quoted": False}))
    task = read_task_file(path)
    assert task.folder == str(tmp_path / "data")
    assert (task.labels, task.metrics) == (("no", "yes"), ("f1", "accuracy"))
    assert task.hparams == {"max_seq_length": 64}
    (source,) = task.sources["dev"]
    assert (source.path, source.columns, source.is_quoted) == ("dev.jsonl", OWN["columns"], False)


def test_a_task_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.json"):
        read_task_file(tmp_path / "none.json")
    path = tmp_path / "my_task.json"
    path.write_text('{\n"name": my}')
    with pytest.raises(ValueError, match="my_task.json: not JSON at line 2, column 9"):
        read_task_file(path)
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match="my_task.json' is not UTF-8 text"):
        read_task_file(path)


def test_labels_of_a_task_file_are_read_as_those_of_json_lines():
    assert make_task({**OWN, "labels": [True, False, 1.5]}, "x", "y").labels == (
        "true",
        "false",
        "1.5",
    )


def test_a_byte_order_mark_in_front_of_a_task_file_is_no_harm(tmp_path):
    path = tmp_path / "my_task.json"
    path.write_text(json.dumps(OWN), encoding="utf-8-sig")
    assert read_task_file(path).name == "my"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"family": "squad"}, "family 'squad' is unknown. Closest: 'qa'"),
        ({"famly": "qa"}, "key 'famly' is unknown. Closest: 'family'"),
        ({"files": "train.csv"}, "'files' of it is 'train.csv', expected a dict"),
        ({"name": None}, "'name' of it is None, expected a string"),
        ({"metrics": "bleu"}, "metric 'bleu' is unknown. Known: accuracy, f1, mcc"),
        ({"format": "xml"}, "format 'xml' is unknown. Known: csv, jsonl, tsv"),
        (
            {"columns": {"text_a": "text", "lable": 1}},
            "column 'lable' is unknown. Closest: 'label'",
        ),
        ({"columns": {"label": 1}}, "columns must give text_a a number or a name. Received"),
        ({"family": "tagging", "metrics": "span_f1", "columns": {"tags": "ner"}}, "tags a number."),
        (
            {"files": {"validation": "x.csv"}},
            "split 'validation' is unknown. Known: dev, test, train",
        ),
        ({"labels": "from dev"}, "labels 'from dev' is unknown. Closest: 'from files'"),
        ({"files": {}}, "'files' must name one or more of train, dev, test. Received: {}"),
        (
            {"files": {"dev": ""}},
            "'files' must name one or more of train, dev, test. Received: {'dev",
        ),
        ({"files": {"dev": 3}}, "'dev' of 'files' of it is 3, expected a string"),
        ({"labels": ["no"]}, "labels must be two or more, each once (of spans tags such as B-X"),
        ({"labels": ["no", "yes", "no"]}, "labels must be two or more, each once"),
        ({"label_range": ["0", "5"]}, "item of 'label_range' of it is '0', expected a finite"),
        ({"label_range": [0, float("inf")]}, "'label_range' of it is inf, expected a finite"),
        ({"label_range": [5, 0]}, "label_range must be [lowest, highest]. Received: [5, 0]"),
        ({"label_range": [-1e308, 1e308]}, "'label_range' of it is -1e+308, expected a"),
    ],
)
def test_impossible_rows_are_refused(values, message):
    with pytest.raises(ValueError) as error:
        make_task({**OWN, **values}, "my.json", "")
    assert str(error.value).startswith("my.json: ")
    assert message in str(error.value)
