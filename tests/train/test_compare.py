"""Comparing two runs: equal ones are equal, and each kind of difference is found and named."""

import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from electra.saving import checkpoints
from electra.train.compare import differences, main
from electra.train.lines import EVAL_LOG, TRAIN_LOG
from electra.train.logs import RunLog
from tests.shared import ROOT


def make_run(folder, *, step=2, weight=1.0, state=None, loss=0.5, speed=30.0, auc=0.7, extra=()):
    with RunLog(folder, resume_step=0, last_step=2) as log:
        log.hparams(types.SimpleNamespace(fields={}, to_json=dict), folder.name)
        for i in (1, 2):
            log.train(i, {"loss": loss, "examples_per_sec": speed, "tokens_per_sec": speed * 9})
        log.eval(2, {"disc_auc": auc})
    tensors = {"a/kernel": np.array([0.0, weight], np.float32), "a/kernel/adam_m": np.zeros(2)}
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    checkpoints.save(
        folder, step, {**tensors, **dict.fromkeys(extra, np.ones(1, np.float32))}, state or {}
    )
    return folder


def test_runs_that_differ_in_speed_alone_are_equal(tmp_path, capsys):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", speed=31.0)
    assert main([str(a), str(b)]) == 0
    assert capsys.readouterr().out == "equal\n"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"step": 3}, ["step: 2 and 3"]),
        ({"weight": 1.5}, ["a/kernel: differs in 1 of 2, by 0.5 at most"]),
        ({"extra": ["b"]}, ["b: only in "]),
        ({"state": {"interval": {"loss": 1.0}}}, ["state of the loop: interval"]),
        (
            {"loss": 0.25},
            [
                "train_log.jsonl line 1, loss: 0.5 and 0.25",
                "train_log.jsonl line 2, loss: 0.5 and 0.25",
                "TensorBoard train/losses/loss step 1: [0.5] and [0.25]",
                "TensorBoard train/losses/loss step 2: [0.5] and [0.25]",
            ],
        ),
        (
            {"auc": 0.75},
            [
                "eval_log.jsonl line 1, disc_auc: 0.7 and 0.75",
                "TensorBoard eval/metrics/disc_auc step 2: [0.69",
            ],
        ),
    ],
)
def test_each_difference_is_named(tmp_path, capsys, change, expected):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", **change)
    assert main([str(a), str(b)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected


def test_differences_of_bits_are_found_where_values_are_equal(tmp_path):
    a, b = (make_run(tmp_path / name, weight=w) for name, w in (("a", 0.0), ("b", -0.0)))
    assert differences(a, b) == ["a/kernel: equal numbers, different bits (0.0 and -0.0)"]


def test_not_a_number_equals_itself(tmp_path):
    nan = float("nan")
    a, b = (make_run(tmp_path / name, weight=nan, loss=nan, auc=nan) for name in "ab")
    assert differences(a, b) == []


def test_a_duplicated_or_missing_line_is_found(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    with open(b / TRAIN_LOG, "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 2, "loss": 0.5}) + "\n")
    os.remove(b / EVAL_LOG)
    assert differences(a, b) == [
        f"train_log.jsonl line 3 (step 2): only in {b / TRAIN_LOG}",
        f"eval_log.jsonl line 1 (step 2): only in {a / EVAL_LOG}",
    ]


def test_duplicated_tensorboard_values_are_found(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    (tmp_path / "again").mkdir()
    make_run(tmp_path / "again")
    for path in (tmp_path / "again" / "train").glob("events.*"):
        path.rename(b / "train" / f"{path.name}.2")
    assert "TensorBoard train/losses/loss step 1: [0.5] and [0.5, 0.5]" in differences(a, b)


def test_damaged_tensorboard_files_are_equal_to_nothing(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    for folder in (a, b):
        (folder / "events.out.tfevents.1").write_bytes(b"garbage" * 9)
    assert differences(a, b) == [
        f"{folder / 'events.out.tfevents.1'} is damaged after 0 events" for folder in (a, b)
    ]


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        IsADirectoryError(21, "Is a directory"),
        tf.errors.DataLossError(None, None, "lost\nop"),
    ],
)
def test_what_cannot_be_read_ends_in_one_line(tmp_path, monkeypatch, capsys, error):
    def fail(folder):
        raise error

    monkeypatch.setattr(checkpoints, "read", fail)
    with pytest.raises(SystemExit) as stopped:
        main(["a", "b"])
    assert stopped.value.code == 2
    assert str(error).split("\n")[0] in capsys.readouterr().err.splitlines()[-1]


def test_the_first_of_many_differences_are_printed_and_all_written(tmp_path, capsys):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", extra=[f"x{i:02}" for i in range(12)])
    assert main([str(a), str(b)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[-1]) == (11, "and 2 more: --output FILE takes all")
    assert main([str(a), str(b), "--output", str(tmp_path / "all.txt")]) == 1
    assert capsys.readouterr().out.endswith("and 2 more: " + str(tmp_path / "all.txt") + "\n")
    assert (tmp_path / "all.txt").read_text().splitlines() == differences(a, b)
    with pytest.raises(SystemExit):
        main([str(a), str(b), "--output", str(tmp_path)])


def test_a_huge_tensor_of_tensorboard_is_not_made(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    event = tf.compat.v1.Event(step=1)
    value = event.summary.value.add(tag="train/huge")
    value.tensor.dtype = tf.float32.as_datatype_enum
    value.tensor.tensor_shape.dim.add(size=2**50)
    value.tensor.float_val.append(1.0)
    with tf.io.TFRecordWriter(str(b / "events.out.tfevents.1")) as writer:
        writer.write(event.SerializeToString())
    assert differences(a, b) == []


def test_checkpoints_are_compared_without_their_logs(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", loss=0.25)
    paths = [checkpoints.latest(a), checkpoints.latest(b)]
    assert differences(*paths) == []
    assert differences(paths[0], b) == []
    assert differences(a, b)


def test_tensors_of_other_shapes_are_named_with_both(tmp_path):
    for name, size in (("a", 2), ("b", 3)):
        checkpoints.save(tmp_path / name, 1, {"w": np.zeros(size, np.float32)}, {})
    assert differences(tmp_path / "a", tmp_path / "b") == ["w: float32 (2,) and float32 (3,)"]


@pytest.mark.parametrize("arguments", [[], ["one"], ["missing", "missing"], ["a", "b", "c"]])
def test_bad_usage_ends_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: python -m electra.train.compare" in capsys.readouterr().err


def test_the_command_runs(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", weight=2.0)
    command = [sys.executable, "-m", "electra.train.compare", str(a), str(b)]
    env = {k: value for k, value in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    finished = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 1
    assert finished.stdout == "a/kernel: differs in 1 of 2, by 1 at most\n"
    assert "oneDNN" not in finished.stderr  # nor another of TensorFlow's notes
