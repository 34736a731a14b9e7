"""The table of words gives what the tokenizer underneath gives, and asks it seldom."""

import random

import numpy as np
import pytest

from electra.text import words
from electra.text.fast import SlowTokenizer
from electra.text.vocab import Vocabulary
from electra.text.wordpiece import BasicTokenizer
from electra.text.words import WordTable
from tests.text.tiny import TINY

CAPITAL, SMALL, FINAL = "\u03a3\u03c3\u03c2"  # the sigmas
LETTERS = f"ab'é{CAPITAL}{SMALL}{FINAL}.…—汉字\u3000\u0301\u200b\x00\x0b\x1c\u2028 \t\r-"
VOCAB = Vocabulary([*TINY, *LETTERS, *(f"##{letter}" for letter in LETTERS)])


class Asked:
    """A tokenizer that notes what it is asked for."""

    def __init__(self, *flags):
        self.tokenizer, self.words = SlowTokenizer(VOCAB, *flags), []

    def encode_lines(self, lines):
        self.words += lines
        return self.tokenizer.encode_lines(lines)


def assert_equal(table, tokenizer, lines):
    for found, expected in zip(
        table.encode_lines(lines), tokenizer.encode_lines(lines), strict=True
    ):
        assert found.tolist() == expected.tolist()
        assert found.dtype == expected.dtype


def test_a_word_is_asked_for_once():
    asked = Asked()
    table = WordTable(asked)
    ids, offsets = table.encode_lines(["ab a-ab…ab", "", "ab\t汉字"])
    assert sorted(asked.words) == sorted(["ab", "a", "-", "…", "汉", "字"])
    assert offsets.tolist() == [0, 9, 9, 13]
    asked.words.clear()
    assert table.encode_lines(["ab a-ab…ab", "", "ab\t汉字"])[0].tolist() == ids.tolist()
    assert asked.words == []


def test_long_words_are_not_remembered():
    asked = Asked()
    table = WordTable(asked)
    for _ in range(2):
        assert_equal(table, asked.tokenizer, ["a" * 16, "a" * 17, "é" * 8, "é" * 9, "a" * 300])
    assert [asked.words.count(word) for word in ("a" * 16, "é" * 8)] == [1, 1]
    assert [asked.words.count(word) for word in ("a" * 17, "é" * 9, "a" * 300)] == [2, 2, 2]


def test_everything_is_forgotten_when_the_pieces_are_too_many(monkeypatch):
    monkeypatch.setattr(words, "_MOST_PIECES", 10)
    asked = Asked()
    table = WordTable(asked)
    for lines in ["a b"], ["a b"], ["ab" * 5], ["a b"]:
        assert_equal(table, asked.tokenizer, lines)
    assert asked.words == ["a", "b", "ab" * 5, "a", "b"]


@pytest.mark.parametrize("slots_log2", [2, 10])
@pytest.mark.parametrize("flags", [(True, True), (True, False), (False, True), (False, False)])
def test_random_text_is_cut_as_without_the_table(monkeypatch, slots_log2, flags):
    # With four slots nearly all words displace others.
    monkeypatch.setattr(words, "_SLOTS_LOG2", slots_log2)
    monkeypatch.setattr(words, "_MOST_PIECES", 1000)
    rng = random.Random(slots_log2)
    asked = Asked(*flags)
    table = WordTable(asked)
    for _ in range(60):
        letters = rng.sample(LETTERS, rng.randint(2, len(LETTERS)))
        lines = ["".join(rng.choices(letters, k=rng.randint(0, 40))) for _ in range(20)]
        assert_equal(table, asked.tokenizer, lines)


def test_words_that_differ_behind_their_first_bytes_are_kept_apart():
    asked = Asked()
    table = WordTable(asked)
    ends = ["", "\x00", "\x00\x00", "a", "aa", "b"]
    lines = ["a" * n + end for n in range(1, 18) for end in ends]
    for _ in range(2):
        assert_equal(table, asked.tokenizer, lines)


def test_a_sigma_before_a_mark_is_folded_in_its_line():
    asked = Asked()
    lines = ["b a", f"a{CAPITAL} a{CAPITAL}.a", "", f"{CAPITAL}", "a\nb", "b"]
    ids, offsets = WordTable(asked).encode_lines(lines)
    pieces = [VOCAB.tokens[i] for i in ids[offsets[1] : offsets[2]]]
    assert pieces == ["a", f"##{FINAL}", "a", f"##{SMALL}", ".", "a"]
    assert offsets.tolist() == [0, 2, 8, 8, 9, 11, 12]
    assert sorted(asked.words) == sorted([lines[1], lines[3], lines[4], "a", "b"])


def test_every_mark_that_ends_a_word_ends_it_for_the_reference():
    chars = [chr(code) for code in range(0x80, 0x11000) if not 0xD800 <= code <= 0xDFFF]
    text = "".join(chars).encode()
    places = words._find_words_of_one_character(np.frombuffer(text, np.uint8))
    found = [text[place : place + 3].decode() for place in places]
    assert found == [chr(code) for code in (*range(0x2010, 0x2028), *range(0x4E00, 0xA000))]
    tokenizer = BasicTokenizer(do_lower_case=False)
    for char in [*words.ASCII_PUNCTUATION, *found]:
        assert tokenizer.tokens(f"a{char}b") == ["a", char, "b"]
