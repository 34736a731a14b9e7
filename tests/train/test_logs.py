"""The logs: what is written, and that a kill and a resume leave no trace in them."""

import gc
import json
import logging
import re
import sys
import types
from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard.plugins.hparams import plugin_data_pb2

from electra.pretrain.config import PretrainingConfig
from electra.train import compare, tensorboard
from electra.train.lines import EVAL_LOG, TRAIN_LOG, cut_back_lines, read_lines
from electra.train.logs import RunLog
from electra.train.progress import readable
from electra.train.tensorboard import tag_of

LAST = 6


def values_of(step):
    return {"loss": 1 / (step + 3), "disc_auc": 0.1 * step, "examples_per_sec": 3.0}


def write(log, steps):
    """What the runner does: hparams and evaluation at step 0, a line a step, text and metrics."""
    with log:
        values = {"model_name": "m", "learning_rate": 1e-3, "eval": None}
        log.hparams(types.SimpleNamespace(fields={}, to_json=values.copy), "m")
        for step in steps:
            if step:
                log.train(step, values_of(step))
            if step % 2 == 0:
                log.eval(step, {"masked_lm_loss": 1 / 3 + step})
                log.text(step, "held_out/corrupted", f"**step** {step}")
            log.flush()


def start(folder, resume_step=0):
    return RunLog(folder, resume_step=resume_step, last_step=LAST)


def event_files(folder, run=""):
    """Those of a part of a run ("train"), or of the whole."""
    return [Path(path) for path in tensorboard.event_files(folder) if f"{folder}/{run}" in path]


def event_steps(folder, tag):
    """Steps at which a run/tag was written, sorted, each as often as it was written."""
    return sorted(
        event.step
        for path in event_files(folder)
        for event in tensorboard.read_events(str(path))[0]
        for value in event.summary.value
        if f"{path.parent.relative_to(folder)}/{value.tag}".removeprefix("./") == tag
    )


@pytest.mark.parametrize("name", [TRAIN_LOG, EVAL_LOG])
@pytest.mark.parametrize("exists", [True, False])
def test_a_log_that_is_a_link_is_refused(tmp_path, name, exists):
    folder, victim = tmp_path / "model", tmp_path / "victim"
    folder.mkdir()
    if exists:
        victim.write_text('{"step": 1}\n')
    (folder / name).symlink_to(victim)
    with pytest.raises(OSError, match=f"{name} is a link to .*victim"):
        start(folder)
    assert victim.exists() == exists and (folder / name).is_symlink()


def test_numbers_are_read_back_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr", None)  # closed: `2>&-`
    write(start(tmp_path), range(LAST + 1))
    assert read_lines(tmp_path / TRAIN_LOG) == [
        {"step": step, **values_of(step)} for step in range(1, LAST + 1)
    ]
    assert read_lines(tmp_path / EVAL_LOG)[1] == {"step": 2, "masked_lm_loss": 1 / 3 + 2}


def test_tensorflow_keeps_none_of_the_numbers(tmp_path):
    """It keeps the tensors of Python's own numbers, 0.8 kB each, until the process ends."""
    numbers = [int("123456"), float("0.123"), float("0.456")]
    before = [*map(sys.getrefcount, numbers)]
    with start(tmp_path) as log:
        log.train(numbers[0], {"loss": numbers[1]})
        log.eval(numbers[0], {"loss": numbers[2]})
        log.text(numbers[0], "held_out/corrupted", "**text**")
    del log  # which keeps the last step
    gc.collect()
    assert [*map(sys.getrefcount, numbers)] == before


def test_tensorboard_has_every_scalar_text_and_hparam(tmp_path):
    write(start(tmp_path), range(LAST + 1))
    for name in values_of(1):
        assert event_steps(tmp_path, f"train/{tag_of(name)}") == [1, 2, 3, 4, 5, 6]
    assert event_steps(tmp_path, "eval/losses/masked_lm_loss") == [0, 2, 4, 6]
    assert event_steps(tmp_path, "eval/held_out/corrupted") == [0, 2, 4, 6]
    assert event_steps(tmp_path, "hparams") == [0]
    assert event_steps(tmp_path, "_hparams_/session_start_info") == [0]


@pytest.mark.parametrize("resume_step", [0, 2, 3, 4])
def test_nothing_is_twice_or_lost_after_a_kill_and_a_resume(tmp_path, resume_step):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    write(start(unbroken), range(LAST + 1))
    write(start(killed), range(5))
    with open(killed / TRAIN_LOG, "a", encoding="utf-8") as file:
        file.write('{"step": 5, "lo')  # torn by the kill
    (events,) = event_files(killed, "train")
    with open(events, "ab") as file:
        file.write(b"\x18\x00\x00\x00")
    events.with_name(f"{events.name}.tmp").write_bytes(b"of a resume that was killed too")
    write(start(killed, resume_step), range(resume_step + 1 if resume_step else 0, LAST + 1))
    for name in (TRAIN_LOG, EVAL_LOG):
        assert (killed / name).read_bytes() == (unbroken / name).read_bytes()
    assert compare.compare_events(killed, unbroken) == []
    for tag in ("eval/held_out/corrupted", "hparams", "_hparams_/session_start_info"):
        assert event_steps(killed, tag) == event_steps(unbroken, tag)
    assert not list(killed.rglob("*.tmp"))


def test_event_files_without_later_steps_stay_as_they_are(tmp_path):
    write(start(tmp_path), range(3))
    (path,) = event_files(tmp_path, "train")
    before = path.read_bytes(), path.stat().st_mtime_ns
    tensorboard.cut_back_events(tmp_path, 2)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_a_cut_back_event_file_is_read_by_tensorflow(tmp_path):
    write(start(tmp_path), range(5))
    tensorboard.cut_back_events(tmp_path, 2)
    (path,) = event_files(tmp_path, "train")
    events = list(tf.compat.v1.train.summary_iterator(str(path)))
    assert events[0].file_version == "brain.Event:2"
    assert max(event.step for event in events) == 2


def test_a_line_cut_by_a_kill_is_dropped_and_a_whole_one_kept(tmp_path, caplog):
    path = tmp_path / TRAIN_LOG
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}')
    cut_back_lines(path, 9)
    assert path.read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n'
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.2')
    cut_back_lines(path, 9)
    assert path.read_text() == '{"step": 1, "loss": 0.5}\n'
    assert "damaged" not in caplog.text
    path.write_text('{"step": 1}\ngarbage\n{"step": 3}\n{"step": 4}\n')
    cut_back_lines(path, 9)
    assert "train_log.jsonl is damaged at line 2: that and all behind it, 3 lines" in caplog.text


def test_a_damaged_event_is_dropped_with_those_behind_it_and_a_warning(tmp_path, caplog):
    write(start(tmp_path), range(LAST + 1))
    (path,) = event_files(tmp_path, "train")
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-1])  # torn by a kill
    tensorboard.cut_back_events(tmp_path, LAST)
    assert "dropped" not in caplog.text
    at = data.index(b"losses/loss")
    data[at] ^= 1
    path.write_bytes(data)
    tensorboard.cut_back_events(tmp_path, LAST)
    first, lost = map(
        int,
        re.search(
            rf"{path.name} is damaged at byte (\d+): .* behind it, (\d+) bytes", caplog.text
        ).groups(),
    )
    assert 0 <= at - first < 100
    assert first + lost == len(data)
    assert event_steps(tmp_path, "train/losses/loss") == []


def test_what_is_no_event_is_dropped_with_a_warning_and_a_folder_left_alone(tmp_path, caplog):
    write(start(tmp_path), range(3))
    (path,) = event_files(tmp_path, "train")
    events, _ = tensorboard.read_events(str(path))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in (*(event.SerializeToString() for event in events), b"junk", b"more"):
            writer.write(record)
    folder = tmp_path / tensorboard.EVENT_FILES.replace("*", "folder")
    folder.mkdir()
    assert "is damaged after" in compare.compare_events(tmp_path, tmp_path)[0]
    tensorboard.cut_back_events(tmp_path, LAST)
    assert f"{path.name} is damaged at byte" in caplog.text
    assert folder.is_dir()
    assert tensorboard.read_events(str(path)) == (events, "")


def test_a_folder_in_a_logs_place_is_refused(tmp_path):
    (tmp_path / TRAIN_LOG).mkdir()
    with pytest.raises(OSError, match="train_log.jsonl is no file"):
        start(tmp_path)


def test_logs_that_are_not_there_are_empty(tmp_path):
    cut_back_lines(tmp_path / TRAIN_LOG, 3)
    tensorboard.cut_back_events(tmp_path, 3)
    assert read_lines(tmp_path / TRAIN_LOG) == []
    assert list(tmp_path.iterdir()) == []


def test_processes_that_are_not_the_chief_write_nothing(tmp_path):
    log = RunLog(tmp_path / "m", resume_step=0, last_step=LAST, enabled=False)
    write(log, range(LAST))
    log.progress(LAST)
    assert not (tmp_path / "m").exists()


def test_the_line_to_read_shows_losses_speed_and_time_left(tmp_path, caplog):
    values = {
        "loss": 44.98765,
        "masked_lm_loss": 10.3,
        "disc_loss": 0.69,
        "disc_auc": 0.5,
        "learning_rate": 5e-4,
        "grad_norm": 3.0,
        "examples_per_sec": 31.25,
        "tokens_per_sec": 4000.0,
    }
    assert readable(200, 1000, values, 3725) == (
        "step 200/1000  loss 44.988  MLM 10.300  RTD 0.6900  disc_auc 0.500  rate 5.00e-04  "
        "31.2 examples/s  4000 tokens/s  ETA 1:02:05"
    )
    with caplog.at_level(logging.INFO, logger="absl"), start(tmp_path) as log:
        log.train(1, values)
    assert "step 1/6  loss 44.988" in caplog.text
    assert "ETA 0:00:0" in caplog.text


def test_every_line_is_json_of_its_own(tmp_path):
    with start(tmp_path) as log:
        log.train(1, values_of(1))
        # Visible at once, before any flush: a run can be watched.
        assert json.loads((tmp_path / TRAIN_LOG).read_text()) == {"step": 1, **values_of(1)}


@pytest.mark.parametrize("line", [b"5\n", b"{}\n", b"\xff\n", b"[" * 200_000], ids=len)
def test_a_damaged_line_ends_a_log(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line)
    assert read_lines(path) == [{"step": 1}]


def test_a_summary_takes_the_place_of_the_one_before(tmp_path):
    write(start(tmp_path), range(3))
    for value in (1.0, 2.0):
        tensorboard.write_summaries(str(tmp_path), 2, {"scores/cola/mcc": value})
    assert event_steps(tmp_path, "scores/cola/mcc") == [2]
    assert event_steps(tmp_path, "train/losses/loss") == [1, 2]
    tensorboard.cut_back_events(tmp_path, 2)
    assert event_steps(tmp_path, "scores/cola/mcc") == [2]


def test_what_is_to_be_compared_is_one_chart_of_several_folders(tmp_path):
    charts = {"unigram_slot_loss": ("unigram", "losses/mask_slot_loss")}
    board, unigram = tmp_path / "pretraining", {"unigram_slot_loss": 4.0}
    for resume_step in (0, 2):
        with RunLog(
            tmp_path, resume_step=resume_step, last_step=LAST, name="pretraining", charts=charts
        ) as log:
            for step in (2, 4):
                if step > resume_step:
                    log.train(step, {"masked_lm_loss": 2.0})
                    log.eval(step, {"masked_lm_loss": 2.5, "mask_slot_loss": 3.0, **unigram})
    for run in ("eval", "unigram"):
        assert event_steps(board, f"{run}/losses/mask_slot_loss") == [2, 4]
    assert event_steps(board, "eval/losses/masked_lm_loss") == [2, 4]
    assert event_steps(board, "train/losses/masked_lm_loss") == [2, 4]
    assert {path.name for path in tmp_path.iterdir()} == {TRAIN_LOG, EVAL_LOG, "pretraining"}


def test_hparams_to_compare_are_those_that_shape_a_run(tmp_path):
    hparams = {"model_hparam_overrides": {"hidden_size": 128}, "learning_rate": 1e-3}
    config = PretrainingConfig("m", str(tmp_path / "data"), **hparams)
    with start(tmp_path) as log:
        log.hparams(config, "pretraining (m)", task_names=["cola", "rte"])
    (path,) = event_files(tmp_path)
    events, _ = tensorboard.read_events(str(path))
    content = plugin_data_pb2.HParamsPluginData()
    for value in (value for event in events for value in event.summary.value):
        if value.tag == "_hparams_/session_start_info":
            content.ParseFromString(value.metadata.plugin_data.content)
        if value.tag == "hparams":
            table = value.tensor.string_val[0].decode()
    start_info = content.session_start_info
    assert start_info.group_name == "pretraining (m)"
    shown = start_info.hparams
    assert shown["hidden_size"].number_value == 128 and shown["learning_rate"].number_value == 1e-3
    assert shown["task_names"].string_value == "cola, rte"
    assert "num_train_steps" in shown and not {"model_dir", "log_every_steps", "phases"} & set(
        shown
    )
    assert "| model_dir |" in table and "| log_every_steps |" in table
