"""Reading and training vocabularies."""

import os
import subprocess
import sys
import unicodedata

import pytest

from electra.features import SPECIAL_TOKENS
from electra.text import vocab as vocab_module
from electra.text.vocab import Vocabulary, check_output, read_vocab, train_vocab, write_vocab
from tests.shared import DATA, ROOT, needs_data
from tests.text.tiny import TINY

TEXT = [
    "The lower the tower, the slower the flower grows.\n",
    "Slow towers lower the flow; flowers grow lower and slower.\n",
    "\n",
] * 3


def _train(lines=TEXT, **arguments):
    return train_vocab(lambda: iter(lines), **{"vocab_size": 40, **arguments})


def test_special_ids_come_from_the_file(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("a\n[MASK]\n[SEP]\nb\n[CLS]\n[UNK]\n[PAD]\n", encoding="utf-8")
    vocab = read_vocab(path)
    assert vocab.tokens == ("a", "[MASK]", "[SEP]", "b", "[CLS]", "[UNK]", "[PAD]")
    assert (vocab.pad_id, vocab.unk_id, vocab.cls_id, vocab.sep_id, vocab.mask_id) == (
        6,
        5,
        4,
        2,
        1,
    )
    assert vocab.ids["b"] == 3
    assert len(vocab) == 7


def test_lines_are_stripped_and_keep_their_places(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join([*SPECIAL_TOKENS, " a ", "", "b\u2028", "a", "汉"]).encode())
    vocab = read_vocab(path)
    assert vocab.tokens[5:] == ("a", "", "b", "a", "汉")
    # Kept from the official code: of two equal lines the last one counts.
    assert vocab.ids["a"] == 8
    assert len(vocab) == 10


def test_hash_is_that_of_the_tokens():
    assert Vocabulary(SPECIAL_TOKENS).sha256 == (
        "1b6c0da91a73cdc93935c5ac6460821d77709dfc99ae699a60555fe029d62f6b"
    )
    assert Vocabulary(TINY).sha256 != Vocabulary(TINY[:-1]).sha256


def test_a_line_is_counted_in_short_texts(monkeypatch):
    together = []

    def learn(texts, *_):
        together.extend(texts)
        return []

    monkeypatch.setattr(vocab_module, "_learn", learn)
    _train([f"{'a ' * 100_000}b"])
    assert " ".join(together) == f"{'a ' * 100_000}b"
    assert max(map(len, together)) < 10_000


def test_a_file_far_too_large_is_not_read(tmp_path):
    path = tmp_path / "vocab.txt"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(ValueError, match=r"vocab\.txt' has over .* Is it a text"):
        read_vocab(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt.*does not exist"):
        read_vocab(tmp_path / "none.txt")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_empty_file_is_refused(tmp_path, content):
    path = tmp_path / "vocab.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.txt' is empty"):
        read_vocab(path)


def test_missing_special_tokens_are_named(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\na\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.txt' lacks \[SEP\], \[MASK\]"):
        read_vocab(path)


def test_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("[PAD]\né\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"vocab\.txt' is not UTF-8"):
        read_vocab(path)


def test_training_gives_special_tokens_then_characters_then_pieces():
    assert _train() == [
        *SPECIAL_TOKENS,
        *",.;adefghlnorstw",
        *("##d", "##e", "##h", "##l", "##n", "##o", "##r", "##s", "##w"),
        *("##ow", "##er", "##ower", "##he", "the", "##lower", "lower", "##low", "##row", "flower"),
    ]


def test_training_again_gives_the_same_tokens():
    assert _train() == _train()


@pytest.mark.parametrize(
    ("lower", "strip", "word"),
    [(True, True, "elan"), (True, False, "élan"), (False, True, "Elan"), (False, False, "Élan")],
)
def test_trained_words_are_cut_as_the_tokenizer_cuts(lower, strip, word):
    tokens = _train(["Élan,汉字"] * 9, do_lower_case=lower, strip_accents=strip, vocab_size=18)
    assert word in tokens
    assert {"汉", "字", ","} <= set(tokens)


def test_accents_follow_the_case_when_not_given():
    assert "elan" in _train(["Élan"] * 9, vocab_size=15)
    assert "Élan" in _train(["Élan"] * 9, do_lower_case=False, vocab_size=15)


def test_too_little_text_gives_a_shorter_vocabulary_and_a_warning(caplog):
    tokens = _train(vocab_size=5000)
    assert len(tokens) == 50
    assert "50 tokens only; vocab_size is 5000" in caplog.text


@pytest.mark.parametrize(("form", "strip"), [("NFC", False), ("NFD", False), ("NFD", True)])
def test_accents_apart_from_their_letters_are_a_warning(caplog, form, strip):
    lines = [unicodedata.normalize(form, "el año que viene")] * 9
    _train(lines, vocab_size=50, strip_accents=strip)
    assert ("unicodedata.normalize('NFC'" in caplog.text) == (form == "NFD" and not strip)


def test_rare_characters_are_left_out_of_the_alphabet_and_named(caplog):
    caplog.set_level("INFO", "absl")
    lines = ["tower flower"] * 1000 + ["ω"]
    assert "ω" not in _train(lines, vocab_size=30)
    assert "1 rare character is left out" in caplog.text and "[UNK]: ω. --char" in caplog.text
    caplog.clear()
    assert "ω" in _train(lines, vocab_size=30, character_coverage=1.0)
    assert "left out" not in caplog.text


def test_fraction_of_the_lines_depends_on_the_seed_alone():
    lines = [f"{index} {index}" for index in range(100, 300)]
    first = _train(lines, corpus_fraction=0.2, seed=1, vocab_size=60)
    assert first == _train(lines, corpus_fraction=0.2, seed=1, vocab_size=60)
    assert first != _train(lines, corpus_fraction=0.2, seed=2, vocab_size=60)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 5}, "vocab_size must be above 5"),
        ({"vocab_size": 20}, "vocab_size 20 is too small for this text: 5 special"),
        ({"corpus_fraction": 0.0}, "corpus_fraction must be above 0 and at most 1. Received: 0.0"),
        ({"corpus_fraction": 1.5}, "corpus_fraction must be above 0 and at most 1. Received: 1.5"),
        ({"character_coverage": 0.0}, "character_coverage must be"),
        ({"lines": []}, "no words"),
        ({"lines": ["\n", " \t"]}, "no words"),
    ],
)
def test_impossible_training_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        _train(**arguments)


def test_written_vocabulary_reads_back_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "vocab.txt"
    write_vocab(path, TINY)
    assert read_vocab(path).tokens == TINY
    assert [entry.name for entry in path.parent.iterdir()] == ["vocab.txt"]


def _run_command(*arguments):
    command = [sys.executable, "-m", "electra.text.vocab", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_cli_writes_the_same_bytes_under_official_spellings(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.txt").write_text("".join(TEXT) + "Élan Élan\n", encoding="utf-8")
    written = []
    for name, spelling in (("a", "--nodo_lower_case"), ("b", "--no-lower-case")):
        out = tmp_path / f"{name}.txt"
        flags = ("--corpus-dir", corpus, "--vocab-size", 50, "--output", out, "--strip-accents")
        done = _run_command(*flags, spelling)
        assert done.returncode == 0, done.stderr
        written.append(out.read_bytes())
    assert written[0] == written[1]
    tokens = written[0].decode().split()
    assert len(tokens) == 50
    assert "T" in tokens
    assert "É" not in tokens


def test_cli_refuses_what_it_does_not_know(tmp_path):
    done = _run_command("--corpus_dir", tmp_path, "leftover")
    assert done.returncode != 0
    assert "leftover" in done.stdout + done.stderr


@needs_data
def test_english_vocabulary_has_its_size_and_whole_words():
    path = DATA / "corpus" / "en" / "novels_03.txt"

    def read():
        with path.open(encoding="utf-8") as lines:
            yield from lines

    tokens = train_vocab(read, vocab_size=4000)
    assert len(tokens) == len(set(tokens)) == 4000
    assert {"the", "and", "said", "##ing", "##ed"} <= set(tokens)


@pytest.mark.parametrize("name", ["", ".", "corpus", "corpus/vocab.txt", "circle"])
def test_an_impossible_output_is_refused_before_counting(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    check_output("vocab.txt", "circle")  # that it is no folder is said where it is read
    with pytest.raises(ValueError, match="--output"):
        check_output(name, "corpus")
