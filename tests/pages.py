"""The commands on the pages of README and docs: which there are, and a place to run them.

A block of code is run by tests/test_docs_commands.py, or the line above it says why not, as in
`<!-- not run: a server -->`; `not run on this page` says it of all blocks that follow.
"""

import contextlib
import json
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
import typing
from pathlib import Path

from electra.__main__ import COMMANDS
from electra.finetune.config import FinetuningConfig
from electra.hparams import load_hparams
from electra.pretrain.config import PretrainingConfig
from tests.shared import ROOT

README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^((?:<!-- .*? -->\n)?)```([a-z]*)\n(.*?)^```$", re.M | re.S)
_SPAN = r"`((?:python3|electra|make|pip) (?!NAME)[^`]+)`"
_NOT_RUN = re.compile(r"<!-- not run( on this page)?: .+ -->")
# What no shell reads: a citation, trees of files.
_IS_TEXT = re.compile(r"@\w+\{|\$DATA_DIR/\n|configure_pretraining\.py {2}|1 replica|Saved to ")
# What a page calls `python3 X` for, by X.
SCRIPTS = {
    "build_pretraining_dataset.py": "electra.data",
    "run_pretraining.py": "electra.pretrain",
    "run_finetuning.py": "electra.finetune",
}
PROGRAMS = (
    "python3",
    "electra",
    "make",
    "pip",
    "tensorboard",
    "curl",
    "docker",
    "hf",
    "sbatch",
    "srun",
)
_RECORDER = """#!/bin/sh
printf '%s\\0' "$(basename "$0")" "$@" >> "$RECORD"
printf '\\1' >> "$RECORD"
test -p /dev/stdin && cat > "$RECORD.stdin"
exit 0
"""


class Block(typing.NamedTuple):
    """A block of code: the page's path, its language ("" of the shell), its text, the reason why it
    is not run or "", and whether nobody runs it, as a tree of files."""

    page: Path
    language: str
    text: str
    not_run: str
    is_text: bool


class Command(typing.NamedTuple):
    """A program as the shell calls it: its arguments, itself first, and what it reads."""

    argv: tuple
    stdin: str

    @property
    def module(self):
        """The module of electra that it runs, None of another program."""
        program, *rest = self.argv
        if program == "electra":
            return None if rest[0] == "--help" else COMMANDS[rest[0]][0]
        if program == "python3" and rest[0] == "-m":
            return COMMANDS[rest[2]][0] if rest[1] == "electra" else rest[1]
        return SCRIPTS.get(rest[0]) if program == "python3" else None

    @property
    def flags(self):
        """The arguments behind what names the module."""
        skipped = 3 if self.argv[1:2] == ("-m",) else 2
        return list(self.argv[skipped + (self.argv[1:3] == ("-m", "electra")) :])


def blocks(page):
    """Returns the Blocks of a page."""
    found, of_page = [], ""
    for comment, language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        match = _NOT_RUN.match(comment)
        of_page = comment if match and match[1] else of_page
        is_text = language == "mermaid" or (not language and bool(_IS_TEXT.match(text)))
        found.append(Block(page, language, text, match[0] if match else of_page, is_text))
    return found


def mentioned(page):
    """Returns a Block of the commands that stand in a page's sentences and tables."""
    spans = re.findall(_SPAN, _BLOCK.sub("", page.read_text(encoding="utf-8")))
    return Block(page, "", "\n".join(spans), "only mentioned", False)


def commands(block):
    """Returns the Commands that a block of the shell calls, loops unrolled, variables filled in.

    A line that begins with --hparams is of the command that its page is about.
    """
    of_page = "run_pretraining.py" if block.page.stem == "pretraining" else "run_finetuning.py"
    whole = f"python3 {of_page} --data-dir data --model-name electra_small --hparams"
    text = re.sub(r"^--hparams", whole, block.text, flags=re.M)
    with tempfile.TemporaryDirectory() as folder:
        place, record = Path(folder), Path(folder, "record")
        (place / ".venv" / "bin").mkdir(parents=True)
        (place / ".venv" / "bin" / "activate").touch()
        for name in (*PROGRAMS, ".venv/bin/python"):
            (place / name).write_text(_RECORDER)
            (place / name).chmod(0o755)
        record.touch()
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "RECORD": str(record), "DATA_DIR": "data"}
        command = ["bash", "-eu", "-c", text]
        subprocess.run(command, cwd=place, env=environment, check=True, stdin=subprocess.DEVNULL)
        stdin = Path(f"{record}.stdin")
        stdin = stdin.read_text() if stdin.exists() else ""
        calls = record.read_text().split("\1")[:-1]
    argvs = [tuple(call.split("\0")[:-1]) for call in calls]
    argvs = [argv[argv.index("electra") :] if argv[0] == "srun" else argv for argv in argvs]
    return [Command(argv, stdin if "-" in argv else "") for argv in argvs]


def check_hparams(values):
    """Raises: ValueError: a config has none of these hparams, or not these values of them."""
    for name, value in values.items():
        refused = []
        for config in (PretrainingConfig, FinetuningConfig):
            try:
                config.fields[name].checked(name, value)
            except (KeyError, ValueError) as error:
                refused.append(str(error))
        if len(refused) == 2:
            raise ValueError(f"Neither config takes this hparam: {refused}")


def hparams(command):
    """Returns the values of a command's --hparams, list of str."""
    flags = command.flags
    return [flags[i + 1] for i, flag in enumerate(flags) if flag == "--hparams"]


class Runner:
    """Runs modules of electra as commands, each in a process of its own that has the libraries
    imported already."""

    def __init__(self):
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tensorflow", "keras", "scipy.special", "sklearn"])

    def run(self, module, flags, cwd, stdin=""):
        """Returns (exit status, what it printed)."""
        with tempfile.NamedTemporaryFile() as log:
            arguments = (module, flags, str(cwd), stdin, log.name)
            process = self._context.Process(target=_run, args=arguments)
            process.start()
            process.join()
            return process.exitcode, Path(log.name).read_text(errors="replace")


def _run(module, flags, cwd, stdin, log):
    os.chdir(cwd)
    with tempfile.TemporaryFile() as given, open(log, "ab", buffering=0) as file:
        given.write(stdin.encode())
        given.seek(0)
        os.dup2(given.fileno(), 0)
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115 - as long as the process
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


@contextlib.contextmanager
def inside(folder):
    """Makes a folder the working one."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


def shrunk(command, folder):
    """Returns the flags of a command that is run in a folder, made a short one of a tiny model."""
    small = {"electra.pretrain": _TINY}.get(command.module, _BRIEF)
    if command.module != "electra.pretrain" and not command.module.startswith("electra.finetune"):
        return command.flags
    with inside(folder):
        values = load_hparams(hparams(command)) | small
    return [*command.flags, "--hparams", json.dumps(values)]


_TINY = {
    "model_hparam_overrides": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    },
    "generator_hidden_size": 0.5,
    "embedding_size": 8,
    "train_batch_size": 4,
    "eval_batch_size": 4,
    "num_eval_steps": 2,
    "num_train_steps": 2,
    "num_warmup_steps": 1,
    "eval_every_steps": 0,
    "precision": "float32",
}
_BRIEF = {"num_train_epochs": 1, "num_trials": 1, "precision": "float32"}
