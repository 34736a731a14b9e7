"""The features of a split as arrays, and their cache on disk.

Enters: features, a dict each, of numbers and lists of numbers. Leaves: Features, from which a batch
is padded without a loop over its rows. On disk: one file named by a key of all that shaped it, so
that nothing stale is ever read, with a digest, so that nothing damaged is. Uses safetensors.
"""

import array
import hashlib
import os

import numpy as np
import safetensors
import safetensors.numpy
from absl import logging

from electra.storage import published

_OFFSETS, _DIGEST = "/offsets", "sha256"


class Features:
    """The features of a split.

    Args:
        columns: dict name -> array (n,), one number a feature.
        ragged: dict name -> (flat array (T,), offsets int64 (n + 1,)); the values of feature i are
            flat[offsets[i]:offsets[i + 1]].
    """

    def __init__(self, columns, ragged):
        self.columns, self.ragged = columns, ragged

    def __len__(self):
        return len(self.columns["example"])

    def row(self, index):
        """Returns feature `index` as a dict of numbers and arrays."""
        values = {name: column[index] for name, column in self.columns.items()}
        for name, (flat, offsets) in self.ragged.items():
            values[name] = flat[offsets[index] : offsets[index + 1]]
        return values

    def take(self, rows):
        """Returns Features of some rows only."""
        ragged = {}
        for name, (flat, offsets) in self.ragged.items():
            parts = [flat[offsets[row] : offsets[row + 1]] for row in rows]
            ends = np.cumsum([len(part) for part in parts])
            ragged[name] = np.concatenate(parts), np.concatenate([[0], ends])
        return Features({name: column[rows] for name, column in self.columns.items()}, ragged)

    def lengths(self):
        """Returns the length that holds each feature whole: int64 (n,)."""
        return np.max([np.diff(offsets) for _, offsets in self.ragged.values()], axis=0)

    def padded(self, rows, length, leave=()):
        """Lays rows side by side.

        Args:
            rows: int (b,), indices of features.
            length: L; what is longer is cut.
            leave: names to leave out.
        Returns: dict name -> (b,), or (b, L) padded with 0; int32 or float32.

        With the input_ids [7, 8] and [9]: padded([1, 0], 3) gives [[9, 0, 0], [7, 8, 0]].
        """
        rows = np.asarray(rows, np.int64)
        batch = {name: column[rows] for name, column in self.columns.items() if name not in leave}
        places = np.arange(length)
        for name, (flat, offsets) in self.ragged.items():
            if name in leave:
                continue
            starts = offsets[rows][:, None]  # (b, 1)
            inside = places < offsets[rows + 1][:, None] - starts  # (b, L)
            batch[name] = np.where(inside, flat[np.where(inside, starts + places, 0)], 0)
        return {name: values.astype(_batch_type(values)) for name, values in batch.items()}


def collect(features):
    """Makes Features of dicts, all of the same keys.

    Args:
        features: iterable of dicts; at least one. Booleans count as 0 and 1.
    """
    columns, flat, ends = {}, {}, {}
    for feature in features:
        for name, value in feature.items():
            if not isinstance(value, list):
                columns.setdefault(name, []).append(value)
                continue
            if not flat.get(name):  # an array takes a quarter of a list's memory, or less
                flat[name] = array.array("f" if value and isinstance(value[0], float) else "i")
            flat[name].extend(value)
            ends.setdefault(name, [0]).append(len(flat[name]))
    columns = {name: _packed(values) for name, values in columns.items()}
    return Features(columns, {k: (_packed(v), np.array(ends[k])) for k, v in flat.items()})


def cached(folder, key, make, refresh=False):
    """Returns the Features of a key, made only where the cache lacks them or holds anything else.

    Args:
        folder: of the cache; made if missing.
        key: str that changes with everything that shapes the features.
        make: function that makes them.
        refresh: whether to make them in any case.
    """
    path = os.path.join(folder, f"{key}.safetensors")
    if not refresh and os.path.exists(path):
        try:
            return _read(path, key)
        except safetensors.SafetensorError as error:
            logging.warning("%s is damaged (%s). It is made anew", path, error)
    features = make()
    tensors = dict(features.columns)
    for name, (flat, offsets) in features.ragged.items():
        tensors |= {name: flat, name + _OFFSETS: offsets}
    with published(path) as file:
        file.write(safetensors.numpy.save(tensors, {_DIGEST: _digest(key, tensors)}))
    return features


def _read(path, key):
    with safetensors.safe_open(path, "numpy") as file:
        recorded = (file.metadata() or {}).get(_DIGEST)
    tensors = safetensors.numpy.load_file(path) if recorded else {}  # others may hold any type
    if recorded != _digest(key, tensors):
        raise safetensors.SafetensorError("its digest is another")
    ragged = {
        name: (tensors.pop(name), tensors.pop(name + _OFFSETS))
        for name in [key.removesuffix(_OFFSETS) for key in tensors if key.endswith(_OFFSETS)]
    }
    return Features(tensors, ragged)


def _digest(key, tensors):
    """Returns the SHA-256 of the key, and of name, type, shape and bytes of each tensor."""
    digest = hashlib.sha256(key.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f" {name} {tensor.dtype.str} {tensor.shape} ".encode())
        digest.update(np.ascontiguousarray(tensor))
    return digest.hexdigest()


def _packed(values):
    """Returns values in the smallest of the types used: float32, uint8 (0 and 1), int32."""
    values = np.array(values)
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    is_flag = not values.size or (values.min() >= 0 and values.max() < 2)
    return values.astype(np.uint8 if is_flag else np.int32)


def _batch_type(values):
    return np.float32 if values.dtype.kind == "f" else np.int32
