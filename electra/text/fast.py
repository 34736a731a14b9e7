"""The fast tokenizer: the ids of the reference tokenizer, for many lines together.

Text is folded by `BasicTokenizer.fold` (C speed in Python) and cut by tensorflow-text's
`FastWordpieceTokenizer`; `electra.text.words` spares it what it has cut before. The library's idea
of control characters, white space, punctuation and ideographs is a little different, so each code
point is classified once, when it first comes up, by running both tokenizers on it; a line with a
code point that they treat differently goes through the reference, and so does a line that may hold
a word over the reference's limit.

Libraries: numpy, and tensorflow with tensorflow-text; without them `make_tokenizer` falls back
on the reference.
"""

import functools
import itertools
import warnings

import numpy as np

from electra.features import SPECIAL_TOKENS
from electra.text.vocab import Vocabulary
from electra.text.wordpiece import (
    MAX_WORD_CHARACTERS,
    SUFFIX,
    UNKNOWN,
    BasicTokenizer,
    WordPieceTokenizer,
)
from electra.text.words import WordTable, put_lines

_BLOCK = 256  # code points are classified in blocks of this size
# What a code point is: inside a word, between words, treated differently, not classified yet.
_INSIDE, _BETWEEN, _DIFFERENT, _UNCLASSIFIED = range(4)
# The library's limit counts bytes, the reference's characters: it is kept here instead.
_NO_LIMIT_BYTES = 1 << 30
_PROBE_VOCAB = Vocabulary([*SPECIAL_TOKENS, "a", "b", f"{SUFFIX}b"])  # see FastTokenizer._classify


def make_tokenizer(vocab, do_lower_case=True, strip_accents=None):
    """Makes the fastest tokenizer that runs here.

    Args:
        vocab: electra.text.vocab.Vocabulary.
        do_lower_case, strip_accents: as in electra.text.wordpiece.BasicTokenizer.
    Returns:
        WordTable over FastTokenizer, or with a warning over SlowTokenizer where tensorflow-text
        is not installed or refuses the vocabulary.
    """
    try:
        tokenizer = FastTokenizer(vocab, do_lower_case, strip_accents)
    except (ImportError, ValueError) as error:
        warnings.warn(
            "Tokenizing runs in pure Python, several times slower, with the same result, because "
            f"tensorflow-text cannot be used: {error}",
            stacklevel=2,
        )
        tokenizer = SlowTokenizer(vocab, do_lower_case, strip_accents)
    return WordTable(tokenizer)


class SlowTokenizer:
    """The reference tokenizer behind the fast one's method."""

    def __init__(self, vocab, do_lower_case=True, strip_accents=None):
        self._reference = WordPieceTokenizer(vocab, do_lower_case, strip_accents)

    def encode_lines(self, lines):
        """As FastTokenizer.encode_lines."""
        lists = [self._reference.encode(line) for line in lines]
        ids = np.fromiter(itertools.chain.from_iterable(lists), np.int32)
        return ids, np.cumsum([0, *map(len, lists)], dtype=np.int64)


class FastTokenizer:
    """Cuts lines into word pieces; equal to WordPieceTokenizer on every line.

    Args:
        vocab: electra.text.vocab.Vocabulary.
        do_lower_case, strip_accents: as in electra.text.wordpiece.BasicTokenizer.
    Raises:
        ImportError: tensorflow-text is not installed.
        ValueError: tensorflow-text refuses the vocabulary.
    """

    def __init__(self, vocab, do_lower_case=True, strip_accents=None):
        self._basic = BasicTokenizer(do_lower_case, strip_accents)
        self._library = _Library(vocab)
        self._slow = SlowTokenizer(vocab, do_lower_case, strip_accents)
        self._probe_library = _Library(_PROBE_VOCAB)
        self._probe_reference = WordPieceTokenizer(_PROBE_VOCAB, do_lower_case, strip_accents)
        self._kinds = np.full(0x110000, _UNCLASSIFIED, np.int8)
        self._max_run = MAX_WORD_CHARACTERS
        self._classify([0])

    def encode_lines(self, lines):
        """Cuts `lines` into word pieces.

        Args:
            lines: list of str.
        Returns:
            ids: int32 (T,), the pieces of all lines one after the other.
            offsets: int64 (n + 1,); line i is ids[offsets[i]:offsets[i + 1]].
        """
        lines = [line.replace("\n", " ") for line in lines]  # white space either way
        text = "\n".join(lines)
        folded = self._basic.fold(text).split("\n") if lines else []
        special = self._lines_for_reference(text, lines)
        for index in special:
            folded[index] = ""
        ids, offsets = self._library.encode(folded)
        if special.size:
            encoded = self._slow.encode_lines([lines[index] for index in special])
            ids, offsets = put_lines(ids, offsets, special, *encoded)
        return ids, offsets

    def _lines_for_reference(self, text, lines):
        """Returns the indices of the lines on which the library may differ: int64, sorted."""
        kinds = self._kinds_of(text)
        ends = np.cumsum([len(line) + 1 for line in lines])
        different = np.flatnonzero(kinds == _DIFFERENT)
        # A newline between lines is no part of a word, so a run of inner characters lies in a line.
        between = np.flatnonzero(kinds == _BETWEEN)
        between = np.concatenate([[-1], between, [len(kinds)]])
        long_runs = between[:-1][np.diff(between) > self._max_run + 1] + 1
        return np.unique(np.searchsorted(ends, np.concatenate([different, long_runs]), "right"))

    def _kinds_of(self, text):
        """Looks up the kind of each code point of `text`, classifying the new ones: int8 (n,)."""
        if text.isascii():
            return self._kinds[np.frombuffer(text.encode("ascii"), np.uint8)]
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        kinds = self._kinds[codes]
        new = codes[kinds == _UNCLASSIFIED]
        if not new.size:
            return kinds
        self._classify(np.unique(new // _BLOCK))
        return self._kinds[codes]

    def _classify(self, blocks):
        """Compares library and reference on "a", code point, "b" for each code point of `blocks`.

        Both tokenizers classify code points one by one and share the folding, so agreement here
        is agreement everywhere. Of the pieces "a", "b", "##b" and [UNK] come "a", "b" for a blank,
        "a", "##b" for what is dropped, "a", [UNK], "b" for a mark and [UNK] for part of a word.
        """
        codes = (np.asarray(blocks)[:, np.newaxis] * _BLOCK + np.arange(_BLOCK)).ravel().tolist()
        self._kinds[codes] = _DIFFERENT
        # Surrogates stay different: the library reads UTF-8, which has none.
        chars = [chr(code) for code in codes if not 0xD800 <= code <= 0xDFFF]
        probes = [f"a{char}b" for char in chars]
        ids, offsets = self._probe_library.encode([self._basic.fold(probe) for probe in probes])
        piece_lists = [ids[i:j].tolist() for i, j in itertools.pairwise(offsets)]
        for char, probe, pieces in zip(chars, probes, piece_lists, strict=True):
            if pieces != self._probe_reference.encode(probe):
                continue
            words = self._basic.tokens(probe)
            if words[0] == "a" and words[-1] == "b":
                self._kinds[ord(char)] = _BETWEEN
            else:
                self._kinds[ord(char)] = _INSIDE
                # Folding may lengthen a word: a Hangul syllable decomposes into three letters.
                longest = MAX_WORD_CHARACTERS // max(1, len(self._basic.fold(char)))
                self._max_run = min(self._max_run, longest)


class _Library:
    """tensorflow-text's tokenizer with NumPy results."""

    def __init__(self, vocab):
        import tensorflow as tf
        import tensorflow_text

        self._make_strings = functools.partial(tf.constant, dtype=tf.string)
        try:
            self._tokenizer = tensorflow_text.FastWordpieceTokenizer(
                _reachable(vocab),
                suffix_indicator=SUFFIX,
                max_bytes_per_word=_NO_LIMIT_BYTES,
                token_out_type=tf.int32,
                unknown_token=UNKNOWN,
            )
        except RuntimeError as error:
            raise ValueError(
                f"tensorflow-text refuses this vocabulary of {len(vocab)} tokens: {error} "
                "Expected: at least one word, and no token over 256 bytes. Use make_tokenizer, "
                "which falls back on the reference tokenizer."
            ) from error

    def encode(self, lines):
        ragged = self._tokenizer.tokenize(self._make_strings(lines))
        return ragged.flat_values.numpy(), ragged.row_splits.numpy()


def _reachable(vocab):
    """Returns the tokens, list of str; those that no text can produce are replaced.

    The reference never gives the first of two equal tokens (the library refuses those), one with
    white space or a control character inside (the library matches or refuses some of those), or
    one longer than any word.
    The replacement contains punctuation, which no word has, so no text produces it either.
    """
    tokens = []
    for index, token in enumerate(vocab.tokens):
        is_reachable = (
            vocab.ids[token] == index
            and token.isprintable()
            and " " not in token
            and len(token.removeprefix(SUFFIX)) <= MAX_WORD_CHARACTERS
        )
        tokens.append(token if is_reachable else f"(unreachable.{index})")
    return tokens
