"""Files of named tensors: safetensors, and the bundles of TF1. A tensor is read when asked for.

Uses safetensors for tensors on disk.
"""

import contextlib
import json
import math
import os
import re
import zlib
from collections.abc import Mapping

import keras
import numpy as np
import safetensors
import tensorflow as tf

_TYPES = {"float32": "F32", "int32": "I32", "int64": "I64"}  # as safetensors spells them


class Tensors(Mapping):
    """Tensors of a file by name: np.ndarray, read when asked for.

    Args:
        shapes: dict name -> shape.
        dtypes: dict name -> name of the dtype, as NumPy spells it.
        read_one: function name -> np.ndarray; raises ValueError where the file is damaged.
    """

    def __init__(self, shapes, dtypes, read_one):
        self._shapes = {name: tuple(shapes[name]) for name in sorted(shapes)}
        self.dtypes, self._read_one = dtypes, read_one

    def __getitem__(self, name):
        if name not in self._shapes:
            raise KeyError(name)
        return self._read_one(name)

    def __iter__(self):
        return iter(self._shapes)

    def __len__(self):
        return len(self._shapes)

    def shapes(self):
        return dict(self._shapes)


def open_safetensors(path):
    """Returns the Tensors of a file of `write_safetensors`.

    Raises:
        ValueError: it is damaged, or holds tensors of other types.
    """
    try:
        opened = safetensors.safe_open(path, framework="numpy")
        parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from None
    dtypes, spelled = {}, {there: here for here, there in _TYPES.items()}
    for name, part in parts.items():
        dtypes[name] = spelled.get(part.get_dtype())
        if dtypes[name] is None:
            raise ValueError(f"{name} is of type {part.get_dtype()}, expected F32")
    shapes = {name: part.get_shape() for name, part in parts.items()}
    return Tensors(shapes, dtypes, opened.get_tensor)


def write_safetensors(file, tensors):
    """Writes the safetensors format, one tensor in memory at a time (the library copies them all).

    Args:
        file: binary file.
        tensors: dict name -> variable or array.
    Returns: CRC-32 of what was written.
    """
    header, end = {}, 0
    for name in sorted(tensors):
        tensor = tensors[name]
        dtype = np.dtype(getattr(tensor.dtype, "as_numpy_dtype", tensor.dtype))
        start, end = end, end + dtype.itemsize * math.prod(tensor.shape)
        header[name] = {
            "dtype": _TYPES[dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # aligns the data
    head = len(encoded).to_bytes(8, "little") + encoded
    file.write(head)
    checksum = zlib.crc32(head)
    for name in header:
        data = _to_numpy(tensors[name]).reshape(-1).data.cast("B")
        file.write(data)
        checksum = zlib.crc32(data, checksum)
    return checksum


def latest_tf1(folder):
    """Returns the prefix of the newest TF1 checkpoint in a folder, or None.

    The file `checkpoint` says which it is; of the path there only the name counts, since the
    folder may have been moved. Without that file it is the one of the highest step.

    Raises:
        ValueError: `checkpoint` names none that lies beside it.
    """
    listing = os.path.join(folder, "checkpoint")
    if os.path.exists(listing):
        state = None
        with contextlib.suppress(ValueError):  # empty, or not UTF-8
            state = tf.train.get_checkpoint_state(folder)
        name = os.path.basename(state.model_checkpoint_path) if state else ""
        if not os.path.exists(os.path.join(folder, name + ".index")):
            raise ValueError(
                f"{listing} names the checkpoint {name!r:.80}, of which no .index lies beside it. "
                "Copy it there, or remove that file to take the newest of the folder"
            )
        return os.path.join(folder, name)
    steps = {
        name: found
        for name in os.listdir(folder)
        if (found := re.fullmatch(r".*ckpt-(\d+)\.index", name))
    }
    if not steps:
        return None
    newest = max(steps, key=lambda name: int(steps[name][1]))
    return os.path.join(folder, newest.removesuffix(".index"))


def open_tf1(path):
    """Returns the Tensors of the TF1 checkpoint with that prefix, strings left out.

    Each tensor is compared with its checksum when it is read.

    Raises:
        ValueError: it is damaged; later too, when a damaged tensor is read.
    """

    def read(function, *arguments):
        try:
            return function(*arguments)
        except (tf.errors.OpError, ValueError, IndexError) as error:  # IndexError: a short file
            raise ValueError(
                f"{path} is no readable TF1 checkpoint: {error}. Copy its files anew"
            ) from None

    reader = read(tf.train.load_checkpoint, path)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    dtypes = {name: dtype.name for name, dtype in dtypes.items() if dtype != tf.string}
    shapes = {name: shapes[name] for name in dtypes}
    return Tensors(shapes, dtypes, lambda name: read(reader.get_tensor, name))


def _to_numpy(tensor):
    value = tensor.value if isinstance(tensor, keras.Variable) else tensor
    return np.ascontiguousarray(value.numpy() if hasattr(value, "numpy") else value)
