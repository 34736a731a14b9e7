"""The notebook runs from its first cell to its last, and shows what its text says."""

import os
import re

import nbclient
import nbformat
import pytest

from tests.shared import ROOT

NOTEBOOK = ROOT / "examples" / "first_steps.ipynb"
SECONDS = 600  # a cell may take, on a busy machine


def outputs(notebook):
    """What each code cell says in its outputs, errors and notes aside: list of str."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [[o for o in cell.outputs if o.get("name") != "stderr"] for cell in cells]
    return ["".join(o.get("text") or o.data["text/plain"] for o in cell) for cell in shown]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    notebook = nbformat.read(NOTEBOOK, 4)
    resources = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    # As a reader runs it: the tests' own XLA_FLAGS compile fast and train slowly.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    client = nbclient.NotebookClient(notebook, timeout=SECONDS, resources=resources)
    client.execute(env=environment)
    return outputs(notebook)


def test_it_is_kept_as_it_ran():
    notebook = nbformat.read(NOTEBOOK, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(o.get("name") != "stderr" for cell in cells for o in cell.outputs)
    assert all(outputs(notebook))


def test_every_cell_shows_what_it_showed(executed):
    """In its words: numbers, the place of the model, the order of guesses and the topics that it
    finds may differ, as rounding does from processor to processor."""

    def words(text):
        text = re.sub(r"^\w+ \d\.\d\d: ", "", text, flags=re.M)
        return sorted(re.findall(r"[a-z]{3,}", re.sub(r"/\S+/models", "", text)))

    def topics(text):
        return re.findall(r"^(\w+) \d\.\d\d: ", text, flags=re.M)

    notebook = nbformat.read(NOTEBOOK, 4)
    kept = outputs(notebook)
    source = "\n".join(cell.source for cell in notebook.cells)
    known = re.findall(r'^    "(\w+)": \($', source, flags=re.M)
    assert [len(topics(text)) for text in executed] == [len(topics(text)) for text in kept]
    assert set(topics("".join(executed))) <= set(known)
    assert [words(text) for text in executed] == [words(text) for text in kept]


def test_pre_training_helps_with_words_that_no_label_showed(executed):
    shown = " ".join(executed)
    accuracy = {
        name: float(re.search(rf"{name}: ([\d.]+)", shown)[1])
        for name in ("pre-trained", "new weights")
    }
    assert accuracy["pre-trained"] > accuracy["new weights"]
    scores = dict(re.findall(r"^(\w+) +(\d\.\d+) #*$", shown, re.M))
    assert max(scores, key=scores.get) == "truck"
