"""Every command and every example on the pages is run, or its page says why not; the flags and
hparams of all of them exist."""

import json
import re
import shutil

import pytest

from electra.cli import normalize_argv
from electra.finetune.config import FinetuningConfig
from electra.finetune.task_files import read_task_file
from electra.hparams import load_hparams
from electra.pretrain.config import PretrainingConfig
from tests import pages
from tests.data.tiny import make_text, write_files
from tests.serve.models import write_finetuned
from tests.shared import ROOT

BLOCKS = [block for page in pages.PAGES for block in pages.blocks(page)]
# Pages that begin with text; the others go on after the README.
BEGIN_ANEW = ("first_model", "own_language")
# Of each trial that pages open: the task that its model has.
TRIALS = {"sst_model_1": "topic", "mnli_model_1": "nli", "squad_model_1": "ask"}
SQUAD = {
    "context": "The chef ate the meal.",
    "qas": [
        {
            "id": "1",
            "question": "Who ate?",
            "is_impossible": False,
            "answers": [{"text": "The chef", "answer_start": 0}],
        }
    ],
}


@pytest.fixture(scope="session")
def runner():
    return pages.Runner()


@pytest.fixture(scope="module")
def known_flags(runner):
    """The flags that a command's --help lists: function of its module."""
    known = {}

    def flags_of(module):
        if module not in known:
            _, text = runner.run(module, ["--help"], ROOT)
            found = re.findall(r"^ +(?:-\w,)?--(\[no\])?(\w+):", text, re.M)
            known[module] = {name: bool(is_boolean) for is_boolean, name in found}
        return known[module]

    return flags_of


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)
def test_flags_and_hparams_exist(page, known_flags, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block in [*filter(_is_shell, pages.blocks(page)), pages.mentioned(page)]:
        for command in pages.commands(block):
            if command.module:
                check_flags(command, known_flags(command.module))
                check_hparams(command)
            elif command.argv[0] == "make":
                assert re.search(rf"^{command.argv[1]}:", (ROOT / "Makefile").read_text(), re.M)
            elif command.argv[0] == "pip" and "-e" in command.argv:
                extras = re.findall(r"[a-z]+", command.argv[-1].partition("[")[2])
                assert all(f'"{extra}": ' in (ROOT / "setup.py").read_text() for extra in extras)
            elif command.argv[0] == "python3" and command.argv[1] not in ("-m", "-c"):
                assert (ROOT / command.argv[1]).is_file()


def _is_shell(block):
    return not block.language and not block.is_text


def check_flags(command, known):
    booleans = {name for name, is_boolean in known.items() if is_boolean}
    argv = normalize_argv(["", *command.flags], booleans)
    names = {word[2:].partition("=")[0] for word in argv if word.startswith("--")}
    assert names <= {*known, *(f"no{name}" for name in booleans)}, command.argv


def check_hparams(command):
    """What a page writes as a file's name, such as run.json, is the reader's own."""
    given = [text for text in pages.hparams(command) if "/" in text or not text.endswith(".json")]
    values = load_hparams(given)
    pages.check_hparams(values)
    if command.module == "electra.pretrain":
        PretrainingConfig("M", "D", **values)
    elif command.module == "electra.finetune" and "task_files" not in values:
        FinetuningConfig("M", "D", **values)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with what the pages say that the reader has: text, tables, models."""
    folder = tmp_path_factory.mktemp("world")
    texts = {f"{i}.txt": make_text(60, i) for i in range(2)}
    for name in ("corpus", "corpus_es", "data/openwebtext"):
        write_files(folder / name, texts)
    rows = [f"{'red' if i % 2 else 'old'} house {i},{'no' if i % 2 else 'yes'}" for i in range(24)]
    table = "\n".join(["text,class", *rows]) + "\n"
    write_files(folder, dict.fromkeys(("train.csv", "dev.csv", "new.csv"), table))
    cola = "\n".join(f"x\t{i % 2}\t*\tred house {i}" for i in range(24)) + "\n"
    write_files(folder / "data/finetuning_data/cola", {"train.tsv": cola, "dev.tsv": cola})
    texts = "A red house.\nAn old cat.\n"
    write_files(folder, {"mine.tsv": f"sentence\n{texts}", "texts.txt": texts})
    conll = "The O\nchef B-PER\nate O\n\n" * 12
    squad = json.dumps({"data": [{"paragraphs": [SQUAD]}]})
    for name in ("train", "dev"):
        write_files(folder, {f"{name}.conll": conll, f"{name}.json": squad})
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    for name in ("discriminator", "generator"):  # which the README's conversion writes
        (folder / name.upper()).symlink_to(f"out/my_electra/{name}")
    trials = folder / "data" / "models" / "electra_small" / "finetuning_models"
    trials.mkdir(parents=True)
    for name, task in TRIALS.items():
        write_finetuned(trials, names=(task,)).rename(trials / name)
    return folder


@pytest.fixture(scope="module")
def after_readme(runner, world, tmp_path_factory):
    """(folder, Commands): the same after all that the README runs."""
    folder = tmp_path_factory.mktemp("readme") / "world"
    shutil.copytree(world, folder, symlinks=True)
    return folder, run_page(pages.README, runner, folder)


def run_page(page, runner, folder, known=()):
    """Runs a page's blocks one after another, as one reads. Returns: list of its Commands.

    Args:
        known: Commands that were run in the folder before, and are not run again.
    """
    names, ran = {}, []
    for block in pages.blocks(page):
        if block.not_run or block.is_text or block.language not in ("", "python"):
            continue
        if block.language == "python":
            with pages.inside(folder):
                exec(compile(block.text, page.name, "exec"), names)
            continue
        for command in pages.commands(block):
            line = " ".join(command.argv)
            assert command.module, f"{line} is not run: say why above the block"
            if command not in known:
                flags = pages.shrunk(command, folder)
                status, output = runner.run(command.module, flags, folder, command.stdin)
                assert status == 0, f"{line}\n{output}"
            ran.append(command)
    return ran


def test_what_the_readme_shows_runs(after_readme):
    assert after_readme[1]


@pytest.mark.parametrize("page", pages.PAGES[1:], ids=lambda page: page.stem)
def test_what_a_page_shows_runs(page, runner, world, after_readme, tmp_path):
    """What needs a GPU, hours or others' files is marked on the page."""
    begins_anew = page.stem in BEGIN_ANEW
    folder, known = (world, ()) if begins_anew else after_readme
    shutil.copytree(folder, tmp_path / "world", symlinks=True)
    run_page(page, runner, tmp_path / "world", known)


def test_examples_of_json_load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in BLOCKS:
        if block.language != "json":
            continue
        values = json.loads(block.text)
        if "phases" in values:
            assert len(PretrainingConfig("M", "D", **values).phases) == len(values["phases"])
        elif "cluster" in values:
            assert set(values) == {"cluster", "task"}  # TF_CONFIG
        else:
            write_files(tmp_path, {"my_task.json": block.text})
            assert read_task_file("my_task.json").name == values["name"]


def test_languages_are_known():
    assert {block.language for block in BLOCKS} <= {"", "python", "json", "mermaid", "text", "yaml"}
