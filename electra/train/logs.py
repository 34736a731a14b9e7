"""What a run writes down: train_log.jsonl, eval_log.jsonl, TensorBoard, a line to read.

On going on, all of it is cut back to the step of the checkpoint, so that a run that was killed
leaves the same logs as one that was not. Uses google.protobuf to read events.
"""

import contextlib
import glob
import json
import os

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError
from tensorboard.plugins.hparams import api as hparams_api

from electra.data.records import FRAME_BYTES
from electra.storage import refuse_link, write_text
from electra.train.progress import Progress

TRAIN_LOG, EVAL_LOG = "train_log.jsonl", "eval_log.jsonl"
EVENT_FILES = "events.out.tfevents.*"
_SUMMARY = ".summary"  # ends the name of write_summaries' file
THROUGHPUT = (  # what may differ between equal runs
    "examples_per_sec",
    "tokens_per_sec",
    "model_flops_per_sec",
    "share_of_peak",
)


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
        self._first_step, self._files, self._writer = resume_step, {}, None
        self._progress = Progress(resume_step, last_step, work)
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
            self._progress.open()
        return self

    def __exit__(self, *error):
        if self.enabled:
            self._progress.close()
            self._writer.close()
            for file in self._files.values():
                file.close()

    def aim(self, step, what):
        """Has the progress bar lead to a step and say what is made until then."""
        if self.enabled:
            self._progress.aim(step, what)

    def compiling(self, device):
        """Says that the next step waits for a program, see Progress.compiling."""
        if self.enabled:
            self._progress.compiling(device)

    def progress(self, step, *of_the_call):
        """Tells of the steps that are made, see Progress.move."""
        if self.enabled:
            self._progress.move(step, *of_the_call)

    def add(self, steps, examples_per_sec=None):
        """Takes the Steps of a call for the progress, see Progress.add."""
        if self.enabled:
            self._progress.add(steps, examples_per_sec)

    def evaluating(self):
        """Returns a context manager in which an evaluation runs."""
        return self._progress.evaluating() if self.enabled else contextlib.nullcontext()

    def train(self, step, values):
        """Logs the numbers of an interval: dict name -> float."""
        if not self.enabled:
            return
        self._line(TRAIN_LOG, step, values)
        self._scalars("train", step, values)
        self._progress.say(self._progress.line(step, values))

    def eval(self, step, metrics):
        """Logs metrics on held-out text."""
        if not self.enabled:
            return
        self._line(EVAL_LOG, step, metrics)
        self._scalars("eval", step, metrics)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._progress.say(f"step {step} held-out: {shown}")

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
