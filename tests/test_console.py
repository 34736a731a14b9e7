"""The console command: its table, its help, and that each row is the command that it names."""

import importlib.util
import subprocess
import sys

import pytest

import electra
from electra.__main__ import COMMANDS, usage
from tests.shared import ROOT


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "electra", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_every_row_names_a_command():
    for name, (module, about) in COMMANDS.items():
        spec = importlib.util.find_spec(module)
        if spec.submodule_search_locations:
            spec = importlib.util.find_spec(f"{module}.__main__")
        with open(spec.origin, encoding="utf-8") as file:
            assert 'if __name__ == "__main__":' in file.read(), name
        assert f"  {name} " in usage() and about in usage()


@pytest.mark.parametrize("flag", ["--help", "-h", "help", None])
def test_help_lists_the_commands(flag):
    done = run(*[flag] if flag else [])
    assert (done.returncode, done.stdout, done.stderr) == (0, usage(), "")


def test_help_and_version_come_without_tensorflow():
    code = "import sys; from electra.__main__ import main; sys.argv = ['electra', '--version']"
    code += "\ntry: main()\nfinally: assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"electra {electra.__version__}\n",
        "",
    )
    setup = (ROOT / "setup.py").read_text()
    assert "electra = electra.__main__:main" in setup and "version=VERSION" in setup


def test_flags_are_read_before_keras_is_imported():
    modules = [module for module, _ in COMMANDS.values() if module.startswith("electra.serve")]
    code = (
        f"import sys, {', '.join(modules)}; assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_an_unknown_command_names_the_closest():
    done = run("pretran", "--model_name", "m")
    assert done.returncode == 1
    assert done.stderr == "Error: Command 'pretran' is unknown. Closest: 'pretrain'\n"


@pytest.mark.parametrize(
    ("name", "script", "flags"),
    [
        ("pretrain", "run_pretraining.py", {"data_dir", "model_name", "hparams"}),
        ("finetune", "run_finetuning.py", {"data_dir", "model_name", "hparams"}),
        ("build", "build_pretraining_dataset.py", {"corpus_dir", "max_seq_length"}),
    ],
)
def test_a_command_is_the_script_of_the_root(name, script, flags):
    by_name = run(name, "--help")
    by_script = subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert by_name.returncode == by_script.returncode
    assert by_name.stdout == by_script.stdout
    for flag in flags:
        assert f"  --{flag}:" in by_name.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("pretrain", "--data-dir", "D", "--model-name", "m", "--hparams", "{"),
            "--hparams: not JSON",
        ),
        (
            ("build", "--corpus-dir", "D", "--vocab-file", "V", "--output-dir", "O", "stray"),
            "'stray'",
        ),
    ],
)
def test_errors_are_one_line_and_status_1(arguments, message):
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and message in done.stderr
