"""What a run writes down: train_log.jsonl, eval_log.jsonl, TensorBoard, a line to read.

On going on, all of it is cut back to the step of the checkpoint, so that a run that was killed
leaves the same logs as one that was not. Uses tqdm for the progress bar, google.protobuf to read
events.
"""

import contextlib
import datetime
import glob
import json
import os
import sys
import time

import numpy as np
import tensorflow as tf
import tqdm
from absl import logging
from google.protobuf.message import DecodeError
from tensorboard.plugins.hparams import api as hparams_api

from electra.data.records import FRAME_BYTES
from electra.storage import refuse_link, write_text

TRAIN_LOG, EVAL_LOG = "train_log.jsonl", "eval_log.jsonl"
EVENT_FILES = "events.out.tfevents.*"
_SUMMARY = ".summary"  # ends the name of write_summaries' file
THROUGHPUT = (  # what may differ between equal runs
    "examples_per_sec",
    "tokens_per_sec",
    "model_flops_per_sec",
    "share_of_peak",
)
_SECONDS_BETWEEN_BARS = 30  # where no terminal shows them


class RunLog:
    """Writes a run's numbers to its folder; a context manager.

    Args:
        folder: of the model.
        resume_step: updates already made; later entries of the logs are removed. At 0 all entries
            are, since a run that begins logs its step 0 again.
        last_step: at which the run ends, for the progress bar.
        work: function from the step to the work until then, in any unit, for the time left.
        enabled: False writes and shows nothing (all processes but the chief).
    """

    def __init__(self, folder, *, resume_step, last_step, work=float, enabled=True):
        self.folder, self.enabled = os.fspath(folder), enabled
        self.last_step, self._first_step, self._work = last_step, resume_step, work
        self._files, self._writer, self._bar = {}, None, None
        self._started = time.monotonic()
        if enabled:
            os.makedirs(self.folder, exist_ok=True)
            last_kept = resume_step or -1
            for name in (TRAIN_LOG, EVAL_LOG):
                cut_back_lines(os.path.join(self.folder, name), last_kept)
            cut_back_events(self.folder, last_kept)

    def __enter__(self):
        if self.enabled:
            for name in (TRAIN_LOG, EVAL_LOG):
                self._files[name] = open(os.path.join(self.folder, name), "a", encoding="utf-8")
            self._writer = tf.summary.create_file_writer(self.folder)
            is_shown = sys.stderr and sys.stderr.isatty()
            self._bar = tqdm.tqdm(
                total=self.last_step,
                initial=self._first_step,
                unit="step",
                dynamic_ncols=True,
                smoothing=0.1,
                desc="training",
                disable=sys.stderr is None,
                mininterval=0.1 if is_shown else _SECONDS_BETWEEN_BARS,
                maxinterval=10 if is_shown else _SECONDS_BETWEEN_BARS,
            )
            self._started = time.monotonic()
        return self

    def __exit__(self, *error):
        if self.enabled:
            self._bar.close()
            self._writer.close()
            for file in self._files.values():
                file.close()

    def aim(self, step, what):
        """Has the progress bar lead to a step and say what is made until then."""
        if self.enabled:
            self._bar.total = step
            self._bar.set_description(what, refresh=False)

    def progress(self, step):
        """Moves the progress bar."""
        if self.enabled and step > self._bar.n:
            self._bar.update(step - self._bar.n)

    def train(self, step, values):
        """Logs the numbers of an interval: dict name -> float."""
        if not self.enabled:
            return
        self.progress(step)
        self._line(TRAIN_LOG, step, values)
        self._scalars("train", step, values)
        with tqdm.tqdm.external_write_mode():
            logging.info("%s", readable(step, self.last_step, values, self._seconds_left(step)))

    def eval(self, step, metrics):
        """Logs metrics on held-out text."""
        if not self.enabled:
            return
        self._line(EVAL_LOG, step, metrics)
        self._scalars("eval", step, metrics)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        with tqdm.tqdm.external_write_mode():
            logging.info("step %d held-out: %s", step, shown)

    def text(self, step, tag, markdown):
        """Shows a text in TensorBoard."""
        if self.enabled and markdown:
            with self._writer.as_default():
                tf.summary.text(tag, markdown, step=np.int64(step))

    def hparams(self, values):
        """Shows the hparams in TensorBoard: its hparams panel and a table."""
        if not self.enabled or self._first_step:
            return
        plain = {
            k: v if isinstance(v, (bool, int, float, str)) else json.dumps(v)
            for k, v in values.items()
        }
        rows = [f"| {k} | {v} |" for k, v in plain.items()]
        with self._writer.as_default(step=0):
            hparams_api.hparams(plain, trial_id=plain.get("model_name", "run"))
            tf.summary.text("hparams", "\n".join(["| hparam | value |", "|---|---|", *rows]))

    def flush(self):
        """Makes all that was logged durable; call it before a checkpoint."""
        if self.enabled:
            self._writer.flush()
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())

    def _seconds_left(self, step):
        first, now, last = map(self._work, (self._first_step, step, self.last_step))
        return (time.monotonic() - self._started) * (last - now) / max(now - first, 1.0)

    def _line(self, name, step, values):
        self._files[name].write(json.dumps({"step": int(step), **values}) + "\n")
        self._files[name].flush()

    def _scalars(self, group, step, values):
        # As NumPy's: TensorFlow keeps the tensors of Python's own numbers for ever.
        with self._writer.as_default(step=np.int64(step)):
            for name, value in values.items():
                tf.summary.scalar(f"{group}/{name}", np.asarray(value))


def write_summaries(folder, step, scalars=(), images=()):
    """Shows numbers (dict tag -> float) and images (tag -> PNG bytes) in TensorBoard.

    They take the place of those that an earlier call showed of the folder.
    """
    for path in event_files(folder, _SUMMARY):
        os.remove(path)
    writer = tf.summary.create_file_writer(folder, filename_suffix=_SUMMARY)
    with contextlib.closing(writer), writer.as_default(step=step):
        for tag, value in dict(scalars).items():
            tf.summary.scalar(tag, value)
        for tag, png in dict(images).items():
            tf.summary.image(tag, tf.io.decode_png(png, channels=3)[tf.newaxis])


def readable(step, last_step, values, seconds_left):
    """Returns the numbers of an interval as one line to read.

    >>> readable(200, 1000, {"loss": 44.98765, "examples_per_sec": 31.2}, 3725)
    'step 200/1000  loss 44.988  31.2 examples/s  ETA 1:02:05'
    """
    names = {
        "phase": "phase {}",
        "loss": "loss {:.3f}",
        "masked_lm_loss": "MLM {:.3f}",
        "disc_loss": "RTD {:.4f}",
        "disc_auc": "disc_auc {:.3f}",
        "learning_rate": "rate {:.2e}",
        "examples_per_sec": "{:.1f} examples/s",
        "tokens_per_sec": "{:.0f} tokens/s",
        "model_flops_per_sec": "{:.3g} FLOP/s",
        "share_of_peak": "{:.1%} of peak",
    }
    shown = [text.format(values[name]) for name, text in names.items() if name in values]
    left = f"ETA {datetime.timedelta(seconds=round(seconds_left))}"
    return "  ".join([f"step {step}/{last_step}", *shown, left])


def read_lines(path):
    """Returns the entries of a .jsonl log up to where it is torn (by a kill) or damaged."""
    if not os.path.exists(path):
        return []
    entries = []
    with open(path, "rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):  # no JSON, no UTF-8, nested too deep
                break
            if type(entry) is not dict or type(entry.get("step")) is not int:
                break
            entries.append(entry)
    return entries


def cut_back_lines(path, step):
    """Removes a log's entries of later steps, atomically; warns where others are lost."""
    refuse_link(path)
    if not os.path.exists(path):
        return
    entries = read_lines(path)
    with open(path, "rb") as file:
        lost = sum(line.endswith(b"\n") for line in file) - len(entries)
    if lost > 0:  # not only a line torn by a kill
        logging.warning(
            "%s is damaged at line %d: that and all behind it, %d lines, are dropped",
            path,
            len(entries) + 1,
            lost,
        )
    kept = [json.dumps(entry) + "\n" for entry in entries if entry["step"] <= step]
    write_text(path, "".join(kept))


def cut_back_events(folder, step):
    """Removes TensorBoard events of later steps from the event files of a folder, atomically.

    Warns where others are lost.
    """
    for path in glob.glob(os.path.join(glob.escape(folder), EVENT_FILES + ".tmp")):
        os.remove(path)  # of a cut that was killed
    for path in event_files(folder):
        events, damage = read_events(path)
        if damage and "truncated" not in damage:  # not torn by a kill
            at = sum(event.ByteSize() + FRAME_BYTES for event in events)
            logging.warning(
                "%s is damaged at byte %d: that and all behind it, %d bytes, are dropped",
                path,
                at,
                os.path.getsize(path) - at,
            )
        kept = [e for e in events if e.step <= step or e.HasField("file_version")]
        if not any(event.HasField("summary") for event in kept):
            os.remove(path)
        elif len(kept) < len(events) or damage:
            with tf.io.TFRecordWriter(path + ".tmp") as writer:
                for event in kept:
                    writer.write(event.SerializeToString())
            os.replace(path + ".tmp", path)


def event_files(folder, ending=""):
    """Returns the paths of a folder's TensorBoard files, sorted."""
    paths = glob.glob(os.path.join(glob.escape(os.fspath(folder)), EVENT_FILES + ending))
    return sorted(path for path in paths if os.path.isfile(path))


def read_events(path):
    """Returns a TensorBoard file's events up to where it is damaged, and the error, "" without."""
    events = []
    try:
        for record in tf.data.TFRecordDataset(path):
            events.append(tf.compat.v1.Event.FromString(record.numpy()))
    except tf.errors.DataLossError as error:
        return events, error.message
    except DecodeError as error:
        return events, f"no event: {error}"
    return events, ""
