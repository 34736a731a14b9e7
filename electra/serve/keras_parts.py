"""The network of a loaded model, and what of it a Keras model of one's own is made of.

Enters: texts. Leaves: arrays of ids, and the layer that reads them; outputs of the network.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from electra.features import RECORD_FEATURES
from electra.model.config import EncoderConfig
from electra.serve.inputs import Text, text_features, texts_of
from electra.serve.opening import Opened
from electra.text.vocab import Vocabulary
from electra.text.wordpiece import WordPieceTokenizer

_PROGRESS_FROM = 1000  # texts; fewer are not worth a bar


class KerasParts:
    """The part of LoadedModel that holds the network, and that a keras.Model is built with."""

    config: EncoderConfig
    tokenizer: WordPieceTokenizer
    vocab: Vocabulary
    max_seq_length: int
    _opened: Opened
    _placement: Any
    _streaming: bool

    @property
    def encoder(self) -> Any:
        """The encoder, a Keras layer; of a pre-trained model the discriminator's.

        Its input is what `tokenize` returns, its output the last hidden states, (n, L, H), in
        the compute dtype. Training it changes this model too; it has no dropout where it is
        called without a seed, `encoder(inputs, seed=electra.random.Seed)`.

        >>> model.encoder(model.tokenize(["It rained."])).shape == (1, 5, model.config.hidden_size)
        True
        """
        return self._network.electra

    def tokenize(
        self, texts: str | Iterable[Text], max_seq_length: int | None = None
    ) -> dict[str, np.ndarray]:
        """Turns texts into the encoder's inputs, [CLS] and [SEP] around them.

        Args:
            texts: n of them, or one; each may be a pair.
            max_seq_length: tokens at most, what is longer is cut; None for the model's own.
        Returns: dict of int32 (n, L) input_ids, input_mask, segment_ids; L is the longest
            text's number of tokens, and of shorter ones the mask is 0 at the end.
        Raises:
            ValueError: a text is none, or max_seq_length leaves it no place.

        >>> inputs = model.tokenize(["It rained.", "It was the chef who ate it."])
        >>> inputs["input_mask"].sum(axis=1).tolist()
        [5, 10]
        """
        limit = self.max_seq_length if max_seq_length is None else max_seq_length
        if not (type(limit) is int and 4 <= limit <= self.config.max_position_embeddings):
            raise ValueError(
                f"max_seq_length must be 4 to {self.config.max_position_embeddings}, the model's "
                f"positions. Received: {limit!r}"
            )
        texts, _ = texts_of(texts)
        if not texts:
            return {name: np.zeros((0, 0), np.int32) for name in RECORD_FEATURES}
        features = text_features(texts, self.tokenizer, limit)
        leave = ("example",)
        padded = features.padded(range(len(texts)), int(features.lengths().max()), leave)
        return {name: padded[name] for name in RECORD_FEATURES}

    @functools.cached_property
    def _network(self) -> Any:
        with self._placement.strategy.scope():
            return self._opened.build(self._placement.dtype)

    @functools.cached_property
    def _predictor(self) -> Any:
        from electra.predictor import Predictor

        return Predictor(self._network.electra, self._placement, self._streaming)

    def _run(
        self, name: str, compute: Callable[..., Any], features: Any, batch_size: int
    ) -> dict[str, Any]:
        return self._predictor.run(
            (name, ""),
            compute,
            features,
            batch_size=batch_size,
            leave=("example",),
            max_seq_length=self.max_seq_length,
            progress=self._progress(features),
        )

    def _progress(self, rows: Any) -> str:
        return "texts" if not self._streaming and len(rows) >= _PROGRESS_FROM else ""

    def _token(self, id_: int) -> str:
        return self.vocab.tokens[id_] if id_ < len(self.vocab) else f"#{id_}"
