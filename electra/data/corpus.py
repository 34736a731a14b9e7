"""Raw text: finds a corpus's files, cuts them into units of work, reads their documents.

Enters: a folder of .txt, .jsonl, compressed files and tar archives, nested as deep as need be.
Leaves: documents as lists of lines. Nothing is unpacked to disk. Uses zstandard for .zst.
"""

import dataclasses
import gzip
import io
import json
import lzma
import os
import tarfile

import zstandard

UNIT_BYTES = 4 << 20
BLOCK_BYTES = 1 << 20
_TAR_MAGIC = slice(257, 262)
_COMPRESSED = (".gz", ".xz", ".zst")


@dataclasses.dataclass(frozen=True)
class Unit:
    """A byte range of a file that one process reads by itself.

    Attributes:
        path: of the file; name: of the text in it, from the corpus's folder on, for messages and
            as a key; start, stop: bytes.
    """

    path: str
    name: str
    start: int
    stop: int

    @property
    def key(self):
        return f"{self.name}@{self.start}"


def find_files(corpus_dir):
    """Returns the paths of a corpus's files, sorted; hidden files and folders are left out.

    Raises:
        FileNotFoundError: no such folder. ValueError: no file in it.
    """
    corpus_dir = os.fspath(corpus_dir)
    if not os.path.isdir(corpus_dir):
        raise FileNotFoundError(f"corpus_dir {corpus_dir} is no folder")
    paths = []
    for folder, folders, names in os.walk(corpus_dir):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [os.path.join(folder, name) for name in names if not name.startswith(".")]
    if not paths:
        raise ValueError(f"corpus_dir {corpus_dir} holds no files. Expected: text files in it")
    return sorted(paths)


def cut_units(corpus_dir, files, unit_bytes=UNIT_BYTES):
    """Cuts files into units of about `unit_bytes`; they depend on the corpus alone.

    Plain text is cut where a document ends, or a line where no document ends nearby. A tar
    archive is cut at its members, any other compressed file is one unit.
    """
    units = []
    for path in files:
        name, size = os.path.relpath(path, corpus_dir), os.path.getsize(path)
        if name.endswith(".tar"):
            units += _tar_units(path, name)
        elif name.endswith(_COMPRESSED):
            units.append(Unit(path, name, 0, size))
        else:
            borders = _borders(path, size, unit_bytes)
            units += [
                Unit(path, name, start, stop)
                for start, stop in zip(borders, borders[1:], strict=False)
            ]
    return units


def _tar_units(path, name):
    try:
        with tarfile.open(path, "r:") as archive:
            return [
                Unit(path, f"{name}/{member.name}", member.offset_data,
                     member.offset_data + member.size)
                for member in archive if member.isfile()
            ]  # fmt: skip
    except tarfile.TarError as error:
        raise ValueError(f"{path} is no readable tar archive: {error}") from None


def _borders(path, size, unit_bytes):
    borders = [0]
    with open(path, "rb") as file:
        while size - borders[-1] > 1.5 * unit_bytes:
            file.seek(borders[-1] + unit_bytes)
            ahead = file.read(unit_bytes // 2)
            at = ahead.find(b"\n\n")
            at = ahead.find(b"\n") + 1 if at < 0 else at + 2
            if not at:  # a line longer than the look-ahead
                file.seek(borders[-1] + unit_bytes)
                at = len(file.readline())
            borders.append(borders[-1] + unit_bytes + at)
    return [*borders, size] if size > borders[-1] else borders


def read_documents(unit, *, blanks_separate_docs=True, jsonl_field="text"):
    """Reads a unit's documents.

    Args:
        unit: Unit.
        blanks_separate_docs: whether a blank line ends a document; the end of a file always does.
        jsonl_field: holds the text of a .jsonl line, which is a document.
    Yields: (key, lines, ends): lines that are not blank, stripped; a long document comes in
        several pieces of one key, `ends` is True with the last.
    Raises:
        ValueError: no UTF-8 text, a damaged archive, a .jsonl line without the field.
    """
    with open(unit.path, "rb") as file:
        try:
            for name, stream in _texts(unit.name, _Range(file, unit.start, unit.stop)):
                if name.endswith(".jsonl"):
                    yield from _json_documents(name, stream, unit, jsonl_field)
                else:
                    yield from _text_documents(name, stream, unit, blanks_separate_docs)
        except (tarfile.TarError, lzma.LZMAError, gzip.BadGzipFile, EOFError, zstandard.ZstdError,
                ) as error:  # fmt: skip
            raise ValueError(f"{unit.path} ({unit.name}) is damaged: {error}") from None


def iter_lines(corpus_dir, jsonl_field="text"):
    """Yields all lines of a corpus that are not blank, in a fixed order."""
    for unit in cut_units(corpus_dir, find_files(corpus_dir)):
        for _, lines, _ in read_documents(unit, jsonl_field=jsonl_field):
            yield from lines


class _Range(io.RawIOBase):
    """A byte range of an open file, as a file."""

    def __init__(self, file, start, stop):
        file.seek(start)
        self._file, self._left = file, stop - start

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _texts(name, raw):
    """Opens what is compressed or archived. Yields (name, stream) of each text in turn."""
    stream = io.BufferedReader(raw, BLOCK_BYTES)
    openers = {
        ".gz": lambda: gzip.GzipFile(fileobj=stream),
        ".xz": lambda: lzma.LZMAFile(stream),
        ".zst": lambda: zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True),
    }
    suffix = os.path.splitext(name)[1]
    if suffix in openers:
        yield from _texts(name.removesuffix(suffix), openers[suffix]())
    elif stream.peek(512)[_TAR_MAGIC] == b"ustar":
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if member.isfile():
                    yield from _texts(f"{name}/{member.name}", archive.extractfile(member))
    else:
        yield name, stream


def _blocks(name, stream):
    """Yields strings that end with a line (but for the last), of about BLOCK_BYTES."""
    rest, at = b"", 0
    while True:
        block = stream.read(BLOCK_BYTES)
        data = rest + block
        cut = data.rfind(b"\n") + 1 if block else len(data)
        if cut:
            try:
                yield data[:cut].decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{name}: byte {at + error.start} is not UTF-8 ({error.reason}). Expected: "
                    "text. Convert the file or take it out of the corpus"
                ) from None
        at, rest = at + cut, data[cut:]
        if not block:
            return


def _text_documents(name, stream, unit, blanks_separate_docs):
    number, lines = 0, []

    def key():
        # A document is a file where blank lines end none: all its units then share a key.
        return f"{name}@{unit.start}#{number}" if blanks_separate_docs else name

    for text in _blocks(name, stream):
        if "\0" in text:
            raise ValueError(
                f"{name} holds a NUL character: it is binary, not text. Take it out of the corpus"
            )
        for line in text.removesuffix("\n").split("\n"):
            line = line.strip()
            if line:
                lines.append(line)
            elif blanks_separate_docs:
                yield key(), lines, True
                number, lines = number + 1, []
        if lines:
            yield key(), lines, False
            lines = []
    yield key(), lines, True


def _json_documents(name, stream, unit, field):
    number = 0
    for text in _blocks(name, stream):
        for line in text.split("\n"):
            if not line.strip():
                continue
            number += 1
            try:
                document = json.loads(line)[field]
                lines = [each.strip() for each in document.split("\n")]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{name}, line {number} after byte {unit.start}: {error!r}. Expected: a JSON "
                    f"object with a string {field!r} (--jsonl_field)"
                ) from None
            yield f"{name}@{unit.start}#{number}", [each for each in lines if each], True
