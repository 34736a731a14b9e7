"""Reads records: checked, and in batches.

Enters: TFRecord files with input_ids, input_mask, segment_ids. Leaves: int32 (B, L) batches. Which
records a batch holds is a function of (seed, step): going on needs no replay.
"""

import fnmatch
import os
import re

import numpy as np
import tensorflow as tf
from absl import logging

from electra.cloud.files import matches, names_in
from electra.data.frames import Frames
from electra.data.index import INDEX_NAME
from electra.data.manifest import AS_BUILT, MANIFEST_NAME, contradictions, read_manifest
from electra.data.order import ORDERS, Order
from electra.data.patterns import find_files, split
from electra.features import RECORD_FEATURES, ROW

_FIRST_LOOK = 256  # records that are read before the first step, to fail early
# TensorFlow quotes what it cannot parse, and fails at that if it is no UTF-8.
_PARSE_ERRORS = (tf.errors.OpError, UnicodeDecodeError)
_READERS = 4  # threads; more of them wait for Python
_READ_TOGETHER = 1024  # records, of several batches: a call costs as much as 300 of them
_BUILD = "Build the records anew with build_pretraining_dataset.py"


class Records:
    """The records of some files, addressed by number.

    Args:
        pattern: glob, or several with commas between them.
        max_seq_length: L that the records must have; None takes theirs.
        vocab: Vocabulary that they must have been made with; None leaves that unchecked.
        do_lower_case, strip_accents: with which they must have been made, or None.
        kind: "training" or "held-out", for messages.
    Attributes:
        files: list of paths.
    Raises:
        FileNotFoundError: no file matches.
        ValueError: an empty, truncated or damaged file, or records made with another length,
            vocabulary or case than asked for.
    """

    def __init__(
        self,
        pattern,
        *,
        max_seq_length=None,
        vocab=None,
        do_lower_case=None,
        strip_accents=None,
        kind="training",
    ):
        self.kind = kind
        self.files = _find(pattern, kind)
        self._patterns = split(pattern)
        self._frames = Frames(self.files)
        if not len(self):
            raise ValueError(f"The {kind} records {pattern} hold no example. {_BUILD}")
        # Where a feature's numbers must end.
        self._ends = dict.fromkeys(RECORD_FEATURES, 2)
        self._ends["input_ids"] = np.iinfo(np.int32).max if vocab is None else len(vocab)
        made_with = {
            "max_seq_length": max_seq_length,
            "vocab_sha256": getattr(vocab, "sha256", None),
            "do_lower_case": do_lower_case,
            "strip_accents": strip_accents,
        }
        for folder in sorted({os.path.dirname(path) or "." for path in self.files}):
            manifest = read_manifest(folder)
            if manifest is None:
                logging.warning(f"No manifest in {folder}: the records' vocabulary is not checked")
            else:
                if wrong := contradictions(manifest, made_with, folder, kind):
                    raise ValueError(f"{'. '.join(wrong)}. {AS_BUILT}")
                self._check_files(folder, manifest.get("files", ()))
        self.max_seq_length = self._length_of_first()
        if max_seq_length not in (None, self.max_seq_length):
            raise ValueError(
                f"{self.files[0]} holds examples of {self.max_seq_length} tokens, the model's "
                f"max_seq_length is {max_seq_length}. Set it to theirs, or build them anew"
            )
        # parse_example must be told how long each feature's list is.
        spec = tf.io.FixedLenFeature([self.max_seq_length], tf.int64)
        self._spec = dict.fromkeys(RECORD_FEATURES, spec)
        # A graph, as its calls keep other threads from Python for a tenth of the time.
        signature = [tf.TensorSpec([None], tf.string)]
        self._parse = tf.function(self._parsed, input_signature=signature, autograph=False)
        self.read(np.linspace(0, len(self) - 1, min(len(self), _FIRST_LOOK)).astype(np.int64))

    def __len__(self):
        return len(self._frames)

    def read(self, numbers):
        """Reads records.

        Args:
            numbers: int (n,), each below len(self).
        Returns: dict of int32 (n, L).
        Raises:
            ValueError: a record that is damaged or holds ids beyond the vocabulary.
        """
        data = self._frames.read(numbers)
        try:
            batch, is_good = self._parse(tf.constant(data, tf.string, [len(data)]))
        except _PARSE_ERRORS:
            raise self._unreadable(numbers) from None
        if not is_good:
            self._refuse(numbers, tf.io.parse_example(data, self._spec))
        return {name: values.numpy() for name, values in batch.items()}

    def _parsed(self, data):
        """Returns the features of records, dict of int32 (n, L), and whether all are possible."""
        with tf.device("CPU:0"):  # a GPU would be asked for sums that small
            batch = tf.io.parse_example(data, self._spec)  # int64: ids may be beyond
            is_good = [
                tf.reduce_all((values >= 0) & (values < self._ends[name]))
                for name, values in batch.items()
            ]
            is_good.append(tf.reduce_all(tf.reduce_any(batch["input_mask"] > 0, axis=1)))
            batch = {name: tf.cast(values, tf.int32) for name, values in batch.items()}
            return batch, tf.reduce_all(is_good)

    def _refuse(self, numbers, batch):
        for name, end in self._ends.items():
            values = batch[name].numpy()
            wrong = np.argwhere((values >= end) | (values < 0))
            if not len(wrong):
                continue
            where, value = self._frames.where(numbers[wrong[0, 0]]), values[tuple(wrong[0])]
            if name != "input_ids":
                raise ValueError(f"{where}: {name} holds {value}. Expected: 0 or 1. {_BUILD}")
            raise ValueError(
                f"{where}: token id {value} is not in the vocabulary of {end} tokens. Set "
                "vocab_file to that of the records, or build them anew"
            )
        where = self._frames.where(numbers[batch["input_mask"].numpy().any(axis=1).argmin()])
        raise ValueError(f"{where}: input_mask is 0 throughout. {_BUILD}")

    def _unreadable(self, numbers):
        for number in numbers:
            try:
                tf.io.parse_single_example(self._frames.read([number])[0], self._spec)
            except _PARSE_ERRORS as error:
                reason = getattr(error, "message", "it is no tf.train.Example")
                reason = re.sub(r"(?s)\{\{.*?\}\} |, value: .*|\.? ?\[Op:.*", "", reason)
                break
        return ValueError(
            f"{self._frames.where(number)} cannot be read: {reason}. Expected: "
            f"{', '.join(RECORD_FEATURES)}, {self.max_seq_length} numbers each. {_BUILD}"
        )

    def _length_of_first(self):
        where, (data,) = self._frames.where(0), self._frames.read([0])
        try:
            features = tf.train.Example.FromString(data).features.feature
        except Exception as error:  # protobuf's DecodeError has no public name of its own
            raise ValueError(f"{where} is no tf.train.Example: {error}") from None
        if not features["input_ids"].int64_list.value:
            raise ValueError(f"{where} has no feature input_ids. {_BUILD}")
        return len(features["input_ids"].int64_list.value)

    def _check_files(self, folder, entries):
        """Refuses files that are missing, or hold another number of examples than promised."""
        promised = {entry["name"]: entry["examples"] for entry in entries}
        parts = [os.path.split(pattern) for pattern in self._patterns]
        here = [name for parent, name in parts if folder in matches(parent or ".")]
        wanted = {n for n in promised if any(fnmatch.fnmatchcase(n, name) for name in here)}
        missing = sorted(wanted - {os.path.basename(path) for path in self.files})
        if missing:
            raise ValueError(f"{folder} lacks {missing[:3]}, which its manifest names. {_BUILD}")
        for path, count in zip(self.files, self._frames.counts, strict=True):
            examples = promised.get(os.path.basename(path), count)
            if (os.path.dirname(path) or ".") == folder and count != examples:
                raise ValueError(
                    f"{path} holds {count} examples, its manifest says {examples}. {_BUILD}"
                )


def _find(pattern, kind):
    beside = (INDEX_NAME, MANIFEST_NAME)
    files = [path for path in find_files(pattern) if os.path.basename(path) not in beside]
    if not files:
        folder = os.path.dirname(split(pattern)[0]) or "."
        inside = [names_in(path)[:5] for path in matches(folder)]
        holds = f"holds {inside[0] or 'nothing'}" if inside else "does not exist"
        holds += "; a comma separates patterns, [,] is one in a name" if "," in pattern else ""
        raise FileNotFoundError(f"No {kind} records match {pattern}; the folder {holds}. {_BUILD}")
    return files


def dataset(
    records, *, seed, global_batch, start_step, replica_rows, first_example=0, order=ORDERS[0]
):
    """Batches for the replicas that one input pipeline feeds, without end.

    Args:
        records: Records.
        seed: of the order.
        global_batch: examples of all replicas together.
        start_step: updates already made.
        replica_rows: list of (start, stop), the rows of the global batch that each of the
            pipeline's replicas computes.
        first_example: with which step 0 begins in the order.
        order: of ORDERS.
    Returns: tf.data.Dataset of dicts of int32: input_ids, input_mask, segment_ids (b, L) and row
        (b,), the rows' numbers in the global batch. Element i belongs to step
        start_step + i // len(replica_rows) and to replica i % len(replica_rows).
    """
    order = Order(len(records), seed, order)
    rows = [range(start, stop) for start, stop in replica_rows]
    size, length = len(rows[0]), records.max_seq_length
    num_steps = max(1, _READ_TOGETHER // (size * len(rows)))
    shape = (num_steps * len(rows), size)
    row_numbers = np.tile(np.array(rows, np.int32), (num_steps, 1))

    def read(block):
        steps = start_step + int(block) * num_steps + np.arange(num_steps)
        places = (range(first_example + part.start, first_example + part.stop) for part in rows)
        numbers = np.stack([order.numbers(steps, global_batch, part) for part in places], axis=1)
        batch = records.read(numbers.ravel())
        return [batch[name].reshape(*shape, length) for name in RECORD_FEATURES]

    def batches_of(block):
        arrays = tf.numpy_function(read, [block], [tf.int32] * len(RECORD_FEATURES))
        parts = zip(RECORD_FEATURES, arrays, strict=True)
        return {name: tf.ensure_shape(array, (*shape, length)) for name, array in parts} | {
            ROW: tf.constant(row_numbers)
        }

    batches = tf.data.Dataset.range(np.iinfo(np.int32).max)
    batches = batches.map(batches_of, num_parallel_calls=_READERS, deterministic=True).unbatch()
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.autotune.enabled = False  # its thread sleeps up to a minute before an iterator ends
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return batches.apply(endless).prefetch(2 * len(rows)).with_options(options)


def eval_batches(records, batch_size, num_batches):
    """Yields the first records in their own order, as dicts of int32 arrays of one shape.

    Args:
        batch_size: examples of a batch; the last is filled up with rows of zeros.
        num_batches: at most.
    """
    numbers_of_rows = np.arange(batch_size, dtype=np.int32)
    for start in range(0, min(len(records), batch_size * num_batches), batch_size):
        numbers = np.arange(start, min(start + batch_size, len(records)))
        batch = records.read(numbers)
        missing = batch_size - len(numbers)
        batch = {name: np.pad(rows, ((0, missing), (0, 0))) for name, rows in batch.items()}
        yield {**batch, ROW: numbers_of_rows}


def unigram_counts(records, vocab_size, max_records):
    """Counts tokens, padding left out, over at most max_records records, evenly spread.

    Returns: int64 (vocab_size,).
    """
    counts = np.zeros(vocab_size, np.int64)
    numbers = np.linspace(0, len(records) - 1, min(len(records), max_records)).astype(np.int64)
    for start in range(0, len(numbers), 1024):
        batch = records.read(numbers[start : start + 1024])
        counts += np.bincount(batch["input_ids"][batch["input_mask"] > 0], minlength=vocab_size)
    return counts
