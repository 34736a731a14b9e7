"""The reference tokenizer against literal ids and against the official code's output."""

import json

import pytest

from electra.text.vocab import Vocabulary, read_vocab
from electra.text.wordpiece import BasicTokenizer, WordPieceTokenizer
from tests.shared import FIXTURES, needs_fixtures
from tests.text.tiny import TINY

RECORDED = FIXTURES / "tokenizer" / "expected.json"


def read_recorded():
    return json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}


SETTINGS = [name for name, values in read_recorded().items() if "ids" in values]


def test_longest_pieces_are_taken_from_the_left():
    tokenizer = WordPieceTokenizer(Vocabulary(TINY))
    assert tokenizer.tokenize("unaffable") == ["un", "##aff", "##able"]
    assert tokenizer.encode("unaffable, elan") == [5, 6, 7, 8, 9]


def test_word_with_an_unknown_rest_is_unknown_as_a_whole():
    assert WordPieceTokenizer(Vocabulary(TINY)).encode("unaffablex un") == [1, 5]


def test_words_over_200_characters_are_unknown():
    tokenizer = WordPieceTokenizer(Vocabulary(TINY))
    assert tokenizer.encode("a" * 200) == [12] + [13] * 199
    assert tokenizer.encode("a" * 201) == [1]


def test_special_tokens_in_the_text_are_text():
    assert WordPieceTokenizer(Vocabulary(TINY)).tokenize("[MASK]") == ["[UNK]", "[UNK]", "[UNK]"]
    assert BasicTokenizer().tokens("[MASK]") == ["[", "mask", "]"]


@pytest.mark.parametrize(
    ("lower", "strip", "expected"),
    [
        (True, True, ["elan", "istanbul"]),
        (True, False, ["élan", "i\u0307stanbul"]),
        (False, True, ["Elan", "Istanbul"]),
        (False, False, ["Élan", "İstanbul"]),
        (True, None, ["elan", "istanbul"]),
        (False, None, ["Élan", "İstanbul"]),
    ],
)
def test_case_and_accents_are_set_apart(lower, strip, expected):
    assert BasicTokenizer(lower, strip).tokens("Élan İstanbul") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\r\n\u00a0\u3000", []),
        ("a\u2028b\u2029c", ["a", "b", "c"]),
        ("a\u200bb\u00adc\x00d\ufffde\x85f\ue000", ["abcdef"]),
        ("ab汉字cd", ["ab", "汉", "字", "cd"]),
        ("カタカナ 한글", ["カタカナ", "한글"]),
        ("a$b^c`d", ["a", "$", "b", "^", "c", "`", "d"]),
        ("a—b¿c€d", ["a", "—", "b", "¿", "c€d"]),
        ("ΟΔΟΣ ΣΑΣ.", ["οδος", "σας", "."]),
        ("\ud800a", ["a"]),
    ],
)
def test_text_is_cut_as_officially(text, expected):
    assert BasicTokenizer(True, False).tokens(text) == expected


@needs_fixtures
@pytest.mark.parametrize("setting", SETTINGS)
def test_equals_the_official_tokenizer(setting):
    folder = FIXTURES / "tokenizer"
    lines = json.loads((folder / "lines.json").read_text(encoding="utf-8"))
    recorded = read_recorded()
    expected = recorded[setting]
    tokenizer = WordPieceTokenizer(
        read_vocab(folder / "vocab.txt"), expected["do_lower_case"], expected["strip_accents"]
    )
    # Python's Unicode data decides here: other versions than the recorded one may differ.
    skipped = set(recorded["lines_that_depend_on_the_unicode_version"]).union(
        *(recorded[key] for key in recorded if "unassigned_in_unicode" in key)
    )
    compared = [index for index in range(len(lines)) if index not in skipped]
    assert len(compared) > len(lines) // 2
    for index in compared:
        assert tokenizer.basic.tokens(lines[index]) == expected["basic_tokens"][index], index
        assert tokenizer.encode(lines[index]) == expected["ids"][index], index
