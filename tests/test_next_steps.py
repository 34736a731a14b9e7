"""The commands that a command ends with: a shell takes them, and the flags they name are there."""

import io
import json
import os
import shlex
import subprocess
import sys
import types

import pytest

from electra import next_steps
from electra.finetune.tasks import get_task
from electra.train.result import RunResult
from tests.shared import ROOT

FOLDER = "my models/it's mine"


def run_of(**changes):
    values = {
        "do_train": True,
        "do_eval": False,
        "data_dir": "my data",
        "vocab_file": "my data/vocab.txt",
        "model_name": "m",
        "tasks": [get_task("mrpc")],
    }
    return types.SimpleNamespace(**values | changes)


CASES = {
    "vocab": lambda: next_steps.after_vocab("my corpus", "D/vocab.txt", {"do_lower_case": False}),
    "build": lambda: next_steps.after_build(
        "my data/pretrain_tfrecords", "my data/vocab.txt", 10**9
    ),
    "little text": lambda: next_steps.after_build("pretrain_tfrecords", "vocab.txt", 10**6),
    "pretrain": lambda: next_steps.after_pretraining(run_of(), RunResult(FOLDER, 3, {})),
    "evaluated": lambda: next_steps.after_pretraining(
        run_of(do_eval=True), RunResult(FOLDER, 3, {})
    ),
    "finetune": lambda: next_steps.after_finetuning(run_of(), RunResult(FOLDER, 3, {})),
}


class BrokenPipe(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [None, BrokenPipe()])
def test_a_result_is_none_the_worse_where_nobody_reads(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    next_steps.say("M", "a command")


@pytest.mark.parametrize("case", CASES)
def test_the_commands_can_be_copied(case, capsys):
    CASES[case]()
    printed = capsys.readouterr()
    first, *commands = printed.err.splitlines()
    assert first.startswith("Saved to ") and first.endswith("; next:") and printed.out == ""
    assert len(commands) == (1 if case == "vocab" else 2)
    for line in commands:
        words = shlex.split(line)
        start = 3 if words[1] == "-m" else 1
        done = subprocess.run(
            [sys.executable, "-m", "electra", *words[start:], "--only_check_args"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def told(capsys, case):
    CASES[case]()
    return [shlex.split(line) for line in capsys.readouterr().err.splitlines()[1:]]


def test_paths_and_settings_are_the_real_ones(capsys):
    (vocab,) = told(capsys, "vocab")
    assert vocab[vocab.index("build") :] == [
        *("build", "--corpus_dir", "my corpus", "--vocab_file", "D/vocab.txt"),
        *("--output_dir", "D/pretrain_tfrecords", "--eval_fraction", "0.01", "--nodo_lower_case"),
    ]
    _, mini = told(capsys, "little text")
    assert mini[mini.index("pretrain") + 1 :] == [
        *("--data_dir", ".", "--model_name", "mini", "--hparams", '{"model_size": "mini"}'),
    ]
    first, _ = told(capsys, "pretrain")
    assert first[-4:] == [
        *("--hparams", os.path.join(FOLDER, "hparams.json")),
        *("--hparams", '{"do_train": false, "do_eval": true}'),
    ]
    predict, demo = told(capsys, "finetune")
    assert predict[predict.index("predict") + 1 :] == [
        *("--model_dir", FOLDER, "--text", "The chef ate the meal."),
        *("--text_b", "The meal was eaten."),
    ]
    assert demo[-2:] == ["--model_dir", FOLDER]


def test_records_in_another_place_are_named(capsys):
    next_steps.after_build("odd", "other/vocab.txt", 10**9)
    _, run = [shlex.split(line) for line in capsys.readouterr().err.splitlines()[1:]]
    assert run[-1] == (
        '{"pretrain_tfrecords": "odd/pretrain_data.tfrecord*", '
        '"eval_tfrecords": "odd/eval_data.tfrecord*", "vocab_file": "other/vocab.txt"}'
    )


@pytest.mark.parametrize("folder", ["out/it", FOLDER, "for $5"])
def test_a_line_of_python_survives_the_shell(folder, capsys):
    next_steps.after_convert(folder, "keras_hub")
    next_steps.after_export(folder, "onnx")
    for line in capsys.readouterr().err.splitlines()[1::2]:
        _, flag, code = shlex.split(line)
        assert flag == "-c" and repr(folder)[1:-1] in code
        compile(code, "line", "exec")


def test_a_package_that_is_not_there_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    config = {"architectures": ["ElectraForSequenceClassification"]}
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    for there, first in ((object(), "next:"), (None, "next, where transformers is installed:")):
        monkeypatch.setattr(next_steps.importlib.util, "find_spec", lambda _, there=there: there)
        next_steps.after_convert("out", "huggingface")
        saved, command = capsys.readouterr().err.splitlines()
        assert saved == f"Saved to out; {first}"
        assert "t.ElectraForSequenceClassification.from_pretrained('out')" in command


@pytest.mark.parametrize("name", ["python", "python3"])
def test_the_python_of_an_active_environment_is_called_by_its_name(tmp_path, monkeypatch, name):
    (tmp_path / "python").touch(mode=0o755)
    (tmp_path / "python3").symlink_to("python")
    monkeypatch.setattr(sys, "executable", str(tmp_path / name))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert next_steps.python("1") == 'python3 -c "1"'
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    assert next_steps.python("1") == f'{tmp_path / name} -c "1"'


def test_nothing_is_told_of_what_was_stopped_or_only_evaluated(capsys):
    stopped, done = RunResult(FOLDER, 3, {}, 15), RunResult(FOLDER, 3, {})
    next_steps.after_pretraining(run_of(), stopped)
    next_steps.after_pretraining(run_of(do_train=False), done)
    next_steps.after_finetuning(run_of(), stopped)
    next_steps.after_finetuning(run_of(), RunResult(FOLDER, 0, {}))
    assert capsys.readouterr().err == ""


def test_questions_are_asked_of_a_text(capsys):
    next_steps.after_finetuning(run_of(tasks=[get_task("squad")]), RunResult("m", 3, {}))
    assert "--text 'Who ate the meal?' --text_b 'The chef ate" in capsys.readouterr().err
