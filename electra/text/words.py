"""Remembers the pieces of words: text repeats itself, and looking up is faster than cutting.

Enters: lines. Leaves: their word pieces, those of the tokenizer underneath. No rule of that
tokenizer looks across a blank or an ASCII punctuation mark (but for one, see `_SIGMA`), so a line
gives the pieces of its words one after the other; a word here is one such mark, or what stands
between them and blanks, whatever it holds. Words of at most 16 bytes are looked up by those bytes,
all words of a text at once in NumPy; the tokenizer cuts the others.
"""

import re

import numpy as np

from electra.text.wordpiece import ASCII_PUNCTUATION

_BLANK, _INSIDE, _MARK = range(3)
_KINDS = bytes(
    _BLANK if chr(byte) in " \t\n\r" else _MARK if chr(byte) in ASCII_PUNCTUATION else _INSIDE
    for byte in range(256)
)
_ODD = re.compile("[\n\0Σ]")
_SIGMA = "Σ"  # its lower case depends on whether a letter follows, behind a mark too
_LONGEST = 16  # bytes of a word that is remembered: two numbers of eight
_SLOTS_LOG2 = 18  # of the table: 8 MB
_MOST_PIECES = 1 << 22  # that are remembered: 16 MB, however large the corpus
_OWN_BITS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # of n bytes among eight
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)  # odd, no pattern


class WordTable:
    """Encodes lines as the tokenizer underneath does.

    The table is hashed and has one slot for a word: a new one that falls there takes it. When
    the pieces of all words that were cut are too many, everything is forgotten.

    Args:
        tokenizer: has encode_lines, like electra.text.fast.FastTokenizer.
    """

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self._forget()

    def _forget(self):
        self._keys = np.zeros((2, 1 << _SLOTS_LOG2), np.uint64)  # a word's bytes
        self._places, self._counts = np.zeros((2, 1 << _SLOTS_LOG2), np.int64)  # of its pieces
        self._pieces, self._size = np.zeros(0, np.int32), 0  # with room behind the first `size`

    def encode_lines(self, lines):
        """As FastTokenizer.encode_lines; needs memory in proportion to the text."""
        text = "\n".join(["", *lines, ""])
        if _SIGMA in text or "\0" in text or text.count("\n") > len(lines) + 1:
            odd = [i for i, line in enumerate(lines) if _ODD.search(line)]
            others = ["" if _ODD.search(line) else line for line in lines]
            encoded = self._tokenizer.encode_lines([lines[i] for i in odd])
            return put_lines(*self.encode_lines(others), odd, *encoded)
        # Behind there is room to read sixteen bytes at the last.
        data = text.encode("utf-8", "surrogatepass") + b"\n" * _LONGEST
        codes = np.frombuffer(data, np.uint8)
        kinds = np.frombuffer(data.translate(_KINDS), np.uint8)
        is_inner = kinds[:-1] & kinds[1:] & _INSIDE  # no border between these bytes
        if not text.isascii():
            characters = _find_words_of_one_character(codes)
            is_inner[characters - 1] = is_inner[characters + 2] = 0
        starts = np.flatnonzero(kinds[1:] > is_inner) + 1
        ends = np.flatnonzero(kinds[:-1] > is_inner) + 1
        ids, piece_ends = self._encode_words(data, starts, ends)
        line_ends = np.flatnonzero(codes == ord("\n"))[: len(lines) + 1]
        return ids, np.append(0, piece_ends)[np.searchsorted(starts, line_ends)]

    def _encode_words(self, data, starts, ends):
        """Returns the pieces of the words data[start:end], int32 (T,), and where each one's end."""
        if self._size > _MOST_PIECES:
            self._forget()
        slots, keys, is_known = self._look_up(data, starts, ends - starts)
        places, counts = self._places.take(slots), self._counts.take(slots)
        new = np.flatnonzero(~is_known)
        words = [
            data[start:end].decode("utf-8", "surrogatepass")
            for start, end in zip(starts[new].tolist(), ends[new].tolist(), strict=True)
        ]
        numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
        ids, offsets = self._tokenizer.encode_lines(list(numbers))
        own = np.array([numbers[word] for word in words], np.int64)
        places[new] = self._add_pieces(ids) + offsets[own]
        counts[new] = np.diff(offsets)[own]
        new = new[(ends - starts)[new] <= _LONGEST]
        # Of words that share a slot the last stays, in all four.
        there = slots[new]
        self._keys[:, there] = keys[:, new]
        self._places[there], self._counts[there] = places[new], counts[new]
        piece_ends = np.cumsum(counts)
        places = np.repeat(places - (piece_ends - counts), counts)
        places += np.arange(len(places))
        return self._pieces.take(places), piece_ends

    def _look_up(self, data, starts, sizes):
        """Returns for each word its slot, its bytes, uint64 (2, n), and whether it is there."""
        numbers = np.ndarray(len(data) - 7, "<u8", data, strides=(1,))  # one begins at each byte
        first = numbers[starts] & _OWN_BITS.take(sizes, mode="clip")
        second = numbers[starts + 8] & _OWN_BITS.take(sizes - 8, mode="clip")
        mixed = first * _FACTORS[0] + second * _FACTORS[1]
        slots = (mixed >> np.uint64(64 - _SLOTS_LOG2)).view(np.int64)
        is_known = self._keys[0].take(slots) == first
        is_known &= self._keys[1].take(slots) == second
        is_known &= sizes <= _LONGEST
        return slots, np.stack([first, second]), is_known

    def _add_pieces(self, ids):
        """Puts pieces behind the others. Returns where."""
        place, self._size = self._size, self._size + len(ids)
        if self._size > len(self._pieces):
            self._pieces = np.resize(self._pieces, 2 * self._size)
        self._pieces[place : self._size] = ids
        return place


def put_lines(ids, offsets, indices, their_ids, their_offsets):
    """Puts encoded lines in the place of empty ones.

    Args:
        ids, offsets: of all lines, see FastTokenizer.encode_lines.
        indices: which are empty, sorted; their_ids, their_offsets: what they become.
    Returns: ids and offsets of all lines.
    """
    lengths, counts = np.diff(offsets), np.diff(their_offsets)
    lengths[indices] = counts
    ids = np.insert(ids, np.repeat(offsets[indices], counts), their_ids)
    return ids, np.append(0, np.cumsum(lengths))


def _find_words_of_one_character(codes):
    """Returns where they begin: U+2010 to U+2027, all punctuation, and U+4E00 to U+9FFF."""
    first, second, third = codes[:-2], codes[1:-1], codes[2:]
    is_mark = (first == 0xE2) & (second == 0x80) & (third >= 0x90) & (third <= 0xA7)
    is_ideograph = (first >= 0xE4) & (first <= 0xE9) & ((first > 0xE4) | (second >= 0xB8))
    return np.flatnonzero(is_mark | is_ideograph)
