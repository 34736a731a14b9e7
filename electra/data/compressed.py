"""Opens what is packed: .gz, .xz and .zst streams, tar archives. Nothing is unpacked to disk.

Enters: a binary file. Leaves: what it holds, in pieces of bounded size however well it was packed.
What the formats' own tools refuse (gzip -t, xz -t, zstd -t) is refused, where the libraries'
readers take damage behind a first stream or a lost header for the end. Uses zstandard.
"""

import functools
import gzip
import io
import lzma
import os
import tarfile
import zlib

import zstandard

DAMAGE = (
    tarfile.TarError,
    lzma.LZMAError,
    gzip.BadGzipFile,
    zlib.error,
    zstandard.ZstdError,
    EOFError,
)
_PACKED_BYTES = 1 << 17  # read together
_PIECE_BYTES = 1 << 18  # unpacked together, at most
_SKIPPABLE = 0x184D2A50  # begins a .zst frame without text, but for the last four bits
# What tarfile reads whole before the member itself. Names and attributes take a few kilobytes.
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_EXTENSION_BYTES = 1 << 16
_MEMBER_BYTES = 1 << 40  # tarfile would search the end of a stream for more, block by block


def unpack(stream, suffix):
    """Opens a compressed file; several streams may follow one another.

    Args:
        stream: buffered binary file.
        suffix: of UNPACKERS.
    Returns: unbuffered binary file. Reading raises one of DAMAGE.
    """
    return _Pieces(UNPACKERS[suffix](stream))


class _Pieces(io.RawIOBase):
    """Bytes that come in pieces, as a file."""

    def __init__(self, pieces):
        self._pieces, self._ready = filter(None, pieces), b""

    def readable(self):
        return True

    def readinto(self, buffer):
        filled = 0
        while filled < len(buffer):
            self._ready = self._ready or memoryview(next(self._pieces, b""))
            if not self._ready:
                break
            size = min(len(buffer) - filled, len(self._ready))
            buffer[filled : filled + size] = self._ready[:size]
            self._ready, filled = self._ready[size:], filled + size
        return filled


def _unpack_streams(start, padding, stream):
    """Yields what .gz or .xz streams hold.

    Args:
        start: makes the decompressor of a stream, given its first bytes.
        padding: so many zeros together may follow a stream; single ones the last alone.
    """
    packed = stream.read(_PACKED_BYTES)
    if not packed:
        raise EOFError("it is empty")
    while packed:
        unpacker = start(packed)
        while not unpacker.eof:
            piece = unpacker.decompress(packed, _PIECE_BYTES)
            yield piece
            packed = getattr(unpacker, "unconsumed_tail", b"")  # lzma keeps it
            if not (piece or packed or unpacker.eof):
                packed = stream.read(_PACKED_BYTES)
                if not packed:
                    raise EOFError("it ends before the end of its last stream")
        packed, zeros = unpacker.unused_data, 0
        while True:
            rest = packed.lstrip(b"\0")
            zeros += len(packed) - len(rest)
            more = stream.read(_PACKED_BYTES)
            packed = rest + more
            if rest or not more:
                break
        if zeros % padding or (zeros and packed and padding == 1):
            raise EOFError(f"{zeros} zeros follow one of its streams")


def _start_gz(packed):
    if not packed.startswith(b"\x1f\x8b"):
        raise gzip.BadGzipFile(f"Not a gzipped file ({packed[:2]!r})")
    return zlib.decompressobj(16 + zlib.MAX_WBITS)  # unlike gzip's, checks a header's flags and sum


def _start_xz(_):
    return lzma.LZMADecompressor(lzma.FORMAT_XZ)


def _unpack_zst(stream):
    """Yields what .zst frames hold, a block at a time: it unpacks to 128 kB at most.

    Source: RFC 8878. The library unpacks all that it is given, and a few bytes may hold as much as
    a block; nor does it say whether a file was cut off.
    """

    def take(size):
        data = stream.read(size)
        if len(data) < size:
            raise EOFError("it ends before the end of its last frame")
        return data

    is_first = True
    while is_first or stream.peek(1):
        is_first, head = False, take(5)
        if int.from_bytes(head[:4], "little") & ~15 == _SKIPPABLE:
            left = int.from_bytes(head[4:] + take(3), "little")
            while left:
                left -= len(take(min(left, _PACKED_BYTES)))
            continue
        frame = zstandard.ZstdDecompressor().decompressobj()
        head += take(zstandard.frame_header_size(head) - len(head))
        frame.decompress(head)
        size_of_text, is_last = 0, False
        while not is_last:
            head_of_block = take(3)
            number = int.from_bytes(head_of_block, "little")
            is_last, kind, size = number & 1, number >> 1 & 3, number >> 3
            piece = frame.decompress(head_of_block + take(1 if kind == 1 else size))  # 1: repeated
            size_of_text += len(piece)
            yield piece
        if head[4] & 4:
            frame.decompress(take(4))  # checksum
        if not frame.eof or zstandard.frame_content_size(head) not in (-1, size_of_text):
            raise zstandard.ZstdError("a frame does not end where its header says")


UNPACKERS = {
    ".gz": functools.partial(_unpack_streams, _start_gz, 1),
    ".xz": functools.partial(_unpack_streams, _start_xz, 4),
    ".zst": _unpack_zst,
}


class _Member(tarfile.TarInfo):
    """A member of a tar archive; the library takes a damaged or missing header for its end."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            member = super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:
            raise tarfile.ReadError(f"a member's header is damaged ({error})") from None
        except tarfile.EmptyHeaderError:
            raise tarfile.ReadError("it is cut off: no zeros mark its end") from None
        if member.type == tarfile.GNUTYPE_SPARSE:
            _refuse_sparse(member)
        if member.type in _EXTENSIONS and not 0 <= member.size <= _EXTENSION_BYTES:
            raise tarfile.ReadError(f"a header of {member.size} bytes before a member is damaged")
        return member


def _refuse_sparse(member):
    raise tarfile.ReadError(f"{printable(member.name)} is sparse: a text without holes is expected")


def text_members(**source):
    """Reads a tar archive to its end.

    Args:
        source: arguments of tarfile.open.
    Yields: (archive, member) of its texts; hidden files are left out.
    Raises:
        tarfile.TarError: a damaged archive, or archives joined end to end: zeros mark an end, also
            those of a header that was lost.
    """
    try:
        with tarfile.open(**source, tarinfo=_Member) as archive:
            for member in archive:
                if member.issparse() or "GNU.sparse" in "".join(member.pax_headers):
                    _refuse_sparse(member)
                if not 0 <= member.size <= _MEMBER_BYTES:
                    raise tarfile.ReadError(f"{printable(member.name)} has {member.size} bytes")
                if member.isfile() and not os.path.basename(member.name).startswith("."):
                    yield archive, member
                archive.members = []  # it would keep all of them
            while block := archive.fileobj.read(_PACKED_BYTES):
                if block.count(0) < len(block):
                    raise tarfile.ReadError(
                        "a member's header is damaged: more follows its end, or archives were "
                        "joined end to end (join them with tar -A, or leave them apart)"
                    )
    except (ValueError, OverflowError, RecursionError) as error:  # of fields that are no numbers
        raise tarfile.ReadError(f"a member's header is damaged ({error})") from None


def printable(name):
    """Returns a file name as UTF-8 can hold it: the bytes that are none as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
