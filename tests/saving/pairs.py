"""Checkpoints as earlier versions wrote them: a pair of files."""

import json
import os
import zlib

import numpy as np

_TYPES = {"float32": "F32", "int32": "I32", "int64": "I64"}


def save_pair(folder, step, tensors, state):
    """Writes `model.ckpt-<step>.safetensors` without metadata, and the rest as JSON beside it.

    Args:
        folder: path.
        step: int.
        tensors: dict name -> array.
        state: dict of JSON values.
    Returns: path of the tensors.
    """
    header, end = {}, 0
    for name in sorted(tensors):
        start, end = end, end + tensors[name].nbytes
        about = {"dtype": _TYPES[tensors[name].dtype.name], "shape": list(tensors[name].shape)}
        header[name] = {**about, "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    data = [np.ascontiguousarray(tensors[name]).tobytes() for name in header]
    data = b"".join([len(encoded).to_bytes(8, "little"), encoded, *data])
    path = os.path.join(folder, f"model.ckpt-{step}.safetensors")
    with open(path, "wb") as file:
        file.write(data)
    about = {"format": 1, "step": step, "bytes": len(data), "crc32": zlib.crc32(data)}
    with open(path.replace(".safetensors", ".json"), "w", encoding="utf-8") as file:
        json.dump({**about, "state": state}, file, indent=2)
    return path


def as_pair(folder):
    """Makes a pair of the newest checkpoint of a folder."""
    from electra.saving import checkpoints

    found = checkpoints.read(folder)
    tensors = {name: np.array(found.tensors[name]) for name in found.tensors}
    return save_pair(folder, found.step, tensors, found.state)
