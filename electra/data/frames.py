"""The frames of TFRecord files: where each record lies, and its bytes, checked by their checksum.

A frame is a length (8 bytes), its checksum (4), so many bytes of data, their checksum (4).
"""

import functools
import os
import struct

import numpy as np

from electra.data.crc import masked_crc32c
from electra.data.records import FRAME_BYTES

_HEADER = struct.Struct("<Q")
_OPEN_FILES = 512  # at a time: the official builder makes 1000, most systems allow 1024
_CHUNK_BYTES = 1 << 22  # read at a time to find where the records lie
_ANEW = "Remove the file, bring it back or build it anew, and leave it alone in training"
_LARGEST_BYTES = 1 << 18  # of a record's data; its checksum takes a table of 1 kB a byte


class Frames:
    """The records of TFRecord files, addressed by number.

    Args:
        files: list of paths.
    Attributes:
        owners: int32 (n,), the place in `files` of each record's file.
    Raises:
        ValueError: as in index_file.
    """

    def __init__(self, files):
        self.files = files
        self._opened = functools.lru_cache(_OPEN_FILES)(_open)
        starts, sizes = zip(*map(index_file, files), strict=True)
        self._starts, self._sizes = np.concatenate(starts), np.concatenate(sizes)
        self.owners = np.repeat(np.arange(len(files), dtype=np.int32), [*map(len, starts)])

    def __len__(self):
        return len(self._starts)

    def where(self, number):
        """Returns a record's place, for messages."""
        owner = self.owners[number]
        place = number - np.searchsorted(self.owners, owner)
        return f"{self.files[owner]}, record {place} (byte {self._starts[number] - 12})"

    def read(self, numbers):
        """Reads records.

        Args:
            numbers: int (n,), each below len(self).
        Returns: list of bytes.
        Raises:
            ValueError: a checksum does not fit, or the file became shorter than it was.
        """
        numbers = np.asarray(numbers)
        places = [numbers, *(part[numbers] for part in (self.owners, self._starts, self._sizes))]
        frames = list(map(self._frame, *(part.tolist() for part in places)))
        data = [frame[:-4] for frame in frames]
        computed = masked_crc32c(np.frombuffer(b"".join(data), np.uint8), list(map(len, data)))
        damaged = computed != np.frombuffer(b"".join([frame[-4:] for frame in frames]), "<u4")
        if damaged.any():
            where = self.where(numbers[damaged.argmax()])
            raise ValueError(f"{where} is damaged: its checksum does not fit. {_ANEW}")
        return data

    def _frame(self, number, owner, start, size):
        """Returns a record's data and its checksum."""
        # Read, not mapped: in a map, a file that became shorter ends the process without a word.
        problem = "the file became shorter"
        try:
            raw = os.pread(self._opened(self.files[owner]).fileno(), size + 4, start)
        except OSError as error:
            raw, problem = b"", error.strerror
        if len(raw) < size + 4:
            raise ValueError(f"{self.where(number)} cannot be read: {problem}. {_ANEW}")
        return raw


def _open(path):
    return open(path, "rb", buffering=0)


def index_file(path):
    """Indexes a TFRecord file.

    Returns: (where each record's data starts, its length in bytes): int64 (n,) and int32 (n,). A
        record's frame begins 12 bytes before its data and ends 4 bytes after it.
    Raises:
        ValueError: the file does not end with a record, or a record's length is damaged or far
            larger than an example's.
    """
    size = os.path.getsize(path)
    if not size:
        return np.zeros(0, np.int64), np.zeros(0, np.int32)
    parts, at, end = [], 0, size
    with open(path, "rb") as file:
        while at < size and end:
            *frames, end = _frames(os.pread(file.fileno(), _CHUNK_BYTES, at))
            parts.append([frames[0] + at, *frames[1:]])
            at += end
    starts, sizes, is_damaged = (np.concatenate(part) for part in zip(*parts, strict=True))
    is_bad = is_damaged | (sizes > _LARGEST_BYTES)
    if is_bad.any() or at != size:
        # A file that is cut off ends inside its last record, or inside the header of one more.
        number = is_bad.argmax() if is_bad.any() else len(starts) - (at > size)
        byte = starts[number] - 12 if number < len(starts) else at
        problem = "damaged" if is_bad.any() else "cut off"
        if is_bad.any() and not is_damaged[number]:
            problem += f" (a length of {sizes[number]} bytes)"
        place = f"in record {number}, which begins at byte {byte} of {size}"
        raise ValueError(f"{path} is {problem} {place}. {_ANEW}")
    return starts, sizes.astype(np.int32)


def _frames(chunk):
    """Returns where the records of a chunk begin, their data that is, int64 (n,); their lengths,
    uint64 (n,); which lengths do not fit their checksums; where the last record ends."""
    places, at, unpack = [], 0, _HEADER.unpack_from
    while at + FRAME_BYTES <= len(chunk):
        places.append(at)
        at += FRAME_BYTES + unpack(chunk, at)[0]
    places = np.array(places, np.int64)
    heads = np.frombuffer(chunk, np.uint8)[places[:, None] + np.arange(12)]  # (n, 12)
    lengths, checksums = heads[:, :8].copy(), heads[:, 8:].copy()
    computed = masked_crc32c(lengths.ravel(), np.full(len(heads), 8))
    is_damaged = computed != checksums.view("<u4")[:, 0]
    return places + 12, lengths.view("<u8")[:, 0], is_damaged, at
