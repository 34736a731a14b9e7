"""What is given to a loaded model: any iterable of texts or rows enters, checked lists leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from electra.data.features import Features, collect

Text = str | Sequence[str]  # a text, or a pair of texts


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


def texts_of(texts: str | Iterable[Text], pairs: bool = True) -> tuple[list[Text], bool]:
    """Checks texts.

    Args:
        texts: str, or an iterable of str and, with `pairs`, of pairs of str.
    Returns: (list of texts, whether it was one string).
    Raises:
        ValueError: a text is none.
    """
    is_one = isinstance(texts, str)
    texts = [texts] if is_one else listed(texts)
    for number, text in enumerate(texts):
        is_pair = isinstance(text, tuple | list) and len(text) == 2
        is_pair = is_pair and all(isinstance(each, str) for each in text)
        if not (isinstance(text, str) or (pairs and is_pair)):
            expected = "a string or a pair of strings" if pairs else "a string"
            raise ValueError(f"Text {number} must be {expected}. Received: {text!r:.80}")
    return texts, is_one


def collected(features: Iterable[dict[str, Any]]) -> Features:
    """Makes Features of dicts, numbered as they come."""
    return collect({"example": i, **each} for i, each in enumerate(features))
