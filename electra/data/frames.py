"""The frames of TFRecord files: where each record lies, and its bytes, checked by their checksum.

A frame is a length (8 bytes), its checksum (4), so many bytes of data, their checksum (4). Uses
google_crc32c for the checksums.
"""

import array
import functools
import itertools
import os
import struct

import google_crc32c
import numpy as np

from electra.cloud.files import opened, reading, size_of
from electra.cloud.urls import is_url
from electra.data.index import INDEX_NAME, keep_index, read_index
from electra.data.records import FRAME_BYTES
from electra.storage import read_at

_HEADER = struct.Struct("<QI")  # the length, its checksum
_OPEN_FILES = 512  # at a time: the official builder makes 1000, most systems allow 1024
_CHUNK_BYTES = 1 << 22  # read at a time to find where the records lie
_ANEW = "Remove the file, bring it back or build it anew, and leave it alone in training"
_LARGEST_FILE = 1 << 62
_LARGEST_BYTES = 1 << 18  # of a record's data


class Frames:
    """The records of TFRecord files, addressed by number.

    Where each begins is taken from the folders' indexes; files that these do not know are read
    through once, and indexed.

    Args:
        files: list of paths.
    Attributes:
        counts: list of int, the records of each file.
    Raises:
        ValueError: as in index_file.
    """

    def __init__(self, files):
        self.files = files
        self._opened = functools.lru_cache(_OPEN_FILES)(_open)
        self._remote = [path for path in files if is_url(path)]
        self._offsets = _offsets_of(files)
        self.counts = [len(offsets) - 1 for offsets in self._offsets]
        self._ends = np.cumsum(self.counts)  # in numbers of records, of each file

    def __len__(self):
        return int(self._ends[-1])

    def where(self, number):
        """Returns a record's place, for messages."""
        (owner,), (place,) = self._places(np.array([number]))
        start = self._offsets[owner][place]
        return f"{self.files[owner]}, record {place} (byte {start})"

    def read(self, numbers):
        """Reads records. May be called by several threads at once.

        Args:
            numbers: int (n,), each below len(self).
        Returns: list of bytes.
        Raises:
            ValueError: a checksum does not fit, or the file became shorter than it was.
        """
        numbers = np.asarray(numbers)
        read = self._frames_in_buckets if self._remote else self._frames
        frames = read(numbers.tolist(), *self._places(numbers))
        data = [frame[:-4] for frame in frames]
        for number, frame, each in zip(numbers, frames, data, strict=True):
            if int.from_bytes(frame[-4:], "little") != masked_crc32c(each):
                raise self._damaged(number)
        return data

    def _places(self, numbers):
        """Returns the files of records, and their numbers in these: two lists."""
        owners = np.searchsorted(self._ends, numbers, side="right")
        places = numbers - self._ends[owners] + np.take(self.counts, owners)
        return owners.tolist(), places.tolist()

    def _frames(self, numbers, owners, places):
        return list(map(self._frame, numbers, owners, places))

    def _frames_in_buckets(self, numbers, owners, places):
        """Returns the data and checksums of records, of which some lie in a bucket."""
        from electra.cloud import blocks

        frames, spans = {}, {}
        for number, owner, place in zip(numbers, owners, places, strict=True):
            path = self.files[owner]
            if is_url(path):
                start, end = self._span(number, owner, place)
                spans[number] = opened(path), start + _HEADER.size, end
            else:
                frames[number] = self._frame(number, owner, place)
        pool = blocks.pool()
        read = pool.read(list(spans.values()), keep=self._bytes_in_buckets <= pool.limit)
        frames.update(zip(spans, read, strict=True))
        return [frames[number] for number in numbers]

    @functools.cached_property
    def _bytes_in_buckets(self):
        return sum(map(size_of, self._remote))

    def _span(self, number, owner, place):
        """Returns where a record's frame begins and ends."""
        start, end = self._offsets[owner][place : place + 2].tolist()
        if not FRAME_BYTES <= end - start <= FRAME_BYTES + _LARGEST_BYTES or end > _LARGEST_FILE:
            raise self._damaged(number)
        return start, end

    def _frame(self, number, owner, place):
        """Returns a record's data and its checksum."""
        start, end = self._span(number, owner, place)
        # Read, not mapped: in a map, a file that became shorter ends the process without a word.
        problem, start = "the file became shorter", start + _HEADER.size
        try:
            file = self._opened(self.files[owner])  # kept open, whatever other threads open
            raw = read_at(file, end - start, start)
        except OSError as error:
            raw, problem = b"", error.strerror
        if len(raw) < end - start:
            raise ValueError(f"{self.where(number)} cannot be read: {problem}. {_ANEW}")
        return raw

    def _damaged(self, number):
        (owner,), _ = self._places(np.array([number]))
        index = os.path.join(os.path.dirname(self.files[owner]), INDEX_NAME)
        return ValueError(
            f"{self.where(number)} is damaged: its checksum does not fit. {_ANEW}. If the file is "
            f"as it was built, remove {index}, which is then made anew"
        )


def _offsets_of(files):
    """Returns where the frames of each file begin and the last ends: a list of uint64 arrays."""
    offsets = {}
    for folder, paths in itertools.groupby(sorted(files, key=os.path.dirname), os.path.dirname):
        paths = list(paths)
        known, found = read_index(folder), {}
        for path in paths:
            part = known.get(os.path.basename(path))
            if part is None or not _fits(part, path):
                found[os.path.basename(path)] = index_file(path)
        if found:
            known |= keep_index(folder, found)
        offsets.update((path, known[os.path.basename(path)]) for path in paths)
    return [offsets[path] for path in files]


def _fits(offsets, path):
    """Returns whether offsets are those of a file, by its size and a few of its records."""
    if offsets[-1] != size_of(path):
        return False
    last = len(offsets) - 2
    places = sorted({0, last // 2, last}) if last >= 0 else []
    with reading(path) as read:
        for start, end in (offsets[place : place + 2].tolist() for place in places):
            if not start + FRAME_BYTES <= end <= _LARGEST_FILE:
                return False
            if read(8, start) != (end - start - FRAME_BYTES).to_bytes(8, "little"):
                return False
    return True


def _open(path):
    return open(path, "rb", buffering=0)


def index_file(path):
    """Indexes a TFRecord file.

    Returns: uint64 (records + 1,), where the frame of each record begins and the last one ends.
    Raises:
        ValueError: the file does not end with a record, or a record's length is damaged or far
            larger than an example's.
    """
    size, starts, at = size_of(path), array.array("Q"), 0

    def refuse(problem, number, byte):
        place = f"in record {number}, which begins at byte {byte} of {size}"
        raise ValueError(f"{path} is {problem} {place}. {_ANEW}")

    with reading(path) as read:
        while at < size and (heads := list(_heads(read(_CHUNK_BYTES, at)))):
            for length, is_damaged in heads:
                if is_damaged:
                    refuse("damaged", len(starts), at)
                if length > _LARGEST_BYTES:
                    refuse(f"damaged (a length of {length} bytes)", len(starts), at)
                starts.append(at)
                at += FRAME_BYTES + length
    if at > size:
        refuse("cut off", len(starts) - 1, starts[-1])
    if at < size:  # inside the header of one more
        refuse("cut off", len(starts), at)
    return np.append(np.frombuffer(starts, np.uint64), np.uint64(size))


def _heads(chunk):
    """Yields of each frame of a chunk its length, and whether that does not fit its checksum."""
    at = 0
    while at + FRAME_BYTES <= len(chunk):
        length, checksum = _HEADER.unpack_from(chunk, at)
        yield length, checksum != _checksum_of(length)
        at += FRAME_BYTES + length


@functools.lru_cache(maxsize=4096)
def _checksum_of(length):
    return masked_crc32c(length.to_bytes(8, "little"))


def masked_crc32c(data):
    """Returns the checksum of bytes, as TFRecord files store it: an int of 32 bits.

    Source: TensorFlow's documentation of the TFRecord format.
    """
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
