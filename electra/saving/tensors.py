"""Files of named tensors: safetensors, and the bundles of TF1. A tensor is read when asked for.

TensorFlow is imported for TF1's only.

Uses safetensors for tensors on disk.
"""

import contextlib
import json
import math
import os
import re
import zlib
from collections.abc import Mapping

import numpy as np
import safetensors

CHECKSUM = "crc32"  # in the metadata: of the whole file, but for the eight digits themselves
_TYPES = {"float32": "F32", "int32": "I32", "int64": "I64"}  # as safetensors spells them
_HALVES = {"float16": "F16", "bfloat16": "BF16"}
_DIGITS_AT = 8 + len(f'{{"__metadata__": {{"{CHECKSUM}": "')  # behind the header's length
_BLOCK_BYTES = 1 << 22


class Tensors(Mapping):
    """Tensors of a file by name: np.ndarray, read when asked for.

    Args:
        shapes: dict name -> shape.
        dtypes: dict name -> name of the dtype, as NumPy spells it.
        read_one: function name -> np.ndarray; raises ValueError where the file is damaged.
        metadata: dict str -> str of a safetensors file.
    """

    def __init__(self, shapes, dtypes, read_one, metadata=None):
        self._shapes = {name: tuple(shapes[name]) for name in sorted(shapes)}
        self.dtypes, self._read_one, self.metadata = dtypes, read_one, metadata or {}

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


def open_safetensors(path, halves=False):
    """Returns the Tensors of a safetensors file.

    Args: halves: whether float16 and bfloat16 are taken too.
    Raises:
        ValueError: it is damaged, or holds tensors of other types.
    """
    try:
        opened = safetensors.safe_open(path, framework="numpy")
        parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from None
    types = {**_TYPES, **(_HALVES if halves else {})}
    dtypes, spelled = {}, {there: here for here, there in types.items()}
    for name, part in parts.items():
        dtypes[name] = spelled.get(part.get_dtype())
        if dtypes[name] is None:
            raise ValueError(f"{name} is of type {part.get_dtype()}, expected F32")
    shapes = {name: part.get_shape() for name, part in parts.items()}
    return Tensors(shapes, dtypes, opened.get_tensor, opened.metadata())


def write_safetensors(file, tensors, metadata):
    """Writes the safetensors format, one tensor in memory at a time (the library copies them all).

    Args:
        file: binary file, empty. The checksum is known last and put into its place in the header.
        tensors: dict name -> variable or array.
        metadata: dict str -> str; CHECKSUM is added.
    """
    header, end = {"__metadata__": {CHECKSUM: "0" * 8, **metadata}}, 0
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
    checksum = zlib.crc32(head[_DIGITS_AT + 8 :], zlib.crc32(head[:_DIGITS_AT]))
    for name in sorted(tensors):
        data = _to_numpy(tensors[name]).reshape(-1).data.cast("B")
        file.write(data)
        checksum = zlib.crc32(data, checksum)
    file.seek(_DIGITS_AT)
    file.write(b"%08x" % checksum)


def checksum_of(path, *, has_digits=True):
    """Returns the CRC-32 of a file as eight hexadecimal digits.

    Args: has_digits: whether the file holds its checksum, as `write_safetensors` writes it.
    """
    checksum = 0
    with open(path, "rb") as file:
        if has_digits:
            checksum = zlib.crc32(file.read(_DIGITS_AT))
            file.seek(_DIGITS_AT + 8)
        while block := file.read(_BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return f"{checksum:08x}"


def latest_tf1(folder):
    """Returns the prefix of the newest TF1 checkpoint in a folder, or None.

    The file `checkpoint` says which it is; of the path there only the name counts, since the
    folder may have been moved. Without that file it is the one of the highest step.

    Raises:
        ValueError: `checkpoint` names none that lies beside it.
    """
    listing = os.path.join(folder, "checkpoint")
    if os.path.exists(listing):
        import tensorflow as tf

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
        name: match
        for name in os.listdir(folder)
        if (match := re.fullmatch(r".*ckpt-(\d+)\.index", name))
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
    import tensorflow as tf

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
    import keras

    value = tensor.value if isinstance(tensor, keras.Variable) else tensor
    return np.ascontiguousarray(value.numpy() if hasattr(value, "numpy") else value)
