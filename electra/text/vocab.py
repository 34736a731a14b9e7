"""The vocabulary: reading one, and training one from raw text.

    python -m electra.text.vocab --corpus_dir text/ --vocab_size 50000 --output vocab.txt

Training cuts the text with the project's own `BasicTokenizer`, so that what is counted is what
will be looked up, and gives the words to Hugging Face `tokenizers`. The same text and flags give
the same bytes. Lines are streamed; the distinct words are what must fit in memory.

Libraries: absl, and tokenizers in training only.
"""

import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from absl import flags, logging

from electra import console, next_steps
from electra.cloud import mirror
from electra.cloud.files import fetched
from electra.cloud.urls import working_copy
from electra.features import SPECIAL_TOKENS
from electra.hparams import Config, Field
from electra.storage import excerpt, write_text
from electra.text.wordpiece import MAX_WORD_CHARACTERS, SUFFIX, BasicTokenizer

_MIN_FREQUENCY = 2  # a pair of pieces seen once is no pattern
_TOGETHER = 1 << 12  # words of a line given to the library, which keeps hundreds of texts waiting
_MAX_TOKENS = 10_000_000  # the library reserves memory for them at once
_EXPECTED = "Give a vocab.txt of one token a line, or train one: python -m electra.text.vocab"
_APART = frozenset(map(chr, range(0x300, 0x370)))  # accents that follow their letters
_MAX_BYTES = 1 << 27  # of a vocabulary file, well above that many tokens


class Vocabulary:
    """Tokens and their ids.

    Args:
        tokens: iterable of str; a token's place is its id. As in the official code a token that
            comes twice has its last place, and an empty line takes one.
        source: str, where the tokens came from, for messages.
    Attributes:
        tokens: tuple of str.
        ids: dict of str to int.
        sha256: str, hexadecimal digest of the tokens joined by newlines.
        pad_id, unk_id, cls_id, sep_id, mask_id: int.
    Raises:
        ValueError: a special token is missing.
    """

    def __init__(self, tokens: Iterable[str], source: str = "the vocabulary"):
        self.tokens = tuple(tokens)
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        missing = [token for token in SPECIAL_TOKENS if token not in self.ids]
        if missing:
            raise ValueError(f"{source} lacks {', '.join(missing)}. {_EXPECTED}")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self.ids[token] for token in SPECIAL_TOKENS
        )
        self.sha256 = hashlib.sha256("\n".join(self.tokens).encode("utf-8")).hexdigest()

    def __len__(self) -> int:
        return len(self.tokens)


def read_vocab(path: str | os.PathLike[str]) -> Vocabulary:
    """Reads a vocabulary file: UTF-8, one token a line, white space around it dropped.

    Args:
        path: str or Path; a URL is copied here first.
    Returns: Vocabulary.
    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is empty, too large, not UTF-8, or lacks a special token.
    """
    path = Path(fetched(os.fspath(path)))
    if not path.is_file():
        raise FileNotFoundError(f"Vocabulary file '{path}' does not exist. {_EXPECTED}")
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"Vocabulary file '{path}' has over {_MAX_BYTES} bytes. Is it a text?")
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            tokens = [line.strip() for line in lines]
    except UnicodeDecodeError as error:
        raise ValueError(f"Vocabulary file '{path}' is not UTF-8 ({error}). Convert it") from error
    if not any(tokens):
        raise ValueError(f"Vocabulary file '{path}' is empty. {_EXPECTED}")
    return Vocabulary(tokens, source=f"Vocabulary file '{path}'")


class VocabFlags(Config):
    """How a vocabulary is trained.

    Words with a character beyond character_coverage become [UNK], which costs less than a small
    vocabulary full of characters seen once.

    Raises:
        ValueError: an unknown flag or an impossible value.
    """

    prefix = "--"

    vocab_size = Field(50000, "Number of tokens.", above=len(SPECIAL_TOKENS), at_most=_MAX_TOKENS)
    do_lower_case = Field(True, "Lower-case the text.")
    strip_accents = Field(None, "Remove accents; by default as do_lower_case.", kinds=(bool,))
    corpus_fraction = Field(1.0, "Share of the lines to use.", above=0, at_most=1)
    character_coverage = Field(0.9999, "Share of characters to cover.", above=0, at_most=1)
    seed = Field(0, "Chooses the lines when corpus_fraction is below 1.")

    def __init__(self, **flags):
        self.fill(flags, {})


def train_vocab(read_lines, **flags):
    """Trains a WordPiece vocabulary.

    Args:
        read_lines: function without arguments that returns an iterator of str, the same lines at
            each call (the text is read twice: for its characters, then for its words).
        flags: those of VocabFlags.
    Returns:
        list of str: special tokens, alphabet, its continuations, then pieces in the order in which
        they were learned. Shorter than vocab_size, with a warning, if the text runs out of
        repeated pairs.
    Raises:
        ValueError: an impossible argument, no words, or an alphabet that does not fit.
    """
    config = VocabFlags(**flags)
    vocab_size, coverage = config.vocab_size, config.character_coverage
    tokenizer = BasicTokenizer(config.do_lower_case, config.strip_accents)

    def read_words(title):
        draw = random.Random(config.seed).random
        lines = console.bar(iterable=read_lines(), desc=f"counting {title}", unit=" lines")
        for line in lines:
            if config.corpus_fraction == 1 or draw() < config.corpus_fraction:
                yield [word for word in tokenizer.tokens(line) if len(word) <= MAX_WORD_CHARACTERS]

    alphabet, continuations, dropped = _alphabet(read_words("characters"), coverage)
    if dropped:
        logging.info(
            "%s left out, words with them become [UNK]: %s. --character_coverage 1 keeps all.",
            "1 rare character is" if len(dropped) == 1 else f"{len(dropped)} rare characters are",
            excerpt(" ".join(sorted(dropped))),
        )
    if not _APART.isdisjoint(alphabet):
        logging.warning(
            "Accents stand apart from their letters in this text, as in Unicode's NFD. Text in "
            "NFC, as most is, gets other tokens. Bring all text into one form before: "
            "unicodedata.normalize('NFC', line)"
        )
    # Naming the continuations here fixes their ids: the trainer would number them in the order
    # of a hash map, which differs from run to run, and break ties between pairs by it.
    fixed = [*SPECIAL_TOKENS, *continuations]
    if len(fixed) + len(alphabet) > vocab_size:
        raise ValueError(
            f"vocab_size {vocab_size} is too small for this text: {len(SPECIAL_TOKENS)} special "
            f"tokens, {len(alphabet)} characters and {len(continuations)} continuations. Raise it, "
            f"or lower --character_coverage (now {coverage})"
        )
    texts = (
        " ".join(word for word in words[i : i + _TOGETHER] if dropped.isdisjoint(word))
        for words in read_words("words")
        for i in range(0, len(words), _TOGETHER)
    )
    learned = _learn(texts, fixed, alphabet, vocab_size)
    known = {*fixed, *alphabet}
    tokens = [*SPECIAL_TOKENS, *alphabet, *continuations]
    tokens += [token for token in learned if token not in known]
    if len(tokens) < vocab_size:
        logging.warning(
            f"The text holds repeated pieces for {len(tokens)} tokens only; vocab_size is "
            f"{vocab_size}. The vocabulary is shorter, which pre-training learns from the "
            "records. More text gives more."
        )
    return tokens


def check_output(path, corpus_dir):
    """Refuses a vocabulary file that could not be written, before the text is counted.

    Raises:
        ValueError: no name, a folder, device or link to nothing, a place in corpus_dir (it would
            be read as text).
        OSError: its folder cannot be made or written to.
    """
    path = Path(path)
    if not path.name or (os.path.lexists(path) and not path.is_file()):
        raise ValueError(f"--output must be the name of a file. Received: {str(path)!r}")
    # Path.resolve fails at a link to itself.
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(corpus_dir)):
        raise ValueError(f"--output {path} lies in --corpus_dir {corpus_dir}. Choose another place")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"--output {path}: {path.parent} may not be written to.")


def write_vocab(path, tokens):
    """Writes a vocabulary file, one token a line; it appears whole or not at all."""
    write_text(path, "".join(f"{token}\n" for token in tokens))


def _alphabet(lines_of_words, coverage):
    """Chooses the characters to keep: ASCII, then the most frequent.

    Returns:
        (alphabet, continuations, dropped): sorted list of characters; sorted list of "##" and a
        character, for those seen inside a word; set of the characters left out.
    """
    counts, inside = Counter(), set()
    for words in lines_of_words:
        counts.update("".join(words))
        inside.update("".join([word[1:] for word in words]))
    if not counts:
        raise ValueError("The text has no words. Expected: more lines, or a larger corpus_fraction")
    needed = coverage * sum(counts.values())
    # ASCII stays whatever its share: digits are rare in novels, not in what a model reads later.
    kept = {char for char in counts if char.isascii()}
    covered = sum(counts[char] for char in kept)
    for char, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if covered >= needed:
            break
        if char not in kept:
            kept.add(char)
            covered += count
    return sorted(kept), [SUFFIX + char for char in sorted(inside & kept)], set(counts) - kept


def _learn(texts, fixed, alphabet, vocab_size):
    """Runs the library's trainer; returns its tokens in the order of their ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=fixed,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=SUFFIX,
        show_progress=console.is_terminal(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = tokenizer.get_vocab(with_added_tokens=True)
    return sorted(ids, key=ids.get)


def main(_):
    """Trains a vocabulary as the flags say and writes it."""
    values = flags.FLAGS
    from electra.data.corpus import iter_lines

    console.log_info()
    output = working_copy(values.output)
    check_output(output, values.corpus_dir)
    logging.info("Training a vocabulary of %d on %s.", values.vocab_size, values.corpus_dir)
    tokens = train_vocab(
        lambda: iter_lines(values.corpus_dir, values.jsonl_field),
        **{name: values[name].value for name in VocabFlags.fields},
    )
    write_vocab(output, tokens)
    mirror.push_file(output)
    logging.info("Wrote %d tokens to %s.", len(tokens), values.output)
    shared = ("do_lower_case", "strip_accents", "jsonl_field")
    given = {name: values[name].value for name in shared if not values[name].using_default_value}
    next_steps.after_vocab(values.corpus_dir, values.output, given)


if __name__ == "__main__":
    from electra.cli import define_flags, run_command

    flags.DEFINE_string("corpus_dir", None, "Folder with the text files.", required=True)
    flags.DEFINE_string("output", "vocab.txt", "File to write.")
    flags.DEFINE_string("jsonl_field", "text", "Field of a .jsonl line that holds the text.")
    define_flags(VocabFlags.fields)
    run_command(main, ("do_lower_case", "strip_accents"))
