"""What is given to a loaded model: any iterable of texts or rows enters, features leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from electra.data.features import Features, collect
from electra.text.vocab import Vocabulary
from electra.text.wordpiece import WordPieceTokenizer

MASK = "[MASK]"
BATCH_SIZE = 32  # texts of max_seq_length at once; more of shorter ones
HYPOTHESIS = "This example is {}."  # of zero_shot, unless another is given
Text = str | Sequence[str]  # a text, or a pair of texts


class TextError(ValueError):
    """A text that cannot be used: `problem` says why, `number` which of those given it is."""

    def __init__(self, number: int, problem: str):
        super().__init__(f"Text {number} {problem}")
        self.number, self.problem = number, problem


def listed(values: Iterable[Any]) -> list[Any]:
    """Returns values as a list; a table of pandas row by row.

    Raises:
        ValueError: they are no iterable of texts.
    """
    if hasattr(values, "itertuples"):
        return list(values.itertuples(index=False, name=None))
    if isinstance(values, bytes | dict) or not isinstance(values, Iterable):
        raise ValueError(
            f"Texts must be a string, or a list or other iterable. Received: {values!r:.80}"
        )
    return list(values)


def texts_of(texts: str | Iterable[Text], pairs: bool = True) -> tuple[list[Any], bool]:
    """Checks texts.

    Args:
        texts: str, or an iterable of str and, with `pairs`, of pairs of str.
    Returns: (list of texts, whether it was one string).
    Raises:
        TextError: a text is none.
    """
    given = [texts] if isinstance(texts, str) else listed(texts)
    for number, text in enumerate(given):
        is_pair = isinstance(text, tuple | list) and len(text) == 2
        is_pair = is_pair and all(isinstance(part, str) for part in text)
        if not (isinstance(text, str) or (pairs and is_pair)):
            expected = "a string or a pair of strings" if pairs else "a string"
            raise TextError(number, f"must be {expected}. Received: {text!r:.80}")
    return given, isinstance(texts, str)


def collected(features: Iterable[dict[str, Any]]) -> Features:
    """Makes Features of dicts, numbered as they come."""
    return collect({"example": i, **feature} for i, feature in enumerate(features))


def framed(vocab: Vocabulary, ids: list[int]) -> dict[str, Any]:
    """Returns the features of one text of these ids, [CLS] and [SEP] around it."""
    from electra.finetune.families.base import build_inputs

    return build_inputs(vocab, ids, None)


def text_features(
    texts: list[Text], tokenizer: WordPieceTokenizer, max_seq_length: int
) -> Features:
    """Returns the features of texts and pairs, cut to max_seq_length."""
    from electra.finetune.families.text import TextExample, featurize_texts

    pairs = ((text, None) if isinstance(text, str) else text for text in texts)
    return collected(
        featurize_texts(TextExample("", first, second, None), tokenizer, max_seq_length)
        for first, second in pairs
    )


def windows_of(
    texts: list[str], tokenizer: WordPieceTokenizer, max_seq_length: int
) -> tuple[list[list[int]], list[int]]:
    """Cuts texts into windows that fit beside [CLS] and [SEP].

    Returns: (ids of each window, the number of the text that it is of).
    Raises:
        TextError: a text has no tokens.
    """
    windows: list[list[int]] = []
    owners: list[int] = []
    size = max_seq_length - 2
    for number, text in enumerate(texts):
        ids = tokenizer.encode(text)
        if not ids:
            raise TextError(number, f"has no tokens. Received: {text!r:.80}. Give some words")
        windows += [ids[start : start + size] for start in range(0, len(ids), size)]
        owners += [number] * (len(windows) - len(owners))
    return windows, owners


def masked_rows(
    texts: list[str], tokenizer: WordPieceTokenizer, max_seq_length: int
) -> tuple[list[dict[str, Any]], list[int]]:
    """Returns a row of features for each [MASK], and how many of them each text has.

    Raises:
        TextError: a text has no [MASK], or does not fit.
    """
    rows: list[dict[str, Any]] = []
    counts: list[int] = []
    mask_id, size = tokenizer.vocab.mask_id, max_seq_length - 2
    for number, text in enumerate(texts):
        first, *parts = (tokenizer.encode(part) for part in text.split(MASK))
        ids = first + [id_ for part in parts for id_ in (mask_id, *part)]
        places = [place for place, id_ in enumerate(ids, 1) if id_ == mask_id]
        if not places or len(ids) > size:
            problem = f"{len(ids)} tokens, more than the {size} that fit"
            raise TextError(
                number,
                f"has {problem if places else f'no {MASK}'}. Received: {text!r:.80}. Expected: a "
                f"text of few words with {MASK} in it",
            )
        counts.append(len(places))
        rows += [{**framed(tokenizer.vocab, ids), "masked_place": place} for place in places]
    return rows, counts
