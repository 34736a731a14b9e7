"""Reading the tensors of a foreign model's folder.

Uses torch, where it is installed, for the older pytorch_model.bin: in its mode that reads weights
only, so that no code of the file runs.
"""

import os

import numpy as np

from electra.saving.tensors import Tensors, open_safetensors
from electra.storage import excerpt, read_json

_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"
_INDEX = f"{_SAFE}.index.json"
_OLD_ENDS = ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias"))


def open_tensors(folder):
    """Opens model.safetensors, the parts that its index names, or pytorch_model.bin of a folder.

    Returns: (path, Tensors by Hugging Face's present names).
    Raises:
        FileNotFoundError: neither is there. ValueError: damaged, or it needs torch.
    """
    path = os.path.join(folder, _SAFE)
    if os.path.exists(path):
        return path, _renamed(_open_safe(path))
    path = os.path.join(folder, _INDEX)
    if os.path.exists(path):
        return path, _renamed(_open_parts(path))
    path = os.path.join(folder, _PICKLED)
    if os.path.exists(path):
        return path, _renamed(_open_pickled(path))
    raise FileNotFoundError(
        f"{folder} holds no weights. Expected: {_SAFE}, its parts with {_INDEX}, or the "
        f"older {_PICKLED}"
    )


def read_weights(weights, tensors, path):
    """Reads weights of a foreign file.

    Args:
        weights: list of names.Weight, `theirs` being the name in the file.
        tensors: Tensors; path: of the file, for messages.
    Returns: dict name of ours -> float32 array.
    Raises:
        ValueError: one is missing, of another shape or type, or not finite.
    """
    shapes, found = tensors.shapes(), {}
    for weight in weights:
        if weight.theirs not in shapes:
            raise ValueError(
                f"{path} lacks {weight.theirs}, expected of shape {weight.torch_shape}. Do the "
                "layers in config.json fit the file, and is it whole? Copy both anew"
            )
        if shapes[weight.theirs] != weight.torch_shape:
            raise ValueError(
                f"{path}: {weight.theirs} has shape {shapes[weight.theirs]}, by config.json "
                f"{weight.torch_shape}. Put the config.json there that the model was saved with"
            )
        value = tensors[weight.theirs]
        if value.dtype.name not in ("float32", "float16", "bfloat16"):
            raise ValueError(
                f"{path}: {weight.theirs} is of type {value.dtype}, expected float32. Save it so"
            )
        value = value.astype(np.float32)
        if not np.isfinite(value).all():
            raise ValueError(
                f"{path}: {weight.theirs} holds numbers that are not finite. Copy it anew"
            )
        found[weight.ours] = weight.turned(value)
    return found


def _renamed(tensors):
    """Returns Tensors by their present names: files made of TF1's have gamma and beta."""
    names = {}
    for name in tensors:
        end = next((new for new in _OLD_ENDS if name.endswith(new[0])), ("", ""))
        names[name.removesuffix(end[0]) + end[1]] = name
    shapes = {now: tensors.shapes()[name] for now, name in names.items()}
    return Tensors(shapes, tensors.dtypes, lambda now: tensors[names[now]])


def _open_safe(path):
    if not os.path.isfile(path):  # a pipe would be waited for
        raise ValueError(f"{path} is no file. Copy the model anew")
    try:
        return open_safetensors(path, halves=True)
    except ValueError as error:
        raise ValueError(f"{path} is no readable safetensors file: {error}. Copy it anew") from None


def _open_parts(index):
    """Opens the files beside an index, which says where each tensor lies."""
    places = read_json(index, "Copy it anew", {"weight_map": {str: str}})["weight_map"]
    folder, parts = os.path.dirname(index), {}
    for name in sorted(set(places.values())):
        if name != os.path.basename(name) or not name.endswith(".safetensors"):
            raise ValueError(
                f"{index} names the file {excerpt(name)!r}. Expected: a .safetensors beside it, "
                "and no folder in its name"
            )
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path} is missing, which {index} names. Copy it there")
        parts[name] = _open_safe(path)
    for tensor, name in places.items():
        if tensor not in parts[name]:
            raise ValueError(
                f"{os.path.join(folder, name)} lacks {excerpt(tensor)}, which {index} says lies "
                "there. Copy both anew"
            )
    shapes = {name: part.shapes() for name, part in parts.items()}
    return Tensors(
        {tensor: shapes[name][tensor] for tensor, name in places.items()},
        {tensor: parts[name].dtypes[tensor] for tensor, name in places.items()},
        lambda tensor: parts[places[tensor]][tensor],
    )


def _open_pickled(path):
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path} is in PyTorch's older format, which torch alone reads without running what "
            f"it holds. pip install torch, or save the model anew as {_SAFE}"
        ) from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, as the file has it
        lines = str(error).split("\n")  # the first may advise to unpickle it all the same
        first = next((line for line in lines if "WeightsUnpickler error" in line), lines[0]).strip()
        raise ValueError(
            f"{path} holds more than weights, or is damaged: {first:.200}. It is not unpickled. "
            f"Get the model as {_SAFE}"
        ) from None
    if not isinstance(found, dict) or not all(map(torch.is_tensor, found.values())):
        raise ValueError(f"{path} holds no dict of tensors. Expected: what state_dict() gives")
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in found.items()}

    def read(name):
        tensor = found[name].detach()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()

    return Tensors(shapes, dtypes, read)
