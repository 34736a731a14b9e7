"""Remembers the pieces of words: text repeats itself, and looking up is faster than cutting.

Enters: lines. Leaves: their word pieces, those of the tokenizer underneath. No rule of that
tokenizer looks across a blank or an ASCII punctuation mark (but for one, see `_SIGMA`), so a line
gives the pieces of its words one after the other; a word here is one such mark, or what stands
between them and blanks, whatever it holds. Words of at most 16 bytes are looked up by those bytes,
all words of a text at once in NumPy; the tokenizer cuts the others.
"""

import numpy as np

from electra.text.wordpiece import ASCII_PUNCTUATION

_BLANK, _INSIDE, _MARK = range(3)
_KINDS = bytes(
    _BLANK if chr(byte) in " \t\n\r" else _MARK if chr(byte) in ASCII_PUNCTUATION else _INSIDE
    for byte in range(256)
)
_SIGMA = "Σ"  # its lower case depends on whether a letter follows, behind a mark too
_LONGEST = 16  # bytes of a word that is remembered: two numbers of eight
_MOST_PIECES = 8  # of a word that is remembered
_SLOTS_LOG2 = 17  # of either half of the table: 14 MB, however large the corpus
_OWN_BITS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # of n bytes among eight
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)  # odd, no pattern


class WordTable:
    """Encodes lines as the tokenizer underneath does.

    The table is hashed and has one slot for a word: a new one that falls there takes it. Its
    first half is for words of up to eight bytes, most of them, whose second number is zero.

    Args:
        tokenizer: has encode_lines, like electra.text.fast.FastTokenizer.
    """

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        slots = 2 << _SLOTS_LOG2
        self._first, self._second = np.zeros((2, slots), np.uint64)  # a word's bytes
        self._counts = np.zeros(slots, np.int64)
        self._size = slots * _MOST_PIECES
        self._pieces = np.zeros(self._size, np.int32)  # the table's, and others behind them
        self._scratch = np.zeros(slots, np.int64)

    def encode_lines(self, lines):
        """As FastTokenizer.encode_lines; needs memory in proportion to the text."""
        lines = [line.replace("\n", " ") for line in lines]
        text = "\n".join([*lines, ""])
        if _SIGMA in text or "\0" in text:  # zeros fill a word's numbers up
            return self._tokenizer.encode_lines(lines)
        # In front a border for the first word, behind room to read sixteen bytes at the last.
        data = b"\n%b%b" % (text.encode("utf-8", "surrogatepass"), b"\n" * 16)
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
        slots, keys, is_new = self._look_up(data, starts, ends - starts)
        new = np.flatnonzero(is_new)
        cut, speakers = self._choose(slots[new], keys[:, new], (ends - starts)[new] <= _LONGEST)
        cut = new[cut]
        words = [
            data[start:end].decode("utf-8", "surrogatepass")
            for start, end in zip(starts[cut].tolist(), ends[cut].tolist(), strict=True)
        ]
        ids, offsets = self._tokenizer.encode_lines(words)
        counts, places = self._counts.take(slots), slots * _MOST_PIECES
        counts[new] = np.diff(offsets)[speakers]
        places[new] = self._size + offsets[speakers]
        piece_ends = np.cumsum(counts)
        places = np.repeat(places - (piece_ends - counts), counts)
        places += np.arange(len(places))
        pieces = self._lay_behind(ids).take(places)
        is_short = (ends - starts)[cut] <= _LONGEST
        self._remember(slots[cut], keys[:, cut], is_short, ids, np.diff(offsets))
        return pieces, piece_ends

    def _look_up(self, data, starts, sizes):
        """Returns for each word its slot, its numbers, uint64 (2, n), and whether it is new."""
        numbers = np.ndarray(len(data) - 7, "<u8", data, strides=(1,))  # one begins at each byte
        keys = np.zeros((2, len(starts)), np.uint64)
        keys[0] = numbers[starts] & _OWN_BITS.take(sizes, mode="clip")
        slots = (keys[0] * _FACTORS[0] >> np.uint64(64 - _SLOTS_LOG2)).view(np.int64)
        is_new = self._first.take(slots) != keys[0]
        longer = np.flatnonzero(sizes > 8)
        first, sizes = keys[0, longer], sizes[longer]
        second = numbers[starts[longer] + 8] & _OWN_BITS.take(sizes - 8, mode="clip")
        mixed = (first * _FACTORS[0] + second * _FACTORS[1]) >> np.uint64(64 - _SLOTS_LOG2)
        there = mixed.view(np.int64) + (1 << _SLOTS_LOG2)
        keys[1, longer], slots[longer] = second, there
        is_new[longer] = (self._first[there] != first) | (self._second[there] != second)
        is_new[longer[sizes > _LONGEST]] = True
        return slots, keys, is_new

    def _choose(self, slots, keys, is_short):
        """Chooses which words are cut: of equal ones that share a slot one.

        Returns: their numbers, and for each word which of them speaks for it.
        """
        every = np.arange(len(slots))
        self._scratch[slots] = every  # one of those that share the slot stays there
        speakers = self._scratch[slots]
        is_equal = (keys[:, speakers] == keys).all(axis=0) & is_short & is_short[speakers]
        speakers = np.where(is_equal, speakers, every)
        is_cut = speakers == every
        return np.flatnonzero(is_cut), (np.cumsum(is_cut) - 1)[speakers]

    def _lay_behind(self, ids):
        """Returns the table's pieces with others behind them."""
        stop = self._size + len(ids)
        if stop > len(self._pieces):
            self._pieces = np.append(self._pieces[: self._size], ids)
        self._pieces[self._size : stop] = ids
        return self._pieces

    def _remember(self, slots, keys, is_short, ids, counts):
        """Puts words into the table, long ones left out; where several share a slot, one."""
        every = np.arange(len(slots))
        self._scratch[slots] = every
        fit = (self._scratch[slots] == every) & is_short & (counts <= _MOST_PIECES)
        slots, ids, counts = slots[fit], ids[np.repeat(fit, counts)], counts[fit]
        self._first[slots], self._second[slots] = keys[:, fit]
        self._counts[slots] = counts
        first = np.repeat(slots * _MOST_PIECES - (np.cumsum(counts) - counts), counts)
        self._pieces[first + np.arange(len(ids))] = ids


def _find_words_of_one_character(codes):
    """Returns where they begin: U+2010 to U+2027, all punctuation, and U+4E00 to U+9FFF."""
    first, second, third = codes[:-2], codes[1:-1], codes[2:]
    is_mark = (first == 0xE2) & (second == 0x80) & (third >= 0x90) & (third <= 0xA7)
    is_ideograph = (first >= 0xE4) & (first <= 0xE9) & ((first > 0xE4) | (second >= 0xB8))
    return np.flatnonzero(is_mark | is_ideograph)
