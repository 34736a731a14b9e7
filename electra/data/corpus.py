"""Raw text: cuts a corpus's files into units of work, reads their documents.

Enters: .txt, .jsonl, compressed files and tar archives, found by finding.py.
Leaves: documents as lists of lines, about LONGEST_LINE characters together.
"""

import codecs
import dataclasses
import io
import itertools
import json
import os
import re

from electra.cloud.files import open_file, size_of
from electra.data import compressed
from electra.data.finding import find_files, name_in

UNIT_BYTES = 4 << 20
BLOCK_BYTES = 1 << 20
LONGEST_LINE = 1 << 20  # characters; a longer one comes as several, cut between words where it can
LONGEST_JSON = 1 << 28  # characters of a .jsonl line, which must be whole to be read
_NEARBY = 1 << 16  # bytes searched first: most texts have a blank line in them
_OVERLAP = 256  # bytes searched again: a blank line may cross from one block into the next
_TAR_MAGIC = slice(257, 262)
_MEND = "Mend it, or take it out of the corpus"
_parse = json.JSONDecoder(parse_int=float).decode  # int refuses numbers of many digits
_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")
_NEWLINE = re.compile(rb"\n")
# Behind the last of these a line is cut: no word reaches across a blank, else an ideograph or mark.
_LAST_BORDERS = tuple(
    re.compile(f"(?s:.*)[{characters}]")
    for characters in (" \t\u3000", "!-/:-@\\[-`{-~\u2010-\u2027\u3001\u3002\u4e00-\u9fff\uff0c")
)


@dataclasses.dataclass(frozen=True)
class Part:
    """A byte range of a file: a whole text, or a part of one that begins and ends with a line.

    Attributes:
        path: of the file.
        name: of the text, relative to the corpus's folder; in messages and keys.
        start, stop: bytes of the file.
        text_start: byte where the text begins that this is a part of.
    """

    path: str
    name: str
    start: int
    stop: int
    text_start: int = 0

    @property
    def key(self):
        return f"{self.name}@{self.start}"

    def where(self, line):
        """Returns a place in words: line number `line` of this part, the first being 1."""
        with open_file(self.path) as file:
            file.seek(self.text_start)
            before = sum(block.count(b"\n") for block in _read_blocks(file, self.start))
        return f"{self.name}, line {before + line}"


def cut_units(corpus_dir, files, unit_bytes=UNIT_BYTES, whole_documents=False):
    """Cuts files into units of about `unit_bytes`; they depend on the corpus alone.

    Plain text is cut where a document ends, or a line where no document ends nearby. A tar
    archive is cut at its members, any other compressed file is one part. Small files share a unit.
    With whole_documents plain text is cut at blank lines only, however far away: a document that
    is held out must not be cut, since its parts could go to both sides.

    Returns: list of units, each a list of Part.
    """
    units, size = [], 0
    for part in _parts(corpus_dir, files, unit_bytes, whole_documents):
        length = part.stop - part.start
        if not units or size + length > 1.5 * unit_bytes:
            units.append([])
            size = 0
        units[-1].append(part)
        size += length
    return units


def _parts(corpus_dir, files, unit_bytes, whole_documents):
    for path in files:
        name, size = compressed.printable(name_in(corpus_dir, path)), size_of(path)
        if name.endswith(".tar"):
            yield from _tar_parts(path, name)
        elif name.endswith(tuple(compressed.UNPACKERS)):
            yield Part(path, name, 0, size)
        else:
            at_blanks = whole_documents and not name.endswith(".jsonl")
            borders = _borders(path, size, unit_bytes, at_blanks)
            for start, stop in itertools.pairwise(borders):
                yield Part(path, name, start, stop)


def _tar_parts(path, name):
    try:
        with open_file(path) as file:
            for _, member in compressed.text_members(fileobj=file, mode="r:"):
                start, inside = member.offset_data, f"{name}/{compressed.printable(member.name)}"
                yield Part(path, inside, start, start + member.size, start)
    except compressed.DAMAGE as error:
        raise ValueError(f"{path} is no readable tar archive: {error}. {_MEND}") from None


def _borders(path, size, unit_bytes, at_blanks):
    borders = [0]
    with open_file(path) as file:
        if file.read(512)[_TAR_MAGIC] == b"ustar":  # an archive of another name
            return [0, size]
        while size - borders[-1] > 1.5 * unit_bytes:
            at = borders[-1] + unit_bytes
            near = size if at_blanks else at + unit_bytes // 2
            border = _behind(_BLANK_LINE, file, at, near)
            if not border and not at_blanks:
                border = _behind(_NEWLINE, file, at, size)
            if not border:
                break
            borders.append(border)
    return [*borders, size] if size > borders[-1] else borders


def _behind(pattern, file, at, stop):
    """Returns the offset after the first match between `at` and `stop`, or None."""
    file.seek(at)
    size, before = _NEARBY, b""
    while block := file.read(min(size, stop - at)):
        if match := pattern.search(before + block):
            return at - len(before) + match.end()
        at, size = at + len(block), BLOCK_BYTES
        before = block[-_OVERLAP:]
    return None


def read_documents(part, *, blanks_separate_docs=True, jsonl_field="text"):
    """Reads a part's documents.

    Args:
        part: Part.
        blanks_separate_docs: whether a blank line ends a document; the end of a file always does.
        jsonl_field: holds the text of a .jsonl line, which is a document.
    Yields: (key, lines, ends): lines that are not blank, stripped; a long document comes in
        several pieces of one key, `ends` is True with the last, which may have no lines. The
        lines of a piece have LONGEST_LINE + BLOCK_BYTES characters at most; no more of a text is
        in memory, but for a .jsonl line: four times.
    Raises:
        ValueError: no UTF-8 text, a damaged archive, a .jsonl line without the field.
    """
    with open_file(part.path) as file:
        try:
            for name, stream in _texts(part.name, _Range(file, part.start, part.stop)):
                # What was packed counts its bytes and lines from its own beginning.
                text = part if name == part.name else Part(part.path, name, 0, 0)
                if name.endswith(".jsonl"):
                    yield from _json_documents(stream, text, jsonl_field)
                else:
                    yield from _text_documents(stream, text, blanks_separate_docs)
        except compressed.DAMAGE as error:
            raise ValueError(
                f"{part.path} is damaged, or is not what its name says, in {part.name}: {error}. "
                f"{_MEND}"
            ) from None


def iter_lines(corpus_dir, jsonl_field="text"):
    """Yields all lines of a corpus that are not blank, in a fixed order."""
    for unit in cut_units(corpus_dir, find_files(corpus_dir)):
        for part in unit:
            for _, lines, _ in read_documents(part, jsonl_field=jsonl_field):
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
    stem, suffix = os.path.splitext(name)
    if suffix in compressed.UNPACKERS:
        yield from _texts(stem, compressed.unpack(stream, suffix))
    elif suffix == ".tar" or stream.peek(512)[_TAR_MAGIC] == b"ustar":
        for archive, member in compressed.text_members(fileobj=stream, mode="r|"):
            inside = f"{name}/{compressed.printable(member.name)}"
            yield from _texts(inside, archive.extractfile(member))
    else:
        yield name, stream


def _read_blocks(file, stop):
    while file.tell() < stop:
        yield file.read(min(BLOCK_BYTES, stop - file.tell()))


def _decoded(stream, part):
    """Yields a text as strings of about BLOCK_BYTES."""
    rest, at = b"", part.start - part.text_start
    while True:
        block = stream.read(BLOCK_BYTES)
        try:
            text, used = codecs.utf_8_decode(data := rest + block, "strict", not block)
        except UnicodeDecodeError as error:
            place = f"{part.path}: {part.name}, byte {at + error.start}"
            raise ValueError(f"{place} is not UTF-8 ({error.reason}). {_MEND}") from None
        yield text if at else text.removeprefix("\ufeff")  # a byte order mark
        rest, at = data[used:], at + used
        if not block:
            return


def _blocks(stream, part, longest):
    """Yields strings that end with a line, but for the last and within a line over `longest`."""
    waiting, size = [], 0
    for text in _decoded(stream, part):
        waiting.append(text)
        size += len(text)
        if "\n" in text or size > longest:
            text = "".join(waiting)
            cut = _border(text, 0, size)
            text, waiting, size = text[:cut], [text[cut:]], size - cut
            yield text
    if size:
        yield "".join(waiting)


def _border(text, start, stop):
    """Returns where to cut text[start:stop]: behind its last newline, else in its second half."""
    newline = text.rfind("\n", start, stop) + 1
    if newline:
        return newline
    borders = (pattern.match(text, (start + stop) // 2, stop) for pattern in _LAST_BORDERS)
    return next((border.end() for border in borders if border), stop)


def _text_documents(stream, part, blanks_separate_docs):
    number, lines, is_open, goes_on = 0, [], False, False

    def key():
        # A document is a file where blank lines end none: all its parts then share a key.
        return f"{part.key}#{number}" if blanks_separate_docs else part.name

    for text in _blocks(stream, part, LONGEST_LINE):
        if "\0" in text:
            name = f"{part.path}: {part.name}"
            raise ValueError(f"{name} holds a NUL character: it is binary, not text. {_MEND}")
        *whole, last = text.split("\n")
        for line in whole:
            line = line.strip()
            if line:
                lines.append(line)
            elif blanks_separate_docs and not goes_on and (lines or is_open):
                yield key(), lines, True
                number, lines, is_open = number + 1, [], False
            goes_on = False
        if last := last.strip():  # of a line that goes on in the next block, or has no newline
            lines.append(last)
            goes_on = True
        if lines:
            yield key(), lines, False
            lines, is_open = [], True
    if is_open:
        yield key(), [], True


def _json_documents(stream, part, field):
    number = 0
    for block in _blocks(stream, part, 2 * LONGEST_JSON):
        for line in block.removesuffix("\n").split("\n"):
            number += 1
            if not line.strip():
                continue
            try:
                if len(line) > LONGEST_JSON:
                    raise ValueError(f"over {LONGEST_JSON} characters; cut it, or give it as .txt")
                text = _parse(line)[field].strip()
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise ValueError(
                    f"{part.path}: {part.where(number)}: {error!r}. Expected: a JSON object with "
                    f"a string {field!r} (--jsonl_field). Received: {line[:80]!r}"
                ) from None
            for piece, is_last in _cut(text):
                lines = [line for line in map(str.strip, piece.split("\n")) if line]
                yield f"{part.key}#{number}", lines, is_last


def _cut(text):
    """Yields (piece of at most LONGEST_LINE characters, whether it is the last)."""
    start = 0
    while len(text) - start > LONGEST_LINE:
        stop = _border(text, start, start + LONGEST_LINE)
        yield text[start:stop], False
        start = stop
    yield text[start:], True
