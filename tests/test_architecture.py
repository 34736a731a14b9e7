"""Holds the house: who may import whom, where TensorFlow may come in, and what no file may have.

The tables are here alone, the README points to them. A module is read with `ast`, never imported.
"""

import ast
import re
import subprocess
import sys

import pytest

from tests.shared import ROOT

BASE = {"cli", "compilation", "console", "example_text", "features", "hparams", "next_steps"}
BASE |= {"random", "stacked", "storage"}

CLOUD = BASE | {"cloud"}

# Room -> the rooms it may import. A room may always import itself.
MAY_IMPORT = {
    **dict.fromkeys(BASE, BASE),
    "cloud": BASE,
    "text": CLOUD,
    "data": CLOUD | {"text"},
    "model": {"features", "random", "stacked"},
    "optim": {"features", "stacked"},
    "saving": CLOUD,
    "predictor": {"console", "data", "model"},
    "train": CLOUD | {"text", "data", "model", "saving", "convert"},
    "pretrain": CLOUD | {"text", "data", "model", "optim", "saving", "train"},
    "finetune": CLOUD | {"text", "data", "model", "optim", "saving", "train", "predictor"},
    "convert": CLOUD | {"text", "model", "saving"},
    "serve": CLOUD
    | {"text", "data", "model", "saving", "train", "pretrain", "finetune", "predictor"}
    | {"convert"},
    "publish": CLOUD | {"data", "convert", "saving", "serve"},
    "__init__": {"cli", "serve", "pretrain", "finetune"},
    "__main__": {"cli", "hparams", "__version__"},
}

# Room -> where TensorFlow may be imported: anywhere, in functions only, or nowhere.
ANYWHERE, IN_FUNCTIONS, NOWHERE = "anywhere", "in functions", "nowhere"
TENSORFLOW = {
    **dict.fromkeys(BASE, NOWHERE),
    "random": ANYWHERE,
    "cloud": NOWHERE,
    "text": NOWHERE,
    "text/fast": ANYWHERE,
    "text/graph": ANYWHERE,
    "data": ANYWHERE,
    "model": NOWHERE,
    "model/islands": ANYWHERE,
    "model/kernels": ANYWHERE,
    "model/scan": ANYWHERE,
    "optim": ANYWHERE,
    "saving": NOWHERE,
    "saving/tensors": IN_FUNCTIONS,
    "predictor": ANYWHERE,
    "train": ANYWHERE,
    "pretrain": NOWHERE,
    "pretrain/step": ANYWHERE,
    "pretrain/evaluation": ANYWHERE,
    "pretrain/runner": ANYWHERE,
    "finetune": NOWHERE,
    "finetune/step": ANYWHERE,
    "serve": IN_FUNCTIONS,
    "serve/signatures": ANYWHERE,
    "convert": NOWHERE,
    "publish": NOWHERE,
    "__init__": NOWHERE,
    "__main__": NOWHERE,
}

# Modules that are commands too: their `main` is a thin script and may import these besides.
COMMANDS = {
    "text/vocab": {"data"},
    "convert/__main__": {"publish"},
}

# What every room may import of others without naming it; the rest stands in a docstring.
EVERYWHERE = {"numpy", "absl", "keras"}
WITHOUT_KERAS = BASE | {"cloud", "text", "data"}

LONGEST_FILE = 350
LONGEST_FUNCTION = 60  # lines, its docstring aside
LONGEST_TEST_FILE = 600

PACKAGE = ROOT / "electra"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOT_SCRIPTS = sorted(path for path in ROOT.glob("*.py") if path.stem != "setup")
SCRIPTS = [path for folder in ("examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def module_id(path):
    return path.relative_to(ROOT).as_posix()


def command_id(path):
    """electra/text/vocab.py -> "text/vocab"; "" outside the package."""
    if not path.is_relative_to(PACKAGE):
        return ""
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=module_id)


def room_of(path):
    """electra/text/fast.py -> "text"; electra/features.py -> "features"."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path):
    """Every import of a file.

    Returns:
      list of (dotted name, line, names of the functions around it).
    """
    found = []

    def visit(node, functions):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions = (*functions, node.name)
        if isinstance(node, ast.Import):
            found.extend((alias.name, node.lineno, functions) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found.extend((f"{base}.{alias.name}", node.lineno, functions) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, functions)

    visit(parse(path), ())
    return found


def test_every_room_has_a_row():
    rooms = {room_of(path) for path in MODULES}
    assert rooms <= set(MAY_IMPORT), f"rooms without a row: {sorted(rooms - set(MAY_IMPORT))}"
    assert set(MAY_IMPORT) == {name for name in TENSORFLOW if "/" not in name}


@each(MODULES)
def test_rooms_import_only_what_their_row_allows(path):
    room = room_of(path)
    allowed = {room} | MAY_IMPORT.get(room, set())
    in_main = allowed | COMMANDS.get(command_id(path), set())
    for name, line, functions in imports(path):
        where = f"{module_id(path)}:{line}"
        assert not name.startswith("."), f"{where}: import electra modules by their full name"
        if name.split(".")[0] != "electra":
            continue
        parts = name.split(".")
        assert len(parts) > 1, f"{where}: import a module of electra, not the package"
        here = in_main if functions[:1] == ("main",) else allowed
        assert parts[1] in here, f"{where}: {room} may not import electra.{parts[1]}"


@each(MODULES)
def test_tensorflow_comes_in_where_the_table_says(path):
    room = room_of(path)
    module = path.relative_to(PACKAGE).with_suffix("").as_posix()
    rule = TENSORFLOW.get(module, TENSORFLOW.get(room, NOWHERE))
    for name, line, functions in imports(path):
        if name.split(".")[0] not in ("tensorflow", "tensorflow_text"):
            continue
        where = f"{module_id(path)}:{line}"
        assert rule != NOWHERE, f"{where}: no TensorFlow in {room}"
        assert rule == ANYWHERE or functions, f"{where}: {room} imports TensorFlow in functions"


@each(MODULES)
def test_third_party_imports_are_named_by_a_docstring(path):
    documented = " ".join(
        ast.get_docstring(parse(source)) or "" for source in (path, path.parent / "__init__.py")
    ).lower()
    for name, line, _ in imports(path):
        top = name.split(".")[0]
        assert top != "keras" or room_of(path) not in WITHOUT_KERAS, f"{module_id(path)}:{line}"
        if top in sys.stdlib_module_names or top in {"electra", "tensorflow", *EVERYWHERE}:
            continue
        if top in {script.stem for script in ROOT_SCRIPTS}:
            continue
        assert top in documented or top.replace("_", "-") in documented, (
            f"{module_id(path)}:{line}: neither the module's docstring nor its room's names {top}"
        )


@each(MODULES + ROOT_SCRIPTS + SCRIPTS)
def test_clis_are_imported_by_tests_only(path):
    scripts = {script.stem for script in ROOT_SCRIPTS}
    for name, line, _ in imports(path):
        assert name.split(".")[0] not in scripts, f"{module_id(path)}:{line}: imports {name}"


@each(MODULES + ROOT_SCRIPTS + SCRIPTS + TESTS)
def test_files_stay_short(path):
    longest = LONGEST_TEST_FILE if path in TESTS else LONGEST_FILE
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= longest, f"{module_id(path)} has {lines} lines: split it by idea"


@each(MODULES + ROOT_SCRIPTS + SCRIPTS)
def test_functions_stay_short(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node):
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            name = f"{module_id(path)}:{node.name}"
            assert lines <= LONGEST_FUNCTION, f"{name} has {lines} lines: split it by idea"


def test_there_is_no_utils_file():
    assert [module_id(path) for path in MODULES + TESTS if "util" in path.stem] == []


@each(MODULES + ROOT_SCRIPTS + SCRIPTS)
def test_nothing_is_unpickled_or_evaluated(path):
    for name, line, _ in imports(path):
        assert name.split(".")[0] not in {"pickle", "dill", "cloudpickle", "marshal", "shelve"}, (
            f"{module_id(path)}:{line}: {name}"
        )
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}, f"{module_id(path)}:{node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert getattr(node.value, "value", True) is False, f"{module_id(path)}:{node.lineno}"


@each(MODULES + ROOT_SCRIPTS + SCRIPTS)
def test_modules_say_what_they_are(path):
    if path.name == "__init__.py" and not path.read_text().strip():
        return
    assert ast.get_docstring(parse(path)), f"{module_id(path)} has no docstring"


@each(MODULES)
def test_imports_have_no_side_effects_on_the_environment(path):
    for node in parse(path).body:
        text = ast.unparse(node) if isinstance(node, ast.Assign | ast.Expr) else ""
        assert "os.environ" not in text, f"{module_id(path)}:{node.lineno}: {text}"


def tracked_files():
    """What git tracks or would track; every file where there is no repository."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]
    folders = ("electra", "tests", "examples", "benchmarks", "docs")
    inside = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return inside + [path for path in ROOT.iterdir() if path.is_file()]


def test_no_file_names_a_path_of_one_machine():
    # Written in pieces, so that this line is not a finding.
    path_of_a_machine = re.compile(r"(?<![\w.~])/" + r"(work|home|root|Users)/\w")
    found = []
    for path in tracked_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{module_id(path)}:{number}: {line.strip()}"
            for number, line in enumerate(lines, 1)
            if path_of_a_machine.search(line)
        ]
    assert found == []


def test_no_test_hides_in_a_file_that_pytest_does_not_read():
    for path in TESTS:
        if not path.name.startswith("test_"):
            names = [getattr(node, "name", "") for node in parse(path).body]
            assert not [n for n in names if n.startswith(("test_", "Test"))], module_id(path)
