"""What a loaded model returns, and the best of it, which is shown."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

SHOWN = 5  # labels or answers of a text


class TokenScore(NamedTuple):
    """A word piece, and the probability, 0 to 1, that it replaced another."""

    token: str
    score: float


class Guess(NamedTuple):
    """A word piece for a masked place, and its probability."""

    token: str
    probability: float


class TokenVectors(NamedTuple):
    """The word pieces of a text, [CLS] and [SEP] among them, and their vectors, float32 (L, H)."""

    tokens: list[str]
    vectors: np.ndarray


def best_labels(answer: dict[str, Any]) -> list[tuple[str, float]]:
    """Returns the labels of a prediction with their probabilities, best first."""
    return sorted(answer["probabilities"].items(), key=lambda item: -item[1])


def best_answers(answer: dict[str, Any]) -> list[tuple[str, float]]:
    """Returns the best answers to a question, SHOWN of them, with their probabilities."""
    return [(each["text"], each["probability"]) for each in answer["n_best"][:SHOWN]]
