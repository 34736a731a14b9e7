"""What is packed: several streams, damage anywhere, tar archives with hostile headers."""

import gzip
import io
import lzma
import struct
import tarfile
import zlib

import pytest
import zstandard

from electra.data import compressed, corpus
from tests.data.tiny import write_files

PACK = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
FORMATS = pytest.mark.parametrize("suffix", PACK)
ONE, TWO = b"one line\n" * 20, b"another line\n" * 20
SKIPPABLE = struct.pack("<II", 0x184D2A57, 3) + b"abc"


def unpack(data, suffix):
    return io.BufferedReader(compressed.unpack(buffered(data), suffix)).read()


def buffered(data):
    return io.BufferedReader(io.BytesIO(data))


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@FORMATS
def test_streams_behind_one_another_are_read(suffix):
    data = PACK[suffix](ONE) + PACK[suffix](b"") + PACK[suffix](TWO)
    assert unpack(data, suffix) == ONE + TWO


@pytest.mark.parametrize(
    ("suffix", "before", "between", "behind"),
    [
        (".gz", b"", b"", bytes(513)),
        (".xz", b"", bytes(8), bytes(4)),
        (".zst", SKIPPABLE, SKIPPABLE * 2, SKIPPABLE),
    ],
)
def test_what_holds_no_text_is_skipped(suffix, before, between, behind):
    data = before + PACK[suffix](ONE) + between + PACK[suffix](TWO) + behind
    assert unpack(data, suffix) == ONE + TWO


@FORMATS
@pytest.mark.parametrize(
    "damage",
    [
        lambda first, second: first + flip(second, len(second) // 2),
        lambda first, second: first + flip(second, 0),
        lambda first, second: flip(first, len(first) - 5) + second,
        lambda first, second: first + second[:-1],
        lambda first, second: first + second[:3],
        lambda first, second: first + b"junk",
        lambda first, second: first + second + b"\n",
        lambda first, second: first + second + bytes(4) + b"x",
        lambda first, second: first + bytes(3) + second,
        lambda first, second: b"",
        lambda first, second: b"no stream",
    ],
)
def test_damage_in_any_stream_or_behind_them_is_refused(suffix, damage):
    """As gzip -t, xz -t and zstd -t say."""
    with pytest.raises(compressed.DAMAGE):
        unpack(damage(PACK[suffix](ONE), PACK[suffix](TWO)), suffix)


def gz_header(flags, rest=b""):
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + rest + gzip.compress(ONE)[10:]


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".gz", gz_header(0x20)),  # a reserved flag
        (".gz", gz_header(2, b"\0\0")),  # the header's checksum
        (".xz", lzma.compress(ONE) + bytes(6)),
        (".zst", bytes.fromhex("28b52ffd2050010000")),  # promises 80 bytes, holds none
        (".zst", SKIPPABLE[:-1]),
    ],
)
def test_headers_are_checked(suffix, data):
    with pytest.raises(compressed.DAMAGE):
        unpack(data, suffix)
    named = b"\x1f\x8b\x08\x0a" + bytes(6) + b"name\0"
    checksum = struct.pack("<H", zlib.crc32(named) & 0xFFFF)
    assert unpack(named + checksum + gzip.compress(ONE)[10:], ".gz") == ONE


@FORMATS
def test_memory_does_not_depend_on_how_well_text_was_packed(suffix):
    pieces = list(compressed.UNPACKERS[suffix](buffered(PACK[suffix](b"\n" * (5 << 20)))))
    assert sum(map(len, pieces)) == 5 << 20
    assert max(map(len, pieces)) <= 1 << 18


# ---- tar ----------------------------------------------------------------------------------------


def tar(name="a", **pax_headers):
    """An archive of one member."""
    file, info = io.BytesIO(), tarfile.TarInfo(name)
    info.size, info.pax_headers = len(ONE), pax_headers
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(ONE))
    return file.getvalue()


def with_header(at, data):
    """The archive with bytes of its header replaced and the checksum mended."""
    archive = bytearray(tar())
    archive[at : at + len(data)] = data
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(archive[:512])
    return bytes(archive)


HOSTILE = {
    "pax_negative": (tar(size="-5"), "a has -5 bytes"),
    "pax_endless": (tar(".a", size="9" * 18), ".a has 9"),
    "pax_beyond_int64": (tar(size="9" * 30), "a has 9"),
    "pax_digits": (tar(size="1" * 5000), "header is damaged"),
    "pax_word": (tar(size="many"), "header is damaged"),
    "sparse_map": (tar(**{"GNU.sparse.map": "0,5,x"}), "header is damaged .invalid literal"),
    "sparse_size": (tar(**{"GNU.sparse.size": "3"}), "a is sparse"),
    "sparse_part": (tar(**{"GNU.sparse.realsize": "3"}), "a is sparse"),
    "sparse_1.0": (
        tar(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}),
        "header is damaged",
    ),
    "sparse_of_old": (with_header(156, b"S"), "a is sparse"),
    "long_name": (with_header(124, b"77777777777\0" + bytes(20) + b"L"), "of 8589934591 bytes"),
    "negative": (with_header(124, b"\xff" * 12), "a has -1 bytes"),
    "joined": (tar() * 2, "archives were joined end to end .join them with tar -A"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_hostile_members_are_refused_with_their_place(tmp_path, name, suffix):
    data, message = HOSTILE[name]
    write_files(tmp_path, {f"a.tar{suffix}": lzma.compress(data) if suffix else data})
    with pytest.raises(ValueError, match=f"(?s){tmp_path}/a.tar.*{message}"):
        list(corpus.iter_lines(tmp_path))
