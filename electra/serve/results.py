"""What a loaded model returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


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
