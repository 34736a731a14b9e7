"""The annotations of the public interface: whole, and true for a program that uses them."""

import inspect
import os
import re
import subprocess
import sys
from functools import cached_property

import pytest

import electra
from electra.finetune.runner import FinetuningResult
from electra.finetune.tasks import Task
from electra.model.config import EncoderConfig
from electra.serve.results import Guess, TokenScore, TokenVectors
from electra.text.vocab import Vocabulary
from electra.text.wordpiece import WordPieceTokenizer
from electra.train.result import RunResult
from tests.shared import ROOT

PUBLIC = [getattr(electra, name) for name in electra.__all__]
# What the public functions return, and what a loaded model has.
RETURNED = [
    *(RunResult, FinetuningResult, TokenScore, Guess, TokenVectors),
    *(EncoderConfig, Vocabulary, WordPieceTokenizer, Task),
]
PROGRAM = """
from typing import Any, assert_type

import numpy as np

import electra
from electra.finetune.runner import FinetuningResult
from electra.serve.results import Guess, TokenScore
from electra.train.result import RunResult

model = electra.load("data/models/electra_small", hparams={"do_lower_case": False})
assert_type(model.encode("It rained."), np.ndarray)
assert_type(model.encode(["It rained.", ("a", "b")], pooling="mean"), np.ndarray)
tokens, vectors = model.encode("It rained.", per_token=True)
assert_type(tokens, list[str])
assert_type(vectors, np.ndarray)
assert_type([text.tokens for text in model.encode(["It rained."], per_token=True)], list[list[str]])
assert_type(model.detect("The chef."), list[TokenScore])
assert_type(model.detect(["The chef."])[0][0].score, float)
assert_type(model.fill_mask("The [MASK].", top_k=2), list[list[Guess]])
assert_type(model.predict("A bore.")["label"], Any)
assert_type(model.predict([("a", "b")], task="mnli")[0], dict[str, Any])
assert_type(model.zero_shot("The team won.", ["sports", "cooking"]), dict[str, Any])
assert_type(model.zero_shot(["The team won."], ["sports"])[0], dict[str, Any])
assert_type(model.tokenize(["a"])["input_ids"], np.ndarray)
assert_type(model.tokenizer.encode("a"), list[int])
assert_type(model.config.hidden_size, int)
assert_type(model.vocab.tokens, tuple[str, ...])
assert_type([task.labels for task in model.tasks.values()], list[tuple[str, ...] | str])
assert_type(model.export("served", task="detect"), str)

config = electra.PretrainingConfig("m", "data", num_train_steps=10)
result = electra.run_pretraining(config.replace(do_eval=True))
assert_type(result, RunResult)
assert_type(result.was_stopped, bool)
assert_type(result.scores, dict[str, Any])
print(config.learning_rate * 2, config.to_json()["seed"], config.given, config.encoder.hidden_size)

tuned = electra.run_finetuning(electra.FinetuningConfig("m", "data", task_names=["cola"]))
assert_type(tuned, FinetuningResult)
assert_type(tuned.baselines["cola"]["mcc"], float)
assert_type(electra.load(tuned.folder).step, int)
"""
WRONG = {
    'model.encod("a")': "attr-defined",
    'model.detect("a", batch_size="8")': "call-overload",
    "electra.load(3)": "arg-type",
    "electra.PretrainingConfig(data_dir='d')": "call-arg",
    "electra.run_finetuning('m')": "arg-type",
    "electra.run": "attr-defined",
}


def functions_of(thing):
    """Yields (name, function) of a function, or of a class's public methods."""
    if inspect.isfunction(thing):
        yield thing.__qualname__, thing
        return
    for name, member in inspect.getmembers_static(thing):
        member = getattr(member, "fget", None) or getattr(member, "__func__", member)
        function = member.func if isinstance(member, cached_property) else member
        is_ours = inspect.isfunction(function) and function.__code__.co_filename.startswith(
            str(ROOT)
        )
        if is_ours and (name == "__init__" or not name.startswith("_")):
            yield function.__qualname__, function


@pytest.mark.parametrize("thing", [*PUBLIC, *RETURNED], ids=lambda thing: thing.__name__)
def test_every_argument_and_result_is_annotated(thing):
    for name, function in functions_of(thing):
        signature = inspect.signature(function)
        values = [*signature.parameters.values()]
        own = values[1:] if values and values[0].name in ("self", "cls") else values
        missing = [value.name for value in own if value.annotation is inspect.Parameter.empty]
        if function.__name__ != "__init__" and signature.return_annotation is signature.empty:
            missing.append("return")
        assert not missing, f"{name}: {missing}"


def test_a_program_that_uses_the_package_is_checked_strictly(tmp_path):
    pytest.importorskip("mypy", reason="the extra `test` installs it")
    wrong = PROGRAM + "".join(f"{line}\n" for line in WRONG)
    programs = {"right.py": PROGRAM, "wrong.py": wrong}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
    flags = "--strict --follow-imports=silent --ignore-missing-imports --config-file="
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *flags.split(), *programs],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT), "MYPY_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    errors = re.findall(r"^(\w+\.py):(\d+): error: .*\[(.*)\]$", done.stdout, re.M)
    first = PROGRAM.count("\n") + 1
    expected = [("wrong.py", str(i), kind) for i, kind in enumerate(WRONG.values(), first)]
    assert errors == expected, done.stdout + done.stderr
