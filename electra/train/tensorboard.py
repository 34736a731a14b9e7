"""What TensorBoard shows of a run: charts, pictures, texts, hparams.

TensorBoard draws numbers of one tag in one chart, a line for each folder they lie in. So what is
logged while training lies in `train`, what held-out text says in `eval`, both under one tag, and
what a number is to be compared with in a folder of its own (`unigram`, `baseline`). Enters: numbers
by name. Leaves: event files. Uses google.protobuf to read them.
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
from electra.train.lines import THROUGHPUT

EVENT_FILES = "events.out.tfevents.*"
PRETRAINING = "pretraining"  # folder in a model's, whose tasks lie beside it
_RUNS = ("", "train", "eval", "unigram", "baseline")
_SUMMARY = ".summary"  # ends the name of write_summaries' file


class TensorBoard:
    """Writes event files.

    Args:
        folder: of the run.
        charts: dict name of a number -> (folder in this one, tag), where they are others than
            `train` or `eval` and `tag_of` the name.
    """

    def __init__(self, folder, charts=None):
        self.folder, self.charts, self._writers = folder, charts or {}, {}

    def scalars(self, run, step, values):
        """Shows numbers (dict name -> float) of the run "train" or "eval"."""
        for name, value in values.items():
            in_folder, tag = self.charts.get(name, (run, tag_of(name)))
            # As NumPy's: TensorFlow keeps the tensors of Python's own numbers for ever.
            with self._writer(in_folder).as_default(step=np.int64(step)):
                tf.summary.scalar(tag, np.asarray(value))

    def text(self, run, step, tag, markdown):
        """Shows a text."""
        with self._writer(run).as_default():
            tf.summary.text(tag, markdown, step=np.int64(step))

    def hparams(self, values, name, hidden=()):
        """Shows a dict of hparams in a table, and as the trial of that name in the hparams panel,
        without those whose names are in `hidden` and those that are not set."""
        compared = {k: v for k, v in values.items() if k not in hidden}
        rows = [f"| {k} | {_as_text(v)} |" for k, v in values.items()]
        with self._writer("").as_default(step=0):
            hparams_api.hparams(_comparable(compared), trial_id=name)
            tf.summary.text("hparams", "\n".join(["| hparam | value |", "|---|---|", *rows]))

    def flush(self):
        for writer in self._writers.values():
            writer.flush()

    def close(self):
        for writer in self._writers.values():
            writer.close()

    def _writer(self, run):
        if run not in self._writers:
            self._writers[run] = tf.summary.create_file_writer(os.path.join(self.folder, run))
        return self._writers[run]


def tag_of(name):
    """Returns a number's tag, its group before the slash; a task's are a group already.

    >>> [tag_of(name) for name in ("disc_loss", "disc_auc", "grad_norm", "cola/mcc")]
    ['losses/disc_loss', 'metrics/disc_auc', 'training/grad_norm', 'cola/mcc']
    """
    if "/" in name:
        return name
    if name in THROUGHPUT:
        return f"speed/{name}"
    if name in ("learning_rate", "grad_norm", "phase"):
        return f"training/{name}"
    return f"losses/{name}" if name.endswith("loss") else f"metrics/{name}"


def write_summaries(folder, step, scalars=(), images=()):
    """Shows numbers (dict tag -> float) and images (tag -> PNG bytes) in TensorBoard.

    They take the place of those that an earlier call showed of the folder.
    """
    for path in _in_folder(folder, _SUMMARY):
        os.remove(path)
    writer = tf.summary.create_file_writer(folder, filename_suffix=_SUMMARY)
    with contextlib.closing(writer), writer.as_default(step=step):
        for tag, value in dict(scalars).items():
            tf.summary.scalar(tag, value)
        for tag, png in dict(images).items():
            tf.summary.image(tag, tf.io.decode_png(png, channels=3)[tf.newaxis])


def cut_back_events(folder, step):
    """Removes TensorBoard events of later steps from the event files of a run, atomically.

    Warns where others are lost.
    """
    for path in event_files(folder, ".tmp"):
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
    """Returns the paths of a run's event files, sorted: those of a model's folder, or of a part of
    it; not of the tasks that a model learnt later."""
    folders = [os.path.join(folder, home, run) for home in ("", PRETRAINING) for run in _RUNS]
    return sorted(path for each in folders for path in _in_folder(each, ending))


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


def _in_folder(folder, ending=""):
    paths = glob.glob(os.path.join(glob.escape(os.fspath(folder)), EVENT_FILES + ending))
    return [path for path in paths if os.path.isfile(path)]


def _as_text(value):
    return value if isinstance(value, (bool, int, float, str)) else json.dumps(value)


def _comparable(values):
    """Returns what has a column of its own: an hparam that is set, each of a dict of them."""
    shown = {}
    for name, value in values.items():
        if isinstance(value, dict):
            shown |= _comparable(value)
        elif isinstance(value, list):
            shown |= {name: ", ".join(map(str, value))} if value else {}
        elif value is not None:
            shown[name] = value
    return shown
