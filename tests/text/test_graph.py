"""The tokenizer in a graph gives the reference tokenizer's ids on every string."""

# ruff: noqa: RUF001

import json
import unicodedata

import pytest
import tensorflow as tf

from electra.text.graph import MASK_CODE, GraphTokenizer
from electra.text.vocab import Vocabulary, read_vocab
from electra.text.wordpiece import WordPieceTokenizer
from tests.shared import DATA, FIXTURES, needs_data, needs_fixtures
from tests.text.test_fast import CORPORA, FLAGS, chosen_lines, random_lines
from tests.text.tiny import TINY

BATCH_LINES = 512
each_flags = pytest.mark.parametrize(("lower", "strip"), FLAGS)
TORTURE = [
    "",
    " ",
    "\n\n",
    "Unaffable, élan",
    "a\u200ba\xada 汉字a",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ ΑΣ' 'ΣΑ Σ ΑΣ. ΑΣ.Α ΑΣ\u0301 Α\u0301Σ\u0301Β ΑΣ\u200b ΑΣ\u200bΑ",
    "ΑΣ",  # the next text begins with a letter
    "Α Straße STRASSE ẞ",
    "İstanbul I ı i̇",
    "e\u0301 é \u0301e a\u0300\u0316\u0301",
    "한국어 조선글 ᄒᆞᆫ글",
    "がぎぐ ｶﾞ カ゛",
    "क्षि কো కా",
    "ǅ ǆ ǈ ﬁ ﬀ Å Ω K ≠ ≮ \u1fef \u037e",
    "مرحبا שָׁלוֹם",
    "👩‍👩‍👧 🇪🇸 \ufe0f a\ufe0fa",
    "[MASK] [CLS] ##a # ##",
    "a\x00b a\x0bb a\x1cb a\x85b a\xa0b a\u2028b a\u3000b a\ufeffb a\ufffdb",
    "$^`|~ ¿¡ «» “” … 、。",
    "𐐀𐐨 𝔄 🀀 \U0002f800\U0002a700a",
    chr(MASK_CODE),
    "un" + "a" * 198,
    "un" + "a" * 199,
    "a" * 5000 + " a",
    "unaffableaffable unx xun aff",
]


def _vocab(*lines):
    """A vocabulary that knows half of the characters of lines, and some pairs."""
    inner = sorted({c for line in lines for c in line if not c.isspace()} - set(TINY))
    inner = [c for c in inner if not unicodedata.combining(c) or unicodedata.category(c) == "Mn"]
    folded = [unicodedata.normalize("NFD", c).lower() for c in inner]
    pieces = [*inner[::2], *(f"##{c}" for c in inner[::3]), *folded, *(f"##{c}" for c in folded)]
    pieces += [a + b for a, b in zip(inner[::5], inner[1::5], strict=False)]
    pieces = [piece.encode("utf-8", "ignore").decode() for piece in pieces]
    return Vocabulary([*TINY, *dict.fromkeys(pieces)])


def _assert_equal(vocab, lower, strip, lines, by_words=False):
    reference = WordPieceTokenizer(vocab, lower, strip)
    graph = GraphTokenizer(reference, by_words)
    cut = tf.function(
        lambda texts: graph(texts).ids, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    for start in range(0, len(lines), BATCH_LINES):
        batch = lines[start : start + BATCH_LINES]
        texts = [line.encode("utf-8", "surrogatepass") for line in batch]
        for line, found in zip(batch, cut(tf.constant(texts)).to_list(), strict=True):
            if by_words:
                expected = [id_ for word in line.split() for id_ in reference.encode_word(word)]
            else:
                expected = reference.encode(line)
            assert found == expected, line[:200]


def test_pieces_know_where_they_stand():
    reference = WordPieceTokenizer(Vocabulary(TINY))
    pieces = GraphTokenizer(reference)(["a  Unaffable, ", "", "xyé汉"])
    assert pieces.ids.to_list() == [[12, 5, 6, 7, 8], [], [1, 10]]
    assert pieces.starts.to_list() == [[0, 3, 5, 8, 12], [], [0, 3]]
    assert pieces.ends.to_list() == [[1, 5, 8, 12, 13], [], [3, 4]]
    assert pieces.ids.dtype == pieces.starts.dtype == pieces.ends.dtype == tf.int32


def test_no_texts_and_empty_texts_give_no_pieces():
    tokenizer = GraphTokenizer(WordPieceTokenizer(Vocabulary(TINY)))
    assert tokenizer(tf.constant([], tf.string)).ids.to_list() == []
    assert tokenizer(["", " "]).ids.to_list() == [[], []]


def test_bytes_that_are_no_utf8_are_dropped():
    tokenizer = GraphTokenizer(WordPieceTokenizer(Vocabulary(TINY)))
    assert tokenizer([b"\xffun\xc3affable \xe6\xb1"]).ids.to_list() == [[5, 6, 7]]


@each_flags
@pytest.mark.parametrize("by_words", [False, True])
def test_hard_strings_are_equal(lower, strip, by_words):
    _assert_equal(_vocab(*TORTURE), lower, strip, TORTURE, by_words)


@each_flags
def test_random_strings_over_all_planes_are_equal(lower, strip):
    lines = list(random_lines(1, 300))
    _assert_equal(_vocab(*lines), lower, strip, lines)


@pytest.mark.parametrize(("lower", "strip"), FLAGS[::3])
def test_random_sentences_are_equal(lower, strip):
    lines = list(random_lines(2, 300))
    _assert_equal(_vocab(*lines), lower, strip, lines, by_words=True)


def test_words_are_those_between_white_space():
    reference = WordPieceTokenizer(Vocabulary(TINY))
    tokenizer = GraphTokenizer(reference, by_words=True)
    texts = [" Unaffable\xa0\u200b ,a\u2028x", "", "\u200b", "a"]
    words, before = tokenizer.words(texts, tokenizer(texts))
    decoded = [[word.decode() for word in row] for row in words.to_list()]
    assert decoded == [text.split() for text in texts]
    assert before.to_list() == [[0, 3, 3, 5], [], [0], [0]]


def test_odd_tokens_in_the_vocabulary_change_nothing():
    tokens = [*TINY, "a", "un a", "a\u3000a", "", "", "##", "##", "##" + "a" * 300, "\0", "##\0"]
    _assert_equal(Vocabulary(tokens), True, True, ["un a un", "a\0a", "a## ##", "a" * 301, "aaa"])


def test_marks_that_unicode_sorts_are_refused():
    marks = ["\U0001d165", "##\U0001d16d"]
    with pytest.raises(ValueError, match="combining marks .*U[+]1D165 U[+]1D16D.* electra.load"):
        GraphTokenizer(WordPieceTokenizer(Vocabulary([*TINY, *marks])))
    GraphTokenizer(WordPieceTokenizer(Vocabulary([*TINY, *marks]), strip_accents=False))


@needs_fixtures
@each_flags
def test_every_line_of_the_fixture_is_equal(lower, strip):
    lines = json.loads((FIXTURES / "tokenizer" / "lines.json").read_text(encoding="utf-8"))
    _assert_equal(read_vocab(FIXTURES / "tokenizer" / "vocab.txt"), lower, strip, lines)


@needs_data
@pytest.mark.parametrize(("language", "vocab_file", "lower", "strip"), CORPORA)
def test_lines_of_the_corpora_are_equal(language, vocab_file, lower, strip):
    _assert_equal(read_vocab(DATA / "vocab" / vocab_file), lower, strip, chosen_lines(language))
