"""The reference tokenizer, in pure Python: text enters, word pieces leave.

It defines what is right; `electra.text.fast` must give the same ids. The steps are those of the
official code: clean, space around CJK ideographs, lower-case, strip accents, split on punctuation
and white space, then greedy longest-match WordPiece.

Differs from source: `strip_accents` works without `do_lower_case` too, and the other way round.
"""

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from electra.text.vocab import Vocabulary

UNKNOWN = "[UNK]"
SUFFIX = "##"
MAX_WORD_CHARACTERS = 200

# The blocks that the official code splits into single characters. Kana and Hangul are words.
CJK_RANGES = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
# ASCII that is neither letter, digit, white space nor control: "$" and "^" split although
# Unicode calls them symbols.
ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class BasicTokenizer:
    """Cuts text into words and punctuation marks.

    Args:
        do_lower_case: bool.
        strip_accents: bool, removes the non-spacing marks of the decomposed (NFD) text; None
            means the same as do_lower_case.
    """

    def __init__(self, do_lower_case: bool = True, strip_accents: bool | None = None):
        self.do_lower_case = bool(do_lower_case)
        self.strip_accents = self.do_lower_case if strip_accents is None else bool(strip_accents)

    def fold(self, text: str) -> str:
        """Lower-cases `text` and strips its accents, as the flags say; whole lines at once.

        No rule of either step looks across white space, so a line folds as its words do.
        """
        if self.do_lower_case:
            text = text.lower()
        if self.strip_accents and not text.isascii():
            text = unicodedata.normalize("NFD", text).translate(_WITHOUT_MARKS)
        return text

    def tokens(self, text: str) -> list[str]:
        """Cuts `text`.

        Args:
            text: str.
        Returns: list of str. With both flags on, "Élan,\\t汉字" gives ["elan", ",", "汉", "字"].
        Source: `BasicTokenizer` in the official model/tokenization.py.
        """
        return self.fold(text.translate(_CLEAN)).translate(_SPLIT_PUNCTUATION).split()

    def word_tokens(self, word: str) -> list[str]:
        """Cuts a word of a tagged sentence: list of str.

        Kept from the official code: here an ideograph does not end a piece
        (test_sentences_equal_the_official).
        """
        word = word.translate(_CLEAN).replace(" ", "")
        return self.fold(word).translate(_SPLIT_PUNCTUATION).split()


class WordPieceTokenizer:
    """Cuts text into the word pieces of a vocabulary.

    Args:
        vocab: electra.text.vocab.Vocabulary.
        do_lower_case, strip_accents: as in BasicTokenizer.
    """

    def __init__(
        self, vocab: "Vocabulary", do_lower_case: bool = True, strip_accents: bool | None = None
    ):
        self.vocab = vocab
        self.basic = BasicTokenizer(do_lower_case, strip_accents)

    def tokenize(self, text: str) -> list[str]:
        """Cuts `text` into word pieces: list of str.

        Special tokens in the text are text: "[MASK]" gives "[", "mask", "]".
        """
        return [piece for word in self.basic.tokens(text) for piece in self._pieces(word)]

    def encode(self, text: str) -> list[int]:
        """Cuts `text` into word pieces: list of int, their ids."""
        ids = self.vocab.ids
        return [ids[piece] for piece in self.tokenize(text)]

    def encode_word(self, word: str) -> list[int]:
        """Cuts a word of a tagged sentence into pieces: list of int, their ids."""
        ids = self.vocab.ids
        return [ids[piece] for part in self.basic.word_tokens(word) for piece in self._pieces(part)]

    def _pieces(self, word: str) -> list[str]:
        """The longest pieces from the left; a word with a rest that no piece starts is unknown.

        With "un", "##aff" and "##able" known, "unaffable" gives all three.
        """
        if len(word) > MAX_WORD_CHARACTERS:
            return [UNKNOWN]
        known, pieces, start = self.vocab.ids, [], 0
        while start < len(word):
            prefix = SUFFIX if start else ""
            for end in range(len(word), start, -1):
                piece = prefix + word[start:end]
                if piece in known:
                    break
            else:
                return [UNKNOWN]
            pieces.append(piece)
            start = end
        return pieces


class _Table(dict[int, str | None]):
    """A table for `str.translate` that asks its rule once for each code point."""

    def __init__(self, rule):
        super().__init__()
        self._rule = rule

    def __missing__(self, code):
        self[code] = replacement = self._rule(chr(code))
        return replacement


def _clean(char):
    category = unicodedata.category(char)
    if char in " \t\n\r" or category == "Zs":
        return " "
    if category.startswith("C") or char == "\ufffd":
        return ""
    if any(first <= ord(char) <= last for first, last in CJK_RANGES):
        return f" {char} "
    return char


def _without_mark(char):
    return "" if unicodedata.category(char) == "Mn" else char


def _split_punctuation(char):
    if char in ASCII_PUNCTUATION or unicodedata.category(char).startswith("P"):
        return f" {char} "
    return char


_CLEAN = _Table(_clean)
_WITHOUT_MARKS = _Table(_without_mark)
_SPLIT_PUNCTUATION = _Table(_split_punctuation)
