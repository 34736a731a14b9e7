"""`electra.load`: a trained model by its folder or checkpoint, and what one does with it.

Enters: texts. Leaves: vectors, scores of replaced tokens, guesses for masked tokens; of a
fine-tuned model predictions, which finetuned.py makes.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterable
from typing import Any, Literal, overload

import numpy as np

from electra.finetune.tasks import Task
from electra.model.config import EncoderConfig
from electra.serve.finetuned import Finetuned, FinetunedMethods
from electra.serve.inputs import (
    BATCH_SIZE,
    Text,
    collected,
    framed,
    masked_rows,
    text_features,
    texts_of,
    windows_of,
)
from electra.serve.keras_parts import KerasParts
from electra.serve.opening import Opened, checked, open_model
from electra.serve.results import Guess, TokenScore, TokenVectors
from electra.text.vocab import Vocabulary
from electra.text.wordpiece import WordPieceTokenizer


def load(
    path: str | os.PathLike[str],
    *,
    vocab_file: str | os.PathLike[str] | None = None,
    hparams: dict[str, Any] | None = None,
    precision: str = "auto",
    strategy: str = "auto",
    streaming: bool = False,
) -> LoadedModel:
    """Opens a trained model.

    Args:
        path: folder of a run (D/models/M, or a trial of a fine-tuned model below its
            finetuning_models), a checkpoint of ours or of the official code (TF1), a folder of
            Hugging Face (ELECTRA, a pair of them, BERT), or a preset of KerasHub.
        vocab_file: None for vocab.txt beside the checkpoint.
        hparams: hparams that win over the recorded ones. A TF1 checkpoint alone tells its sizes
            only: {"do_lower_case": False} for a cased one.
        precision, strategy: the hparams of these names.
        streaming: whether many calls follow, each with a part of a long input. No bars are shown,
            and batches are padded to few shapes: programs stay few, and so does their memory.
    Returns: LoadedModel.
    Raises:
        FileNotFoundError: no checkpoint, or no vocabulary.
        ValueError: something is damaged or does not fit together.

    >>> import electra
    >>> model = electra.load("data/models/electra_small")
    >>> model.encode("The chef ate the meal.").shape == (model.config.hidden_size,)
    True
    """
    from electra.cli import import_tensorflow_quietly, make_tensorflow_quiet

    make_tensorflow_quiet()
    import_tensorflow_quietly()
    from electra.train.strategy import choose_placement

    opened = open_model(path, vocab_file, hparams)
    placement = choose_placement(**checked(strategy=strategy, precision=precision))
    return LoadedModel(opened, placement, streaming)


class LoadedModel(FinetunedMethods, KerasParts):
    """A trained model with its vocabulary and, fine-tuned, its tasks; see `load`.

    Wherever texts are given, a list, a tuple, a pandas Series or any other iterable will do, and
    each text may be a pair (a tuple or list of two strings), as in `[("a", "b")]`. A string alone
    is one text, and what is returned is that of one text. Long inputs show a progress bar.

    Attributes:
        config: EncoderConfig of the encoder (of the discriminator).
        vocab: Vocabulary; tokenizer: WordPieceTokenizer.
        hparams: dict, the hparams of the run.
        step: updates that the checkpoint has seen.
        tasks: dict name -> Task; empty where the model is not fine-tuned.
        max_seq_length: tokens of a text that are read at most, [CLS] and [SEP] among them.
    """

    _POOLINGS = ("cls", "mean")

    def __init__(self, opened: Opened, placement: Any, streaming: bool = False):
        self.config: EncoderConfig = opened.config.encoder
        self.tokenizer: WordPieceTokenizer = opened.tokenizer
        self.vocab: Vocabulary = opened.tokenizer.vocab
        self.hparams: dict[str, Any] = opened.hparams
        self.step: int = opened.checkpoint.step
        self.tasks: dict[str, Task] = opened.tasks
        self.max_seq_length: int = opened.config.max_seq_length
        self._opened, self._placement, self._streaming = opened, placement, streaming
        self._finetuned = Finetuned(opened, lambda: self._network, placement, streaming)

    def __repr__(self) -> str:
        kind = f"fine-tuned on {', '.join(self.tasks)}" if self.tasks else "pre-trained"
        return f"<LoadedModel {self._opened.path}, {kind}, step {self.step}>"

    @overload
    def encode(
        self,
        texts: str | Iterable[Text],
        *,
        pooling: str = ...,
        per_token: Literal[False] = ...,
        batch_size: int = ...,
    ) -> np.ndarray: ...
    @overload
    def encode(
        self, texts: str, *, per_token: Literal[True], batch_size: int = ...
    ) -> TokenVectors: ...
    @overload
    def encode(
        self, texts: Iterable[Text], *, per_token: Literal[True], batch_size: int = ...
    ) -> list[TokenVectors]: ...
    def encode(
        self,
        texts: str | Iterable[Text],
        *,
        pooling: str = "cls",
        per_token: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> np.ndarray | TokenVectors | list[TokenVectors]:
        """Turns texts into vectors; what is longer than max_seq_length is cut.

        Args:
            texts: n of them, or one.
            pooling: "cls" for the last hidden state of [CLS]; "mean" for the mean over all
                tokens of a text, [CLS] and [SEP] among them.
            per_token: whether to return the vectors of all tokens instead.
            batch_size: texts of max_seq_length at once.
        Returns: float32 (n, H), of one text (H,); per token a TokenVectors of each text.

        >>> model.encode(["The chef ate the meal.", "It rained."]).shape[0]
        2
        >>> tokens, vectors = model.encode("It rained.", per_token=True)
        >>> tokens, len(vectors)
        (['[CLS]', 'it', 'rained', '.', '[SEP]'], 5)
        """
        from electra.serve import forward

        if pooling not in self._POOLINGS:
            raise ValueError(f'pooling must be "cls" or "mean". Received: {pooling!r:.80}')
        texts, is_one = texts_of(texts)
        if not texts:
            return [] if per_token else np.zeros((0, self.config.hidden_size), np.float32)
        features = text_features(texts, self.tokenizer, self.max_seq_length)
        name = "states" if per_token else pooling
        compute = functools.partial(forward.encode, self._network, output=name)
        vectors = self._run(name, compute, features, batch_size)[name]
        if per_token:
            rows = [features.row(i)["input_ids"] for i in range(len(texts))]
            vectors = [
                TokenVectors([self._token(i) for i in ids], states[: len(ids)])
                for ids, states in zip(rows, vectors, strict=True)
            ]
            return vectors[0] if is_one else vectors
        return vectors[0] if is_one else np.stack(vectors)

    @overload
    def detect(self, texts: str, *, batch_size: int = ...) -> list[TokenScore]: ...
    @overload
    def detect(self, texts: Iterable[str], *, batch_size: int = ...) -> list[list[TokenScore]]: ...
    def detect(
        self, texts: str | Iterable[str], *, batch_size: int = BATCH_SIZE
    ) -> list[TokenScore] | list[list[TokenScore]]:
        """Tells how likely each token of a text is not the original one.

        Args:
            texts: n of them, or one; a text longer than max_seq_length is cut into windows that
                do not see each other.
            batch_size: windows of max_seq_length at once.
        Returns: for each text a list of TokenScore. The discriminator met one replacement in about
            seven tokens.
        Raises:
            ValueError: the model has no discriminator that scores a text by itself, or a text has
                no tokens.

        >>> [token for token, score in model.detect("The chef ate the meal.")]
        ['the', 'chef', 'ate', 'the', 'meal', '.']
        """
        from electra.serve import forward

        if self.tasks or self._opened.config.objective != "electra":
            raise ValueError(
                f"{self._opened.path} holds {self._opened.kind()}: it has no discriminator that "
                "scores a text by itself. Expected: a pre-trained model with electra_objective"
            )
        texts, is_one = texts_of(texts, pairs=False)
        windows, owners = windows_of(texts, self.tokenizer, self.max_seq_length)
        scores: list[list[TokenScore]] = [[] for _ in texts]
        if not texts:
            return scores
        features = collected(framed(self.vocab, window) for window in windows)
        compute = functools.partial(forward.detect, self._network)
        rows = self._run("scores", compute, features, batch_size)["scores"]
        for owner, window, row in zip(owners, windows, rows, strict=True):
            for id_, score in zip(window, row[1:], strict=False):  # position 0 is [CLS]
                scores[owner].append(TokenScore(self.vocab.tokens[id_], float(score)))
        return scores[0] if is_one else scores

    @overload
    def fill_mask(
        self, texts: str, top_k: int = ..., *, batch_size: int = ...
    ) -> list[list[Guess]]: ...
    @overload
    def fill_mask(
        self, texts: Iterable[str], top_k: int = ..., *, batch_size: int = ...
    ) -> list[list[list[Guess]]]: ...
    def fill_mask(
        self, texts: str | Iterable[str], top_k: int = 5, *, batch_size: int = BATCH_SIZE
    ) -> list[list[Guess]] | list[list[list[Guess]]]:
        """Guesses the tokens that [MASK] stands for: the generator's guesses, or a masked LM's.

        Args:
            texts: n of them, or one, with [MASK] once or more often.
            top_k: guesses for each.
            batch_size: masked texts of max_seq_length at once.
        Returns: for each text a list with, for each of its masks, the best guesses first.
        Raises:
            ValueError: the model has no generator, a text has no [MASK], or it does not fit.

        >>> (guesses,) = model.fill_mask("The [MASK] ate the meal.", top_k=2)
        >>> [type(token) for token, probability in guesses]
        [<class 'str'>, <class 'str'>]
        """
        from electra.serve import forward

        network = self._network
        if self.tasks or network.lm_head is None:
            raise ValueError(
                f"{self._opened.path} holds {self._opened.kind()}: it has no generator. Expected: "
                "a pre-trained model with one, or a masked LM"
            )
        if not (type(top_k) is int and 1 <= top_k <= self.config.vocab_size):
            raise ValueError(f"top_k must be 1 to {self.config.vocab_size}. Received: {top_k!r}")
        texts, is_one = texts_of(texts, pairs=False)
        features, counts = masked_rows(texts, self.tokenizer, self.max_seq_length)
        if not texts:
            return []
        compute = functools.partial(forward.fill_mask, network, top_k=top_k)
        outputs = self._run(f"top_{top_k}", compute, collected(features), batch_size)
        guesses = iter(
            [Guess(self._token(i), float(p)) for i, p in zip(*row, strict=True)]
            for row in zip(outputs["ids"], outputs["probabilities"], strict=True)
        )
        result = [list(itertools.islice(guesses, count)) for count in counts]
        return result[0] if is_one else result

    def export(self, output_dir: str | os.PathLike[str], **options: Any) -> str:
        """Writes a SavedModel for TensorFlow Serving: see electra.serve.export.export."""
        from electra.serve.export import export

        return export(self, output_dir, **options)
