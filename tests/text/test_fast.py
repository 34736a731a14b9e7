"""The fast tokenizer gives the reference tokenizer's ids on every line."""

import itertools
import json
import os
import random
import sys

import numpy as np
import pytest

from electra.features import SPECIAL_TOKENS
from electra.text.fast import FastTokenizer, SlowTokenizer, make_tokenizer
from electra.text.vocab import Vocabulary, read_vocab
from electra.text.wordpiece import WordPieceTokenizer
from electra.text.words import WordTable
from tests.shared import DATA, FIXTURES, needs_data, needs_fixtures
from tests.text.tiny import TINY

pytest.importorskip("tensorflow_text")

FLAGS = list(itertools.product((True, False), (True, False)))
# Corpus, its vocabulary, do_lower_case, strip_accents.
CORPORA = [
    ("en", "bert-base-uncased-vocab.txt", True, True),
    ("es", "selectra-50k-vocab.txt", False, False),
    ("zh", "bert-base-chinese-vocab.txt", True, False),
]
SAMPLED_LINES = 4000
BATCH_LINES = 1500
ALL_LINES = os.environ.get("ELECTRA_FULL") == "1"


def _assert_equal(vocab, lower, strip, lines):
    """Holds for the tokenizer alone, and for the table that knows no word, some, or all."""
    reference = WordPieceTokenizer(vocab, lower, strip)
    expected = [reference.encode(line) for line in lines]
    tokenizer = FastTokenizer(vocab, lower, strip)
    table = WordTable(tokenizer)
    for encode_lines in (tokenizer.encode_lines, table.encode_lines, table.encode_lines):
        for start in range(0, len(lines), BATCH_LINES):
            ids, offsets = encode_lines(lines[start : start + BATCH_LINES])
            batch = expected[start : start + BATCH_LINES]
            assert len(offsets) == len(batch) + 1
            assert offsets[-1] == len(ids)
            for index, pieces in enumerate(batch):
                found = ids[offsets[index] : offsets[index + 1]].tolist()
                assert found == pieces, (start + index, lines[start + index][:200])


def test_batches_give_flat_ids_and_offsets():
    tokenizer = FastTokenizer(Vocabulary(TINY))
    ids, offsets = tokenizer.encode_lines(["Unaffable, élan", "", "a\u200ba 汉字", "xyz"])
    assert ids.tolist() == [5, 6, 7, 8, 9, 12, 13, 10, 11, 1]
    assert offsets.tolist() == [0, 5, 5, 9, 10]
    assert ids.dtype == np.int32
    assert offsets.dtype == np.int64


def test_no_lines_give_no_ids():
    for tokenizer in FastTokenizer(Vocabulary(TINY)), SlowTokenizer(Vocabulary(TINY)):
        for lines, offsets in ([], [0]), ([""], [0, 0]):
            found = tokenizer.encode_lines(lines)
            assert found[0].tolist() == []
            assert found[1].tolist() == offsets


def test_many_lines_keep_their_order():
    lines = ["a" * (index % 3) for index in range(10000)]
    lines[5000] = "a\x00a"
    _assert_equal(Vocabulary(TINY), True, True, lines)


@pytest.mark.parametrize("length", [99, 100, 101, 199, 200, 201, 1000])
@pytest.mark.parametrize("char", ["a", "é", "汉", "한", "ß", "."])
def test_long_words_are_equal(char, length):
    word = char * length
    lines = [word, f"a {word}, a", f"{word[:150]} {word[150:]}", "a" * 150 + word]
    for lower, strip in FLAGS:
        _assert_equal(Vocabulary([*TINY, "ᄒ", "##ᄒ", "##ᅡ", "##ᆫ"]), lower, strip, lines)


def test_odd_tokens_in_the_vocabulary_change_nothing():
    tokens = [*TINY, "a", "un a", "a\u3000a", "don't", "##'", "", "", "##", "##", "##" + "a" * 300]
    tokens += ["\0", "##\0", "\x11", "\x11a", "a\u2028a", "\ufffd"]
    lines = [
        "un a un",
        "a\x11a \x11a a\0 \0 a\ufffda \ufffd a\u2028a",
        "a\u3000a aa",
        "don't ## a## (unreachable.12)",
        "a" * 200,
        "a" * 301,
    ]
    for lower, strip in FLAGS:
        _assert_equal(Vocabulary(tokens), lower, strip, lines)


def test_random_vocabularies_are_equal():
    rng = random.Random(0)
    letters = "abc'é汉-İß"
    for _, (lower, strip) in itertools.product(range(4), FLAGS):
        pieces = ["".join(rng.choices(letters, k=rng.randint(1, 4))) for _ in range(40)]
        tokens = [rng.choice(("", "##")) + piece for piece in pieces]
        lines = ["".join(rng.choices(letters + "  #", k=rng.randint(0, 30))) for _ in range(200)]
        _assert_equal(Vocabulary([*TINY, *tokens]), lower, strip, lines)


def random_lines(seed, count):
    """Strings over all planes: any code point, and those that often come together in text."""
    rng = random.Random(seed)
    ranges = [
        (0x20, 0x7F),
        (0x20, 0x7F),
        (0x0, 0x20),
        (0x80, 0x250),
        (0x250, 0x530),
        (0x530, 0x2000),
        (0x2000, 0x2070),
        (0x2070, 0x3400),
        (0x3400, 0xAC00),
        (0xAC00, 0xD7A4),
        (0xD800, 0x10000),
        (0x10000, 0x20000),
        (0x20000, 0x30000),
        (0xE0000, 0xE0200),
        (0x0, 0x110000),
    ]
    for _ in range(count):
        chosen = rng.sample(ranges, 2)
        yield "".join(
            " " if rng.random() < 0.1 else chr(rng.randrange(*rng.choice(chosen)))
            for _ in range(rng.randint(0, 60))
        )


@pytest.mark.parametrize(("lower", "strip"), FLAGS)
def test_random_strings_over_all_planes_are_equal(lower, strip):
    lines = list(random_lines(1, 300))
    inner = sorted({char for line in lines for char in line if not char.isspace()})
    tokens = [*TINY, *inner[::2], *(f"##{char}" for char in inner[::3])]
    tokens = [token.encode("utf-8", "ignore").decode("utf-8") for token in tokens]
    _assert_equal(Vocabulary(tokens), lower, strip, lines)


@needs_fixtures
@pytest.mark.parametrize(("lower", "strip"), FLAGS)
def test_every_line_of_the_fixture_is_equal(lower, strip):
    folder = FIXTURES / "tokenizer"
    lines = json.loads((folder / "lines.json").read_text(encoding="utf-8"))
    _assert_equal(read_vocab(folder / "vocab.txt"), lower, strip, lines)


def _corpus_lines(language):
    for path in sorted((DATA / "corpus" / language).glob("*.txt")):
        yield from path.read_text(encoding="utf-8").split("\n")


def chosen_lines(language):
    """A sample, and for each code point of the corpus the first line that holds it."""
    lines = list(_corpus_lines(language))
    if ALL_LINES:
        return lines
    seen, first = set(), []
    for index, line in enumerate(lines):
        if not seen.issuperset(line):
            seen.update(line)
            first.append(index)
    sampled = random.Random(0).sample(range(len(lines)), min(SAMPLED_LINES, len(lines)))
    return [lines[index] for index in sorted({*first, *sampled})]


@needs_data
@pytest.mark.parametrize(("language", "vocab_file", "lower", "strip"), CORPORA)
def test_lines_of_the_corpora_are_equal(language, vocab_file, lower, strip):
    """With ELECTRA_FULL=1 every line, else a sample with every code point in it."""
    vocab = read_vocab(DATA / "vocab" / vocab_file)
    _assert_equal(vocab, lower, strip, chosen_lines(language))


@needs_data
@pytest.mark.parametrize(("language", "vocab_file"), [corpus[:2] for corpus in CORPORA])
@pytest.mark.parametrize(("lower", "strip"), FLAGS)
def test_lines_of_the_corpora_are_equal_under_other_flags(language, vocab_file, lower, strip):
    lines = chosen_lines(language)
    lines = lines if ALL_LINES else lines[::4]
    _assert_equal(read_vocab(DATA / "vocab" / vocab_file), lower, strip, lines)


@needs_data
@pytest.mark.parametrize(("language", "vocab_file", "lower", "strip"), CORPORA)
def test_few_lines_of_the_corpora_need_the_reference(language, vocab_file, lower, strip):
    tokenizer = FastTokenizer(read_vocab(DATA / "vocab" / vocab_file), lower, strip)
    lines = list(_corpus_lines(language))
    assert len(tokenizer._lines_for_reference("\n".join(lines), lines)) < len(lines) / 1000


def test_without_the_library_the_reference_takes_over_with_a_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.warns(UserWarning, match="pure Python.*tensorflow_text"):
        tokenizer = make_tokenizer(Vocabulary(TINY))
    ids, offsets = tokenizer.encode_lines(["Unaffable, élan", "", "汉"])
    assert ids.tolist() == [5, 6, 7, 8, 9, 10]
    assert offsets.tolist() == [0, 5, 5, 6]
    assert ids.dtype == np.int32
    assert offsets.dtype == np.int64


def test_vocabulary_that_the_library_refuses_runs_on_the_reference():
    vocab = Vocabulary([*TINY, "b" * 200, "汉" * 100])
    with pytest.raises(ValueError, match="256 bytes"):
        FastTokenizer(vocab)
    with pytest.warns(UserWarning, match="pure Python"):
        tokenizer = make_tokenizer(vocab)
    assert tokenizer.encode_lines(["b" * 200])[0].tolist() == [len(TINY)]


def test_a_lone_surrogate_is_left_to_the_reference():
    vocab = Vocabulary([*SPECIAL_TOKENS, "fine"])
    ids, _ = make_tokenizer(vocab, True, True).encode_lines(["fine \ud800 fine", "fine"])
    assert ids.tolist() == [5, 5, 5]
