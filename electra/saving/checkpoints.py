"""Checkpoints: weights, moments and the loop's state, published atomically.

`<folder>/model.ckpt-<step>.safetensors` holds the tensors by official name, and in its metadata
the step, the loop's state and a checksum of the file. Read too: the pairs of files of earlier
versions, where a model.ckpt-<step>.json beside the tensors held the rest, and checkpoints of the
official code (TF1).
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping

import numpy as np

from electra.cloud import mirror
from electra.saving.tensors import (
    CHECKSUM,
    checksum_of,
    latest_tf1,
    open_safetensors,
    open_tf1,
    write_safetensors,
)
from electra.stacked import assign
from electra.storage import file_digest, parse_json_dict, published

METADATA = "electra_checkpoint"  # its name in the metadata; its value is JSON of this shape:
_SHAPE = {"format": int, "step": int, "state?": {"interval?": {}, "seconds?": float}}
FORMAT, FORMAT_OF_PAIR = 2, 1
SLOTS = ("adam_m", "adam_v")
GO_BACK = "Remove that checkpoint's files to go on from the one before it"
_SHOWN = 3  # names of a group in a report's summary
_NAME = re.compile(r"model\.ckpt-(\d+)\.(json|safetensors)")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        path: of the tensors, without TF1's suffixes.
        step: updates made.
        tensors: Mapping official name -> np.ndarray, read when asked for.
        state: what the loop saved with it; {} for TF1.
        kind: "safetensors" or "tf1".
    """

    path: str
    step: int
    tensors: Mapping
    state: dict
    kind: str

    @property
    def digest(self):
        """SHA-256 of what holds the checksums: the metadata, a pair's JSON, or TF1's index."""
        if self.tensors.metadata:
            text = json.dumps(self.tensors.metadata, sort_keys=True)
            return hashlib.sha256(text.encode()).hexdigest()
        return file_digest(self.path + ".index" if self.kind == "tf1" else _json_path(self.path))

    def numbers(self, value, shape=None):
        """Returns numbers of `state` as float64 of that shape, if one is given.

        Raises:
            ValueError: they are none, not finite, or of another shape.
        """
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            array = np.array(value, np.float64)
            if np.isfinite(array).all() and shape in (None, array.shape):
                return array
        raise ValueError(
            f"{self.path} is damaged: its state holds {value!r:.100}, expected numbers"
            f"{'' if shape is None else f' of shape {shape}'}. {GO_BACK}"
        )

    def check_vocab(self, vocab, path):
        """Compares a Vocabulary, read from path, with the one of the training, where state has it.

        Raises:
            ValueError: it is another.
        """
        if self.state.get("vocab_sha256", vocab.sha256) != vocab.sha256:
            raise ValueError(
                f"{path} is not the vocabulary that {self.path} was trained with: its {len(vocab)} "
                "tokens are others, or fewer. Put that vocabulary there, or name it"
            )


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """Which variables a checkpoint filled; lists of names."""

    matched: list
    missing: list
    unused: list

    def __str__(self):
        return "\n".join(self._lines(None))

    def summary(self):
        """Returns the counts and the first names of each group."""
        return "\n".join(self._lines(_SHOWN))

    def _lines(self, most):
        yield f"matched {len(self.matched)} variables"
        for what, names in (
            ("matched", self.matched),
            ("missing in the checkpoint", self.missing),
            ("unused from the checkpoint", self.unused),
        ):
            yield from (f"  {what}: {name}" for name in names[:most])
            if names[most or len(names) :]:
                yield f"  {what}: and {len(names) - most} more"


def save(folder, step, tensors, state, keep_max=0, kept=()):
    """Writes a checkpoint and removes old ones; of a working copy also in the bucket.

    Args:
        folder: made if missing.
        step: updates made.
        tensors: dict name -> variable or array.
        state: JSON values for the loop.
        keep_max: newest checkpoints to keep; 0 keeps all.
        kept: steps of others to keep.
    Returns: path of the tensors file.
    """
    path = path_of(folder, step)
    about = json.dumps({"format": FORMAT, "step": int(step), "state": state}, allow_nan=False)
    with published(path) as file:
        write_safetensors(file, tensors, {METADATA: about})
    remove(folder, kept=[*_steps(folder)[-keep_max:], *kept])
    mirror.push(folder)
    return path


def remove(folder, kept=()):
    """Removes a folder's checkpoints but for the steps `kept`, and what a killed save left behind.

    Of a pair the JSON goes first, so that no half-removed checkpoint counts as one.
    """
    for name in sorted(_files(folder)):  # .json sorts before .safetensors
        # Only names that `save` gives, or gave: a user's model.ckpt-3.safetensors.gz stays.
        match = re.fullmatch(_NAME.pattern + r"((\.\d+)?\.tmp)?", name)
        if match and (int(match[1]) not in kept or name.endswith(".tmp")):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, name))


def latest(folder):
    """Returns the path of the newest checkpoint in a folder, or None.

    Ours go before TF1's (files `checkpoint` and `model.ckpt-<step>.index`).

    Raises:
        ValueError: `checkpoint` names none that lies beside it.
    """
    steps = _steps(folder)
    if steps:
        return path_of(folder, steps[-1])
    if not os.path.isdir(folder):
        return None
    return latest_tf1(folder)


def read(path, verify=True):
    """Opens a checkpoint.

    Args:
        path: safetensors file, a pair's JSON, a folder (its newest checkpoint), or the prefix of a
            TF1 checkpoint.
        verify: whether to compare the file with its checksum, which reads all of it.
    Returns: Checkpoint.
    Raises:
        FileNotFoundError: nothing there.
        ValueError: a damaged file, or one of another program.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        newest = latest(path)
        if newest is None:
            raise FileNotFoundError(
                f"{path} holds no checkpoint. Expected: model.ckpt-<step>.safetensors, or "
                "model.ckpt-<step>.index of the official code"
            )
        path = newest
    if path.endswith(".json"):
        path = path.removesuffix(".json") + ".safetensors"
    if path.endswith(".safetensors"):
        return _read_ours(path, verify)
    path = path.removesuffix(".index")
    if not os.path.exists(path + ".index"):
        raise FileNotFoundError(f"No checkpoint at {path}: neither a folder, nor {path}.index")
    tensors, step = open_tf1(path), 0
    if "global_step" in tensors:
        step = tensors["global_step"]
        if np.shape(step) or not isinstance(step, np.integer) or step < 0:
            raise ValueError(f"{path}: global_step is {step!r:.80}, expected a whole number")
    return Checkpoint(path, int(step), tensors, {}, "tf1")


def restore(variables, checkpoint, *, require_all):
    """Assigns a checkpoint's tensors to the variables of the same names.

    Args:
        variables: dict official name -> variable.
        checkpoint: Checkpoint.
        require_all: whether a missing variable is an error.
    Returns: RestoreReport; the moments and the step count as used.
    Raises:
        ValueError: a shape or type differs, numbers are not finite, a variable is missing
            (require_all), or all are.
    """
    shapes = checkpoint.tensors.shapes()
    matched = [name for name in variables if name in shapes]
    missing = [name for name in variables if name not in shapes]
    used = {*matched, "global_step", *(f"{name}/{slot}" for name in matched for slot in SLOTS)}
    unused = [name for name in shapes if name not in used]
    if missing and (require_all or not matched):
        raise ValueError(
            f"{checkpoint.path} lacks {len(missing)} of the model's {len(variables)} variables, "
            f"the first: {missing[0]}. Does model_size, or the objective, differ from its model?"
        )
    _assign({name: variables[name] for name in matched}, checkpoint)
    return RestoreReport(matched, missing, unused)


def restore_slots(slots, checkpoint):
    """Assigns the moments: all of them, or none.

    Args:
        slots: dict `<name>/adam_m`, `<name>/adam_v` -> variable.
    Returns: whether the checkpoint has them.
    Raises:
        ValueError: it has some but not all, or as `restore`.
    """
    missing = [name for name in slots if name not in checkpoint.tensors]
    if len(missing) == len(slots):
        return False
    if missing:
        raise ValueError(f"{checkpoint.path} holds moments, but not {missing[0]}")
    _assign(slots, checkpoint)
    return True


def _assign(variables, checkpoint):
    """Assigns to variables; compares every shape and type before it reads the first tensor."""
    shapes, dtypes = checkpoint.tensors.shapes(), checkpoint.tensors.dtypes
    for name, variable in variables.items():
        if dtypes[name] != "float32":
            raise ValueError(
                f"{checkpoint.path}: {name} is of type {dtypes[name]}, expected float32. Convert "
                "the weights: no other type is taken"
            )
        if shapes[name] != tuple(variable.shape):
            raise ValueError(
                f"{checkpoint.path}: {name} has shape {shapes[name]}, the model's "
                f"{tuple(variable.shape)}. Set model_size, model_hparam_overrides, "
                "vocab_size, and for generator/... generator_hidden_size and generator_layers, to "
                "what the checkpoint was trained with"
            )

    def read_finite(name):
        value = checkpoint.tensors[name]
        if not np.isfinite(value).all():
            raise ValueError(
                f"{checkpoint.path}: {name} holds numbers that are not finite, as after a "
                "training that diverged. Choose another checkpoint"
            )
        return value

    assign(variables, read_finite)


def _read_ours(path, verify):
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} is missing. {GO_BACK}")
    named = _NAME.fullmatch(os.path.basename(path))
    try:
        tensors = open_safetensors(path)
        is_pair = METADATA not in tensors.metadata
        if is_pair:
            about, known = _read_pair(path), FORMAT_OF_PAIR
            checksum = f"{about['crc32']:08x}" if "crc32" in about else None
        else:
            about, known = parse_json_dict(tensors.metadata[METADATA], METADATA, _SHAPE), FORMAT
            checksum = tensors.metadata.get(CHECKSUM, "missing")
        if about["format"] != known:
            raise ValueError(f"format {about['format']}, this code reads {known}")
        if about["step"] < 0 or (named and about["step"] != int(named[1])):
            raise ValueError(f"it says step {about['step']}")
        if verify and checksum and checksum_of(path, has_digits=not is_pair) != checksum:
            raise ValueError("its checksum does not fit")
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}. {GO_BACK}") from None
    return Checkpoint(path, about["step"], tensors, about.get("state", {}), "safetensors")


def _read_pair(path):
    """Returns what the JSON of an earlier version's pair says."""
    beside = _json_path(path)
    if not os.path.isfile(beside):
        raise FileNotFoundError(
            f"{path} is no checkpoint: its metadata lack {METADATA!r}, and no {beside} of an "
            "earlier version lies beside it. Other safetensors files than this project's are not "
            f"read. If it was one, it is damaged. {GO_BACK}"
        )
    with open(beside, encoding="utf-8") as file:
        about = parse_json_dict(file.read(), beside, {**_SHAPE, "bytes": int, "crc32?": int})
    if os.path.getsize(path) != about["bytes"]:
        raise ValueError(f"{os.path.getsize(path)} bytes instead of {about['bytes']}")
    return about


def path_of(folder, step):
    """Returns the path of our checkpoint of a step."""
    return os.path.join(os.fspath(folder), f"model.ckpt-{int(step)}.safetensors")


def _json_path(path):
    return path.removesuffix(".safetensors") + ".json"


def _steps(folder):
    """Returns the steps of a folder's checkpoints, whole or damaged, in ascending order."""
    steps = {int(match[1]) for name in _files(folder) if (match := _NAME.fullmatch(name))}
    return sorted(step for step in steps if not _is_half(path_of(folder, step)))


def _files(folder):
    """Returns the names in a folder, other folders' left out."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if not entry.is_dir()]


def _is_half(path):
    """Whether a file is what an earlier version, killed in a save, left of a pair: the tensors."""
    if os.path.exists(_json_path(path)):
        return False
    try:
        return not open_safetensors(path).metadata
    except (ValueError, OSError):  # damaged: to be named, not passed over
        return False
