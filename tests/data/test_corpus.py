"""Reading raw text: every kind of file, document borders, bad input."""

import gzip
import io
import itertools
import json
import lzma
import os
import re
import tarfile

import pytest
import zstandard

from electra.data import corpus
from electra.text.wordpiece import BasicTokenizer
from tests.data.tiny import make_text, write_files

TEXT = "a first line\nits second\n\nanother document\n"
DOCUMENTS = [["a first line", "its second"], ["another document"]]
LINES = ["a first line", "its second", "another document"]


def documents(folder, unit_bytes=corpus.UNIT_BYTES, **options):
    """The documents of a folder, in order: list of lists of lines."""
    found, open_key = [], None
    for unit in corpus.cut_units(folder, corpus.find_files(folder), unit_bytes):
        for part in unit:
            for key, lines, ends in corpus.read_documents(part, **options):
                if key == open_key:
                    found[-1] += lines
                else:
                    found.append(list(lines))
                open_key = None if ends else key
    return found


def tar(members, mode="w:"):
    """A tar archive of {name: text or bytes}, as bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, text in members.items():
            text = text if isinstance(text, bytes) else text.encode()
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    return file.getvalue()


def json_lines(*texts, field="text"):
    return "".join(json.dumps({"id": 1, field: text}) + "\n" for text in texts)


DATA = TEXT.encode()
ONE_OF_A_KIND = {
    "a.txt": DATA,
    "a": DATA,
    "a.txt.gz": gzip.compress(DATA),
    "a.txt.gz.gz": gzip.compress(gzip.compress(DATA)),
    "two_members.gz": gzip.compress(DATA[:20]) + gzip.compress(DATA[20:]),
    "a.txt.xz": lzma.compress(DATA),
    "a.txt.zst": zstandard.compress(DATA),
    "two_frames.zst": zstandard.compress(DATA[:20]) + zstandard.compress(DATA[20:]),
    "a.tar": tar({"x.txt": DATA}),
    "a_data.xz": lzma.compress(tar({"x.txt": "a first line\nits second", "y.txt": DATA[25:]})),
    "tar_of_xz_of_tar.tar": tar({"./open/a_data.xz": lzma.compress(tar({"x.txt": DATA}))}),
    "tar_without_its_name": tar({"x.txt": DATA}),
    "gz_in_a.tar.zst": zstandard.compress(tar({"x.txt.gz": gzip.compress(DATA)})),
    "a.jsonl": json_lines("a first line\n\n its second ", "another document"),
    "a.jsonl.gz": gzip.compress(json_lines(*map("\n".join, DOCUMENTS)).encode()),
    "crlf.txt": TEXT.replace("\n", "\r\n"),
    "no_final_newline.txt": DATA.rstrip(),
    "byte_order_mark.txt": "\ufeff\n" + TEXT,
    "byte_order_mark.jsonl": "\ufeff" + json_lines(*map("\n".join, DOCUMENTS)),
    "blanks.txt": " \n\n\t\n" + TEXT.replace("\n\n", "\n \n\u3000\n\n") + "\n\n \n",
    "hidden_members.tar": tar({"._x.txt": b"\0\xff", "x.txt": DATA, "z/.DS_Store": b"\0"}),
}


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_every_kind_of_file_gives_its_documents(tmp_path, name):
    write_files(tmp_path, {name: ONE_OF_A_KIND[name]})
    assert documents(tmp_path) == DOCUMENTS
    in_small_units = documents(tmp_path, unit_bytes=8)
    assert [line for document in in_small_units for line in document] == LINES


@pytest.mark.parametrize("text", ["", "\n", " \n\t\n\n", "\ufeff"])
def test_a_blank_file_has_no_documents(tmp_path, text):
    write_files(tmp_path, {"blank.txt": text, "a.txt": "one"})
    assert documents(tmp_path) == [["one"]]


def test_folders_are_read_in_the_order_of_their_paths_without_hidden_files(tmp_path):
    names = ["b.txt", "a/z.txt", "a/b/c.txt", ".hidden", ".git/x.txt", "a/.x.txt"]
    write_files(tmp_path, {name: name for name in names})
    assert documents(tmp_path) == [["a/b/c.txt"], ["a/z.txt"], ["b.txt"]]


def test_blank_lines_end_no_document_if_they_shall_not(tmp_path):
    write_files(tmp_path, {"a.txt": TEXT * 30, "b.txt": TEXT})
    for unit_bytes in (100, corpus.UNIT_BYTES):
        keys = {
            key: None
            for unit in corpus.cut_units(tmp_path, corpus.find_files(tmp_path), unit_bytes)
            for part in unit
            for key, _, _ in corpus.read_documents(part, blanks_separate_docs=False)
        }
        assert list(keys) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_is_cut_between_documents(tmp_path, newline):
    text = make_text(200)
    whole = [document.split("\n") for document in text.strip().split("\n\n")]
    write_files(tmp_path, {"a.txt": text.replace("\n", newline)})
    units = corpus.cut_units(tmp_path, corpus.find_files(tmp_path), 5000)
    assert len(units) > 5
    assert [len(unit) for unit in units] == [1] * len(units)
    assert units[0][0].start == 0
    for (before,), (after,) in itertools.pairwise(units):
        assert before.stop == after.start
    # Each document is read in one go: were one cut, it would have two keys.
    assert documents(tmp_path, 5000) == whole


def test_documents_longer_than_a_unit_are_cut_between_lines(tmp_path):
    lines = make_text(200).split("\n")
    lines = [line for line in lines if line]
    write_files(tmp_path, {"a.txt": "\n".join(lines)})
    found = documents(tmp_path, 5000)
    assert len(found) > 5
    assert [line for document in found for line in document] == lines


def test_whole_documents_are_cut_at_blank_lines_only(tmp_path):
    """Else the parts of a long document could be held out and trained on."""
    long = "\n".join(line for line in make_text(200).split("\n") if line)
    write_files(tmp_path, {"a.txt": f"{long}\n\n{long}\n\nshort"})
    files = corpus.find_files(tmp_path)
    units = corpus.cut_units(tmp_path, files, 5000, whole_documents=True)
    keys = [{key for part in unit for key, _, _ in corpus.read_documents(part)} for unit in units]
    assert [len(each) for each in keys] == [1, 1, 1]


def test_a_line_longer_than_units_and_blocks_stays_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 1000)
    line = "wörd " * 5000
    write_files(tmp_path, {"a.txt": f"before\n{line}\nafter"})
    found = documents(tmp_path, 2000)
    assert [text for document in found for text in document] == ["before", line.strip(), "after"]


@pytest.fixture
def short_lines(monkeypatch):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 100)
    monkeypatch.setattr(corpus, "LONGEST_LINE", 1000)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl"])
@pytest.mark.parametrize(
    "line",
    [
        " ".join(f"wörd{i}" for i in range(2000)),
        "字kana" * 2000,  # a word ends at an ideograph
        "(ab)" * 2000,
        "x" * 9000,
        "x" * 9000 + " y",
    ],
)
def test_a_line_over_the_bound_comes_in_pieces_cut_between_words(tmp_path, short_lines, name, line):
    data = (json_lines(line) if "json" in name else f"{line}\n").encode()
    write_files(tmp_path, {name: gzip.compress(data) if "gz" in name else data})
    (pieces,) = documents(tmp_path)
    assert max(map(len, pieces)) <= corpus.LONGEST_LINE + corpus.BLOCK_BYTES
    tokens = BasicTokenizer().tokens
    found = [token for piece in pieces for token in tokens(piece)]
    if "xx" in line:
        assert "".join(found) == line.replace(" ", "")
    else:
        assert found == tokens(line)
    assert list(corpus.iter_lines(tmp_path)) == pieces


def test_blanks_within_a_long_line_end_no_document(tmp_path, short_lines):
    wide = " " * 3000
    write_files(tmp_path, {"a.txt": f"a\n{wide}b{wide}c{wide}\nd\n{wide}\ne{wide}"})
    assert documents(tmp_path) == [["a", "b", "c", "d"], ["e"]]


def test_a_long_document_of_a_jsonl_line_comes_in_pieces_of_whole_lines(tmp_path, short_lines):
    lines = [f"{i} {'x' * (61 * i % 900)}y" for i in range(50)]
    write_files(tmp_path, {"a.jsonl": json_lines("\n".join(lines), "b")})
    assert documents(tmp_path) == [lines, ["b"]]
    ((part,),) = corpus.cut_units(tmp_path, corpus.find_files(tmp_path))
    pieces = [sum(map(len, lines)) for _, lines, _ in corpus.read_documents(part)]
    assert len(pieces) > 10
    assert max(pieces) <= corpus.LONGEST_LINE


def test_jsonl_is_cut_between_lines(tmp_path):
    texts = [f"text {i}\nof two lines" for i in range(300)]
    write_files(tmp_path, {"a.jsonl": json_lines(*texts)})
    assert len(corpus.cut_units(tmp_path, corpus.find_files(tmp_path), 1000)) > 5
    assert documents(tmp_path, 1000) == [text.split("\n") for text in texts]


def test_jsonl_may_hold_the_text_in_another_field_and_any_character(tmp_path):
    write_files(tmp_path, {"a.jsonl": json_lines("x\ud800y\0z", field="body")})
    assert documents(tmp_path, jsonl_field="body") == [["x\ud800y\0z"]]


def test_other_fields_of_a_jsonl_line_may_hold_anything(tmp_path):
    others = f'"id": {"1" * 5000}, "deep": {"[" * 900}{"]" * 900}'
    write_files(tmp_path, {"a.jsonl": f'{{{others}, "text": "a"}}'})
    assert documents(tmp_path) == [["a"]]


def test_small_files_share_a_unit(tmp_path):
    write_files(tmp_path, {f"{i:03}.txt": f"file {i} " + "x" * 90 for i in range(100)})
    units = corpus.cut_units(tmp_path, corpus.find_files(tmp_path), 1000)
    assert 6 <= len(units) <= 10
    assert len(documents(tmp_path, 1000)) == 100


def test_files_with_names_that_are_no_utf8_are_read(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    with open(path, "wb") as file:
        file.write(DATA)
    assert documents(tmp_path) == DOCUMENTS
    ((part,),) = corpus.cut_units(tmp_path, corpus.find_files(tmp_path))
    assert part.name == "caf\\xe9.txt"


def test_links_are_followed_and_circles_read_once(tmp_path):
    write_files(tmp_path, {"elsewhere/a.txt": TEXT, "corpus/b.txt": "b"})
    folder = tmp_path / "corpus"
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    (folder / "c.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    assert sorted(documents(folder)) == sorted([["b"], *DOCUMENTS, *DOCUMENTS])
    (folder / "nothing.txt").symlink_to(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="nothing.txt is a link to nothing"):
        corpus.find_files(folder)


def test_the_lines_for_a_vocabulary_are_those_of_the_documents(tmp_path):
    write_files(tmp_path, {"a.txt": TEXT, "b.jsonl": json_lines("c\n\nd", field="body")})
    assert list(corpus.iter_lines(tmp_path, "body")) == [*LINES, "c", "d"]


# ---- bad input ----------------------------------------------------------------------------------


def test_no_folder_and_no_files_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="--corpus_dir .*nowhere is no folder"):
        corpus.find_files(tmp_path / "nowhere")
    write_files(tmp_path, {".hidden": "x"})
    with pytest.raises(ValueError, match=r"holds no files. Expected: .txt, .jsonl"):
        corpus.find_files(tmp_path)


CUT = slice(0, -12)
BAD = {
    "latin.txt": ("good\nna\xefve\n".encode("latin-1"), "latin.txt, byte 7 is not UTF-8"),
    "binary.txt": (b"a\0b", "binary.txt holds a NUL character: it is binary"),
    "utf16.txt": ("text".encode("utf-16"), "utf16.txt, byte 0 is not UTF-8"),
    "cut.gz": (gzip.compress(DATA)[CUT], "cut.gz is damaged"),
    "no.gz": (DATA, "no.gz is damaged, or is not what its name says"),
    "bits.gz": (gzip.compress(DATA)[:12] + b"\xff" * 40, "bits.gz is damaged"),
    "cut.xz": (lzma.compress(DATA)[CUT], "cut.xz is damaged"),
    "no.xz": (DATA, "no.xz is damaged"),
    "cut.zst": (zstandard.compress(DATA)[CUT], "cut.zst is damaged"),
    "no.zst": (DATA, "no.zst is damaged"),
    "no.tar": (DATA, "no.tar is no readable tar archive"),
    "cut.tar": (tar({"x.txt": DATA * 1000})[:20000], "cut.tar is no readable tar archive"),
    "cut.tar.gz": (gzip.compress(tar({"x.txt": DATA * 1000})[:20000]), "cut.tar.gz is damaged"),
    "latin.tar": (tar({"x.txt": "na\xefve".encode("latin-1")}), "latin.tar/x.txt, byte 2 is not"),
    "bad.jsonl": ('{"text": "x"}\n\n{"text"\n', "bad.jsonl, line 3: JSONDecodeError"),
    "field.jsonl": (json_lines("x", field="body"), "line 1: KeyError.*'text' (--jsonl_field)"),
    "list.jsonl": ("[1, 2]\n", "line 1: TypeError.* a JSON object with a string 'text'"),
    "number.jsonl": ('{"text": 3}\n', "line 1: AttributeError"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(tmp_path, name):
    data, message = BAD[name]
    write_files(tmp_path, {name: data})
    pattern = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(ValueError, match=pattern) as raised:
        documents(tmp_path)
    assert str(tmp_path / name) in str(raised.value)


def test_places_in_a_later_part_of_a_file_count_from_its_beginning(tmp_path):
    write_files(tmp_path, {"a.jsonl": json_lines(*["x" * 20] * 300) + "{"})
    with pytest.raises(ValueError, match="a.jsonl, line 301: "):
        documents(tmp_path, 1000)
    write_files(tmp_path, {"a.jsonl": b"", "b.txt": b"0123456789\n" * 300 + b"\xff"})
    with pytest.raises(ValueError, match="b.txt, byte 3300 is not UTF-8"):
        documents(tmp_path, 1000)
    write_files(tmp_path, {"b.txt": b"x", "c.tar": tar({"a": DATA, "x.jsonl": "\n{}\n"})})
    with pytest.raises(ValueError, match="c.tar/x.jsonl, line 2: KeyError"):
        documents(tmp_path)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.xz"])
@pytest.mark.parametrize("damage", ["bit", "zeros", "cut"])
def test_a_damaged_or_missing_header_does_not_end_a_tar_archive(tmp_path, name, damage):
    with tarfile.open(tmp_path / "plain", "w", format=tarfile.USTAR_FORMAT) as archive:
        for member in ("one.txt", "two.txt", "three.txt"):
            about = tarfile.TarInfo(member)
            about.size = 4
            archive.addfile(about, io.BytesIO(b"text"))
    data = bytearray((tmp_path / "plain").read_bytes())
    if damage == "bit":
        data[2 * 512 + 100] ^= 1  # the mode of the second member, which its checksum covers
    elif damage == "zeros":
        data[2 * 512 : 3 * 512] = bytes(512)
    else:
        del data[4 * 512 :]
    write_files(tmp_path / "corpus", {name: lzma.compress(data) if "xz" in name else bytes(data)})
    with pytest.raises(ValueError, match="header is damaged|it is cut off"):
        list(corpus.iter_lines(tmp_path / "corpus"))


def test_json_nested_too_deep_is_named(tmp_path):
    write_files(tmp_path, {"a.jsonl": '{"text": "a b"}\n' + "[" * 200_000})
    with pytest.raises(ValueError, match="a.jsonl, line 2: RecursionError"):
        list(corpus.iter_lines(tmp_path))


def test_a_jsonl_line_without_an_end_is_refused(tmp_path, short_lines, monkeypatch):
    monkeypatch.setattr(corpus, "LONGEST_JSON", 1000)
    write_files(tmp_path, {"a.jsonl": json_lines("a b", "x" * 5000)})
    with pytest.raises(ValueError, match="a.jsonl, line 2: .*over 1000 characters; cut it, or"):
        list(corpus.iter_lines(tmp_path))


@pytest.mark.parametrize(("function", "closed"), [("scandir", "closed"), ("stat", "b.txt")])
def test_a_folder_that_may_not_be_read_or_searched_is_an_error(
    tmp_path, monkeypatch, function, closed
):
    write_files(tmp_path, {"a.txt": "a", "closed/b.txt": "b"})
    original = getattr(os, function)

    def refuse(path, **options):
        if str(path).endswith(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, **options)

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(PermissionError, match=closed):
        corpus.find_files(tmp_path)
