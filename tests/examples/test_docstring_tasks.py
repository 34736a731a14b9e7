"""The quickstart's labelled tasks, from sources to what the fine-tuning readers return."""

import json

import pytest

from electra.finetune.readers import read_examples, resolve_labels
from electra.finetune.task_files import read_task_file
from examples import docstring_tasks

SOURCE = '''
def read_{word}(path, limit):
    """Reads the {word} lines of a file, and gives them back as they are in the file.

    The value of `limit` says how many {word} lines there are.

    Args:
      path: A string that says where the {word} is.
      limit (int): The number of {word} lines to
        read at most.
    """
'''
# Letters alone: repeated texts are known by them. Every word is in one module.
WORDS = [first + second for first in "abcdefg" for second in "hijklm"]


@pytest.fixture
def tasks(package, tmp_path):
    """The folder of the tasks made from two packages."""
    for name in ("xx", "yy"):
        package(name, {f"{word}.py": SOURCE.format(word=word + name) for word in WORDS})
    folder = tmp_path / "tasks"
    folder.mkdir()
    docstring_tasks.write_tasks(folder, ["xx", "yy"])
    return folder


def read(folder, name):
    """Returns the task as the command reads it, and the examples of its two files."""
    task = resolve_labels(read_task_file(str(folder / name / "task.json")), "")
    return task, read_examples(task, "train", ""), read_examples(task, "dev", "")


def test_the_doors_readers_read_every_task(tasks):
    library, *texts = read(tasks, "library")
    assert library.labels == ("xx", "yy")
    for split in texts:
        labels = [example.label for example in split]
        assert labels.count("xx") == labels.count("yy") > 0
        assert all(each.text_a.endswith("as they are in the file.") for each in split)
    _, sentences, _ = read(tasks, "code")
    assert {each.words[:4]: each.tags[:4] for each in sentences} == {
        ("The", "value", "of", "limit"): ("O", "O", "O", "S-CODE")
    }
    _, questions, held_out = read(tasks, "argument")
    assert {each.question for each in questions + held_out} == {
        "What does path mean?",
        "What does limit mean?",
    }
    assert all(each.last_word > each.first_word for each in questions)
    scores = json.loads((tasks / "baselines.json").read_text())
    assert scores["library"] == 50 and scores["code"] == 100 and 0 < scores["argument"] < 100


@pytest.mark.parametrize("name", docstring_tasks.TASKS)
def test_no_module_is_in_two_files(tasks, name):
    files = docstring_tasks.TASKS[name]["files"]
    train, dev = ((tasks / name / files[split]).read_text() for split in ("train", "dev"))
    for word in WORDS:
        for package in ("xx", "yy"):
            assert not (word + package in train and word + package in dev)


def test_answers_stand_where_the_file_says(tasks):
    data = json.loads((tasks / "argument" / "train.json").read_text())["data"]
    for paragraph in (each for article in data for each in article["paragraphs"]):
        answer = paragraph["qas"][0]["answers"][0]
        start = answer["answer_start"]
        assert paragraph["context"][start : start + len(answer["text"])] == answer["text"]
        assert answer["text"].startswith(("A string that says", "The number of"))


def test_the_tasks_are_the_same_when_they_are_made_again(tasks, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    docstring_tasks.write_tasks(again, ["xx", "yy"])
    for path in tasks.rglob("*.*"):
        assert path.read_bytes() == (again / path.relative_to(tasks)).read_bytes()


@pytest.mark.parametrize(
    "text",
    ["A tf.function of it.", "Of class KerasTensor.", "See hf_hub_download.", "With Python."],
)
def test_names_of_packages_are_known(text):
    assert docstring_tasks.NAMES.search(text)


def test_words_are_cut_alike_in_code_and_beside_it():
    assert docstring_tasks.tag_code("Some `Tensor`s of `x.y`, not `f(0)`") == (
        ("Some", "Tensors", "of", "x.y", ",", "not", "f", "(", "0", ")"),
        ("O", "B-CODE", "O", "B-CODE", "O", "O", "B-CODE", "I-CODE", "I-CODE", "I-CODE"),
    )
    assert docstring_tasks.tag_code("A `backtick left alone")[1] == ()
