"""The tokenizer as part of a TensorFlow graph, of TensorFlow's core operations alone.

Strings enter, word pieces leave: those of `electra.text.wordpiece`, by construction. What becomes
of a code point is asked of that reference, once for each, and kept in tables; pieces are found in
a trie of the vocabulary, for all words of a batch at once. A server needs neither tensorflow-text
nor ICU's data for it.

Two rules of Unicode look at a code point's neighbours: the small sigma that ends a word, which is
done here, and the order of marks, which matters to few that are no accents: see `_check_marks`.

N code points of a batch, M characters that they become, P pieces, W words.
"""

import functools
import itertools
import sys
import typing
import unicodedata

import numpy as np
import tensorflow as tf

from electra.text.wordpiece import MAX_WORD_CHARACTERS, SUFFIX, BasicTokenizer

# Stands for [MASK] in texts that may have masks; the reference drops it.
MASK_CODE = 0x10FFFE
_BLOCK_BITS = 7  # tables of code points hold equal blocks of so many bits once
_OTHER, _CASED, _SKIPPED = range(3)  # what a code point is to a sigma near it
_FIRST, _NEXT = range(2)  # roots of the trie: of pieces that begin a word, and of the others


class Pieces(typing.NamedTuple):
    """The pieces of a batch of texts, a RaggedTensor (B, pieces) int32 each.

    Attributes:
        ids: of the vocabulary.
        starts, ends: where a piece stands in its text, in code points; the end is behind it.
    """

    ids: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


class GraphTokenizer(tf.Module):
    """Cuts strings into word pieces within a graph.

    Args:
        tokenizer: electra.text.wordpiece.WordPieceTokenizer, the reference.
        by_words: whether a text is a sentence of words with white space between them, each cut as
            `encode_word` cuts it; else it is cut as `encode` does.
        has_masks: whether MASK_CODE stands for [MASK].
    Raises:
        ValueError: the vocabulary holds marks whose order cannot be kept.
    """

    def __init__(self, tokenizer, by_words=False, has_masks=False):
        super().__init__(name="tokenizer")
        basic, self.by_words = tokenizer.basic, by_words
        self.lowers, self.unk_id = basic.do_lower_case, tokenizer.vocab.unk_id
        if basic.strip_accents:
            _check_marks(tokenizer.vocab)
        letters = sorted({char for token in tokenizer.vocab.ids for char in token})
        # A class for each character that a piece may hold, 0 for all others, the last for [MASK].
        self.classes = {char: number for number, char in enumerate(letters, 1)}
        self.mask_class = len(letters) + 1
        self._make_rows(basic, has_masks)
        self._make_trie(tokenizer.vocab)

    def _make_rows(self, basic, has_masks):
        """Makes a table from code points to rows, and of the rows: the classes of the characters
        that it becomes, whether words end beside it, and what it is to a sigma."""
        known, numbers = _known_rows(basic.do_lower_case, basic.strip_accents, self.by_words)
        rows = {}
        row_of = np.array(
            [
                rows.setdefault((tuple(self.classes.get(c, 0) for c in text), *rest), len(rows))
                for text, *rest in known
            ],
            np.int32,
        )
        numbers = row_of[numbers]
        if has_masks:
            numbers[MASK_CODE] = rows.setdefault(((self.mask_class,), True, _OTHER), len(rows))
        self.final_sigma = numbers[ord("ς")]
        blocks = {}
        self.block_of = np.array(
            [
                blocks.setdefault(block.tobytes(), len(blocks))
                for block in numbers.reshape(-1, 1 << _BLOCK_BITS)
            ],
            np.int32,
        )
        self.blocks = np.frombuffer(b"".join(blocks), np.int32)
        characters, borders, kinds = zip(*rows, strict=True)
        self.row_starts = np.cumsum([0, *map(len, characters)], dtype=np.int32)
        self.row_characters = np.array([*itertools.chain(*characters)], np.int32)
        self.row_borders, self.row_kinds = np.array(borders, np.int32), np.array(kinds, np.int32)
        self.row_is_space = self.row_borders > np.diff(self.row_starts)

    def _make_trie(self, vocab):
        """Makes a table from node and class to the next node, and of the nodes the piece that ends
        there, -1 for none."""
        edges, nodes = {}, [-1, -1]
        pieces = [(_FIRST, map(self.classes.get, token), id_) for token, id_ in vocab.ids.items()]
        pieces += [
            (_NEXT, map(self.classes.get, token.removeprefix(SUFFIX)), id_)
            for token, id_ in vocab.ids.items()
            if token.startswith(SUFFIX)
        ]
        for node, path, id_ in [*pieces, (_FIRST, [self.mask_class], vocab.mask_id)]:
            for class_ in path:
                key = node * (self.mask_class + 1) + class_
                node = edges.setdefault(key, len(nodes))
                if node == len(nodes):
                    nodes.append(-1)
            nodes[node] = id_
        nodes[_FIRST] = nodes[_NEXT] = -1  # an empty token
        self.node_pieces = np.array(nodes, np.int32)
        keys, values = np.array([*edges]), np.array([*edges.values()])
        initializer = tf.lookup.KeyValueTensorInitializer(keys, values, tf.int64, tf.int64)
        self.edges = tf.lookup.StaticHashTable(initializer, -1)

    def __call__(self, texts):
        """Cuts texts.

        Args:
            texts: string (B,), UTF-8; bytes that are none are dropped.
        Returns: Pieces.
        """
        texts = _decoded(texts)
        codes, splits = texts.flat_values, texts.row_splits
        rows = self._rows(codes)
        if self.lowers:
            is_sigma = tf.equal(codes, ord("Σ"))
            with_finals = functools.partial(self._with_final_sigmas, rows, is_sigma)
            rows = tf.cond(tf.reduce_any(is_sigma), with_finals, lambda: rows)
        starts = tf.gather(self.row_starts, rows)
        places = tf.ragged.range(starts, tf.gather(self.row_starts, rows + 1))
        characters = tf.gather(self.row_characters, places.flat_values)  # (M,)
        sources = places.value_rowids()  # (M,), the code point that it was
        borders = tf.gather(self.row_borders, rows)
        # Code points between two borders have one even number, one with borders an odd one.
        numbers = tf.gather(2 * tf.cumsum(borders) - borders, sources)
        is_first = tf.concat([numbers[:1] >= 0, numbers[1:] != numbers[:-1]], 0)
        places, ids, lengths = self._cut(characters, is_first)
        firsts = tf.gather(sources, places)
        lasts = tf.gather(sources, places + lengths - 1)
        text_of = tf.gather(texts.value_rowids(), firsts)  # (P,)
        begins = tf.gather(splits, text_of)
        ids = tf.RaggedTensor.from_value_rowids(ids, text_of, nrows=texts.nrows(), validate=False)
        starts = ids.with_flat_values(tf.cast(firsts - begins, tf.int32))
        return Pieces(ids, starts, ids.with_flat_values(tf.cast(lasts + 1 - begins, tf.int32)))

    def words(self, texts, pieces):
        """Returns the words of sentences.

        Args:
            texts: string (B,); pieces: Pieces of them.
        Returns: RaggedTensors (B, words): the words, string, and how many pieces of the sentence
            come before each, int32.
        """
        texts = _decoded(texts)
        is_space = tf.gather(self.row_is_space, self._rows(texts.flat_values))
        begins = ~is_space & tf.concat([[True], is_space[:-1]], 0)  # (N,)
        inside = tf.boolean_mask(texts.flat_values, ~is_space)
        numbers = tf.boolean_mask(tf.cumsum(tf.cast(begins, tf.int64)) - 1, ~is_space)
        words = tf.RaggedTensor.from_value_rowids(inside, numbers, validate=False)
        rows = tf.boolean_mask(texts.value_rowids(), begins)
        words = tf.RaggedTensor.from_value_rowids(
            tf.strings.unicode_encode(words, "UTF-8"), rows, nrows=texts.nrows(), validate=False
        )
        firsts = pieces.starts + tf.cast(texts.row_starts()[:, None], tf.int32)
        before = tf.searchsorted(firsts.flat_values, tf.cast(tf.where(begins)[:, 0], tf.int32))
        before -= tf.cast(tf.gather(pieces.ids.row_starts(), rows), tf.int32)
        return words, words.with_flat_values(before)

    def _rows(self, codes):
        blocks = tf.gather(self.block_of, tf.bitwise.right_shift(codes, _BLOCK_BITS))
        rest = tf.bitwise.bitwise_and(codes, (1 << _BLOCK_BITS) - 1)
        return tf.gather(self.blocks, tf.bitwise.left_shift(blocks, _BLOCK_BITS) + rest)

    def _with_final_sigmas(self, rows, is_sigma):
        """A sigma is the final one if a letter stands before it and none behind, as Python's
        `str.lower` has it; what is skipped does not count."""
        kinds = tf.gather(self.row_kinds, rows)
        others = tf.boolean_mask(kinds, kinds != _SKIPPED)
        is_cased = tf.pad(others == _CASED, [[1, 1]])
        place = tf.cumsum(tf.cast(kinds != _SKIPPED, tf.int32))  # of a sigma in is_cased
        before, behind = tf.maximum(place - 1, 0), place + 1
        is_final = is_sigma & tf.gather(is_cased, before) & ~tf.gather(is_cased, behind)
        return tf.where(is_final, self.final_sigma, rows)

    def _cut(self, characters, is_first):
        """Cuts all words.

        Args:
            characters: int32 (M,), classes; is_first: bool (M,), whether a word begins.
        Returns: the place of each piece's first character, its id and its length, int32 (P,).
        """
        size = tf.size(characters)
        starts = tf.cast(tf.where(is_first)[:, 0], tf.int32)  # (W,)
        sizes = tf.concat([starts[1:], [size]], 0)[: tf.size(starts)] - starts
        words = tf.cumsum(tf.cast(is_first, tf.int32)) - 1  # (M,)
        longest = self._longest_pieces(characters, is_first, tf.gather(starts + sizes, words))
        lengths, ids = tf.unstack(longest, axis=1)
        is_used, is_known = self._follow(starts, sizes, lengths)
        is_known = tf.gather(is_known, words)
        places = tf.cast(tf.where(tf.where(is_known, is_used, is_first))[:, 0], tf.int32)
        is_known = tf.gather(is_known, places)
        ids = tf.where(is_known, tf.gather(ids, places), self.unk_id)
        of_word = tf.gather(sizes, tf.gather(words, places))
        return places, ids, tf.where(is_known, tf.gather(lengths, places), of_word)

    def _longest_pieces(self, characters, is_first, stops):
        """Walks the trie from every character. Returns: length, 0 for none, and id of the longest
        piece that begins there, int32 (M, 2)."""

        def step(k, begins, nodes, stops, found):
            classes = tf.cast(tf.gather(characters, begins + k), tf.int64)
            nodes = self.edges.lookup(nodes * (self.mask_class + 1) + classes)
            pieces = tf.gather(self.node_pieces, tf.maximum(nodes, 0))  # -1 at the root
            is_piece = pieces >= 0
            pieces = tf.boolean_mask(pieces, is_piece)
            pieces = tf.stack([tf.fill(tf.shape(pieces), k + 1), pieces], axis=1)
            places = tf.boolean_mask(begins, is_piece)[:, None]
            found = tf.tensor_scatter_nd_update(found, places, pieces)
            goes_on = (nodes >= 0) & (begins + k + 1 < stops)
            rest = (tf.boolean_mask(x, goes_on) for x in (begins, nodes, stops))
            return k + 1, *rest, found

        size = tf.size(characters)
        roots = tf.where(is_first, tf.constant(_FIRST, tf.int64), _NEXT)
        found = tf.zeros((size, 2), tf.int32)
        some = tf.TensorShape([None])
        return tf.while_loop(
            lambda k, begins, *_: tf.size(begins) > 0,
            step,
            (0, tf.range(size), roots, stops, found),
            (tf.TensorShape([]), some, some, some, tf.TensorShape([None, 2])),
        )[-1]

    def _follow(self, starts, sizes, lengths):
        """Goes through words from piece to piece. Returns: whether a piece begins at a character,
        bool (M,), and whether a word is made of pieces, bool (W,)."""

        def step(places, words, is_used, is_known):
            is_used = tf.tensor_scatter_nd_update(is_used, places[:, None], places >= 0)
            steps = tf.gather(lengths, places)
            places = places + steps
            is_known = tf.tensor_scatter_nd_update(is_known, words[:, None], steps > 0)
            goes_on = (steps > 0) & (places < tf.gather(stops, words))
            rest = (tf.boolean_mask(x, goes_on) for x in (places, words))
            return *rest, is_used, is_known

        stops, is_short = starts + sizes, sizes <= MAX_WORD_CHARACTERS
        short = tf.cast(tf.where(is_short)[:, 0], tf.int32)
        some = tf.TensorShape([None])
        return tf.while_loop(
            lambda places, *_: tf.size(places) > 0,
            step,
            (tf.gather(starts, short), short, tf.zeros_like(lengths, tf.bool), is_short),
            (some, some, some, some),
        )[2:]


@functools.lru_cache(maxsize=2)
def _known_rows(do_lower_case, strip_accents, by_words):
    """Asks the reference about every code point.

    Returns: list of (what becomes of it, whether words end beside it, what it is to a sigma), and
        for each code point its place in the list, int32.
    """
    basic = BasicTokenizer(do_lower_case, strip_accents)
    cut = basic.word_tokens if by_words else basic.tokens
    rows, numbers = {("", False, _SKIPPED): 0}, np.zeros(sys.maxunicode + 1, np.int32)
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if unicodedata.category(char) in ("Cn", "Co", "Cs"):  # all dropped
            continue
        is_space = by_words and char.isspace()
        words = ["a", "b"] if is_space else cut(f"a{char}b")
        text, is_border = "".join(words)[1:-1], len(words) > 1
        kind = _kind(char) if do_lower_case and (text or is_border) else _SKIPPED
        numbers[code] = rows.setdefault((text, is_border, kind), len(rows))
    return list(rows), numbers


def _decoded(texts):
    """Returns the code points of texts, RaggedTensor (B, code points). A line end behind each ends
    its last word, and is nothing to a sigma in the next text."""
    return tf.strings.unicode_decode(tf.strings.join([texts, "\n"]), "UTF-8")


def _kind(char):
    """Returns what a character is to a sigma near it, as Python sees it."""
    if f"{char}Σ".lower()[-1] == "ς":
        return _CASED
    return _SKIPPED if f"a{char}Σ".lower()[-1] == "ς" else _OTHER


def _check_marks(vocab):
    """Refuses pieces with marks that are no accents and that Unicode sorts among each other.

    They are signs of musical notation and tone marks of Old Korean.
    """
    marks = {c for token in vocab.ids for c in token if unicodedata.category(c) != "Mn"}
    marks = {c for c in marks if unicodedata.combining(c)}
    if len({unicodedata.combining(c) for c in marks}) > 1:
        listed = " ".join(f"U+{ord(c):04X}" for c in sorted(marks))
        raise ValueError(
            f"The vocabulary has combining marks that Unicode sorts ({listed}), which the graph's "
            "tokenizer does not. Serve it with electra.load instead"
        )
