"""The package as others get it: wheel and source archive, and what Windows lacks."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv

import numpy as np
import pytest
import tensorflow as tf

import electra
from electra.data.build import build
from electra.train.compare import differences
from tests.data.tiny import make_text, read_files, write_files, write_vocab
from tests.pretrain import runs
from tests.serve.models import write_pretrained
from tests.shared import ROOT

SOURCES = ("electra", "benchmarks", "docs", "examples", "recipes", "tests")
USED = """
import importlib.metadata, json, sys
import electra, electra.text.vocab, electra.text.wordpiece
from electra.text.fast import make_tokenizer
vocab = electra.text.vocab.Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "caf", "##e"])
reference = electra.text.wordpiece.WordPieceTokenizer(vocab)
text = "Café xyz"
print(json.dumps({
    "file": electra.__file__,
    "version": importlib.metadata.version("electra"),
    "pieces": reference.tokenize(text),
    "ids": [reference.encode(text), make_tokenizer(vocab).encode_lines([text])[0].tolist()],
}))
"""
ON_WINDOWS = """
import os, signal, sys
sys.modules |= dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios"))
for name in ("getuid", "mkfifo", "pread", "pwrite", "sched_getaffinity", "statvfs"):
    delattr(os, name)
del signal.SIGHUP, signal.SIGKILL, signal.SIGPIPE
"""
WITHOUT_TENSORFLOW_TEXT = """
import sys
import electra
from electra.publish.formats import convert
model, folder = electra.load(sys.argv[1], precision="float32"), sys.argv[2]
model.export(f"{folder}/served", task="detect")
convert(sys.argv[1], "keras_hub", f"{folder}/preset")
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The wheel and the source archive, by their endings; the wheel is built of the archive."""
    pytest.importorskip("build", reason="the extra `test` installs it")
    if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("setuptools is older than what the extra `test` installs")
    folder = tmp_path_factory.mktemp("package")
    (folder / "source").mkdir()
    for path in ROOT.iterdir():
        if path.name in SOURCES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, folder / "source" / path.name, ignore=ignored)
        elif path.is_file() and not path.name.startswith("."):
            shutil.copy(path, folder / "source")
    flags = ("--no-isolation", "--outdir", str(folder / "dist"))
    run(sys.executable, "-m", "build", *flags, str(folder / "source"))
    return {path.suffix: path for path in (folder / "dist").iterdir()}


def test_the_source_archive_is_the_repository(archives):
    with tarfile.open(archives[".gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git repository")
    tracked = {name for name in listed.stdout.split() if not name.startswith(".")}
    assert {name for name in tracked if (ROOT / name).exists()} <= names


def files_of(folder):
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = {path.as_posix() for path in paths if "__pycache__" not in path.parts}
    assert "py.typed" in files
    return files


@pytest.mark.parametrize("ending", [".whl", ".gz"])
def test_an_installation_works(archives, tmp_path, ending):
    """In an environment of its own. What electra needs is not downloaded once more: a .pth file
    lends it from this environment, whose own electra comes after the installed one."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    (packages,) = (tmp_path / "env").rglob("site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    before = set(os.listdir(packages))
    pip = (sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--no-build-isolation", str(archives[ending]))
    version = electra.__version__
    assert set(os.listdir(packages)) - before == {"electra", f"electra-{version}.dist-info"}
    assert files_of(packages / "electra") == files_of(ROOT / "electra")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    here = {"cwd": tmp_path, "env": environment}
    assert run(scripts / "electra", "--version", **here).stdout == f"electra {version}\n"
    assert "pretrain" in run(scripts / "python", "-m", "electra", "--help", **here).stdout
    used = json.loads(run(scripts / "python", "-c", USED, **here).stdout)
    assert used.pop("file") == str(packages / "electra" / "__init__.py")
    ids = [5, 6, 1]
    assert used == {"version": version, "pieces": ["caf", "##e", "[UNK]"], "ids": [ids, ids]}


def test_an_editable_installation_works_in_the_folder_of_its_clone(tmp_path):
    """Where `electra` is also a folder without `__init__.py`, the clone."""
    clone, ignored = tmp_path / "electra", shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "electra", clone / "electra", ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    (packages,) = (tmp_path / "env").rglob("site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps")
    run(*pip, "--no-index", "--no-build-isolation", "--editable", str(clone))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = "import electra; print(electra.__file__, electra.load.__name__)"
    said = run(python, "-c", command, cwd=tmp_path, env=environment).stdout.split()
    assert said == [str(clone / "electra" / "__init__.py"), "load"]


def test_the_version_is_said_once():
    cited = re.search("^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)[1]
    newest = re.search(r"^## (\d\S*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    assert cited == newest == electra.__version__


@pytest.fixture(scope="module")
def as_on_windows(tmp_path_factory):
    """The environment of processes that lack tensorflow_text and what Python has on Unix only."""
    folder = tmp_path_factory.mktemp("absent")
    message = "No module named 'tensorflow_text'"
    (folder / "tensorflow_text.py").write_text(f'raise ModuleNotFoundError("{message}")\n')
    (folder / "sitecustomize.py").write_text(ON_WINDOWS)
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_records_are_the_same_without_tensorflow_text(tmp_path, as_on_windows):
    vocab = write_vocab(tmp_path)
    write_files(tmp_path / "corpus", {f"{i}.txt": make_text(40, i) for i in range(2)})
    build(tmp_path / "corpus", vocab, tmp_path / "with", eval_fraction=0.1)
    paths = ("--corpus_dir", tmp_path / "corpus", "--vocab_file", vocab)
    flags = ("--output_dir", tmp_path / "without", "--eval_fraction", "0.1", "--num_processes", "2")
    command = (sys.executable, "-m", "electra", "build", *paths, *flags)
    done = run(*command, cwd=ROOT, env=as_on_windows)
    assert "pure Python" in done.stderr and "No module named 'tensorflow_text'" in done.stderr
    assert read_files(tmp_path / "without") == read_files(tmp_path / "with")


def test_models_are_exported_without_tensorflow_text(tmp_path, as_on_windows):
    model = write_pretrained(tmp_path)
    code = (sys.executable, "-c", WITHOUT_TENSORFLOW_TEXT)
    run(*code, str(model), str(tmp_path), cwd=ROOT, env=as_on_windows)
    served = tf.saved_model.load(str(tmp_path / "served" / "1")).signatures["serving_default"]
    outputs = served(text=tf.constant(["w5 w6 w7"]))
    expected = electra.load(model, precision="float32").detect("w5 w6 w7")
    tokens = [token.decode() for token in outputs["tokens"][0].numpy()]
    scores = outputs["replaced_scores"][0].numpy()
    found = dict(zip(tokens, scores, strict=True))
    np.testing.assert_allclose([found[t] for t, _ in expected], [p for _, p in expected], atol=1e-5)
    assert (tmp_path / "preset" / "tokenizer.json").exists()


def test_training_is_the_same_on_windows(tmp_path, as_on_windows):
    data = runs.make_data(tmp_path)
    assert runs.train(data, "here", num_train_steps=4) == 0
    there = runs.start(data, "there", runs.TINY | {"num_train_steps": 4}, as_on_windows)
    runs.finish(there)
    assert differences(data / "models" / "here", data / "models" / "there") == []
