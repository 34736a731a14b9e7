"""`electra.load`: a trained model by its folder or checkpoint, and what one does with it.

Enters: texts. Leaves: vectors, scores of replaced tokens, guesses for masked tokens, predictions.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from electra.finetune.tasks import Task
from electra.model.config import EncoderConfig
from electra.serve.inputs import (
    Text,
    collected,
    framed,
    listed,
    masked_rows,
    text_features,
    texts_of,
    windows_of,
)
from electra.serve.opening import Opened, checked, open_model
from electra.serve.results import Guess, TokenScore, TokenVectors
from electra.text.vocab import Vocabulary
from electra.text.wordpiece import WordPieceTokenizer

BATCH_SIZE = 32  # texts of max_seq_length at once; more of shorter ones
_PROGRESS_FROM = 1000  # texts; fewer are not worth a bar


def load(
    path: str | os.PathLike,
    *,
    vocab_file: str | os.PathLike | None = None,
    hparams: dict[str, Any] | None = None,
    precision: str = "auto",
    strategy: str = "auto",
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
    return LoadedModel(opened, choose_placement(**checked(strategy=strategy, precision=precision)))


class LoadedModel:
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

    def __init__(self, opened: Opened, placement: Any):
        self.config: EncoderConfig = opened.config.encoder
        self.tokenizer: WordPieceTokenizer = opened.tokenizer
        self.vocab: Vocabulary = opened.tokenizer.vocab
        self.hparams: dict[str, Any] = opened.hparams
        self.step: int = opened.checkpoint.step
        self.tasks: dict[str, Task] = opened.tasks
        self.max_seq_length: int = opened.config.max_seq_length
        self._opened, self._placement = opened, placement

    def __repr__(self) -> str:
        kind = f"fine-tuned on {', '.join(self.tasks)}" if self.tasks else "pre-trained"
        return f"<LoadedModel {self._opened.path}, {kind}, step {self.step}>"

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
                f"{self._opened.path} holds {self._kind()}: it has no discriminator that scores a "
                "text by itself. Expected: a pre-trained model with electra_objective"
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
                f"{self._opened.path} holds {self._kind()}: it has no generator. Expected: a "
                "pre-trained model with one, or a masked LM"
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

    def predict(
        self, rows: str | Iterable[Any], task: str | None = None, *, batch_size: int = BATCH_SIZE
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Predicts with a fine-tuned model.

        Args:
            rows: n of them, or one as a string. Of classification and regression texts or pairs;
                of tagging sentences, as lists of words or as strings that are split at spaces; of
                question answering pairs (question, text).
            task: name; None where the model has one task only.
            batch_size: rows of max_seq_length at once.
        Returns: a dict for each row: id, its place; label and the probabilities of all labels;
            value; words and tags; or text, null_odds and the n_best answers.
        Raises:
            ValueError: the model is not fine-tuned, has no such task, or a row has another form.

        >>> model = electra.load("data/models/electra_small/finetuning_models/sst_model_1")
        >>> sorted(model.predict(["A fine film.", "A bore."])[0])
        ['id', 'label', 'probabilities']
        """
        from electra.data.features import collect
        from electra.finetune.families import get_family
        from electra.finetune.featurize import featurize
        from electra.finetune.readers import examples_of

        chosen = self._task(task)
        is_one = isinstance(rows, str)
        rows = [rows] if is_one else listed(rows)
        if not rows:
            return []
        examples = examples_of(chosen, rows)
        features = collect(
            featurize(chosen, examples, self.tokenizer, is_training=False, **self._sizes())
        )
        predictions, _ = self._task_predictor.predict(
            chosen, examples, features, batch_size, _progress(rows)
        )
        threshold = self.hparams.get("qa_na_threshold")
        answers = get_family(chosen.family).rows(chosen, examples, predictions, threshold)
        answers = [{"id": e.id, **answer} for e, answer in zip(examples, answers, strict=True)]
        return answers[0] if is_one else answers

    # ---- the network ------------------------------------------------------------------------

    @functools.cached_property
    def _network(self) -> Any:
        with self._placement.strategy.scope():
            return self._opened.build(self._placement.dtype)

    @functools.cached_property
    def _predictor(self) -> Any:
        from electra.predictor import Predictor

        return Predictor(self._network.electra, self._placement)

    @functools.cached_property
    def _task_predictor(self) -> Any:
        from electra.finetune.predictor import TaskPredictor

        return TaskPredictor(
            self._network,
            self._placement,
            self.tokenizer,
            max_seq_length=self.max_seq_length,
            **self._recorded("n_best_size", "max_answer_length"),
        )

    def _run(self, name: str, compute: Any, features: Any, batch_size: int) -> dict[str, list]:
        return self._predictor.run(
            (name, ""),
            compute,
            features,
            batch_size=batch_size,
            leave=("example",),
            max_seq_length=self.max_seq_length,
            progress=_progress(features),
        )

    # ---- tokens and tasks -------------------------------------------------------------------

    def _token(self, id_: int) -> str:
        return self.vocab.tokens[id_] if id_ < len(self.vocab) else f"#{id_}"

    def _task(self, name: str | None) -> Task:
        if not self.tasks:
            raise ValueError(
                f"{self._opened.path} holds {self._kind()}, fine-tuned on nothing. Expected: the "
                "folder of a trial, as <model>/finetuning_models/<task>_model_1. "
                "run_finetuning.py makes one"
            )
        if name is None and len(self.tasks) == 1:
            return next(iter(self.tasks.values()))
        if type(name) is not str or name not in self.tasks:
            raise ValueError(f"task must be one of {', '.join(self.tasks)}. Received: {name!r}")
        return self.tasks[name]

    def _sizes(self) -> dict[str, int]:
        sizes = self._recorded("max_query_length", "doc_stride")
        return {"max_seq_length": self.max_seq_length, **sizes}

    def _recorded(self, *names: str) -> dict[str, Any]:
        return {name: self.hparams[name] for name in names if name in self.hparams}

    def _kind(self) -> str:
        if self.tasks:
            return "a fine-tuned model"
        if not self._opened.has_heads:
            return "an encoder without heads"
        names = {"electric": "Electric", "mlm": "a masked LM"}
        return names.get(self._opened.config.objective, "a pre-trained model")


def _progress(rows: Any) -> str:
    return "texts" if len(rows) >= _PROGRESS_FROM else ""
