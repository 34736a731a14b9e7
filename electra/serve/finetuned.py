"""What a fine-tuned model does: it predicts its tasks, and sorts texts into labels it never met.

Enters: rows or texts, as electra.serve.model.LoadedModel takes them. Leaves: dicts, one a row.
Uses scipy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, overload

import numpy as np

from electra.finetune.families import CLASSIFICATION
from electra.finetune.tasks import Task
from electra.hparams import refuse_unknown
from electra.serve.inputs import BATCH_SIZE, HYPOTHESIS, TextError, listed, texts_of
from electra.serve.opening import Opened


class Inference(NamedTuple):
    """A task of natural language inference, and the ids of two of its labels.

    Attributes: task: Task; entailment: int; contradiction: int, None where no label is called so.
    """

    task: Task
    entailment: int
    contradiction: int | None


class Finetuned:
    """The tasks of a loaded model.

    Args:
        opened: Opened; without tasks every method raises ValueError.
        network: function without arguments that returns its FinetuningModel.
        placement: electra.train.strategy.Placement.
        streaming: as load takes it.
    """

    def __init__(self, opened: Opened, network: Callable[[], Any], placement: Any, streaming: bool):
        self._opened, self._network = opened, network
        self._placement, self._streaming = placement, streaming

    def predict(
        self, rows: Any, name: str | None, batch_size: int, progress: Callable[[Any], str]
    ) -> Any:
        """See LoadedModel.predict. `progress` names the bar of so many rows."""
        from electra.finetune.families import get_family

        task = self.task(name)
        is_one = isinstance(rows, str)
        rows = [rows] if is_one else listed(rows)
        if not rows:
            return []
        examples, features = self._features(task, rows)
        if not features.columns:  # of a text without words no question is answered
            raise TextError(0, f"has no words. Received: {rows[0]!r:.80}. Give some")
        predictions, _ = self._predictor.predict(
            task, examples, features, batch_size, progress(rows)
        )
        threshold = self._opened.hparams.get("qa_na_threshold")
        answers = get_family(task.family).rows(task, examples, predictions, threshold)
        answers = [{"id": e.id, **answer} for e, answer in zip(examples, answers, strict=True)]
        return answers[0] if is_one else answers

    def zero_shot(
        self,
        texts: Any,
        labels: Iterable[str],
        template: str,
        multi_label: bool,
        inference: Inference,
        batch_size: int,
        progress: Callable[[Any], str],
    ) -> Any:
        """See LoadedModel.zero_shot."""
        from electra.finetune.families import base

        texts, is_one = texts_of(texts, pairs=False)
        labels, by_itself = _checked_labels(labels, template), multi_label
        if multi_label and inference.contradiction is None:
            raise ValueError(
                f"Task {inference.task.name!r} has no label called contradiction, against which "
                f"each label is judged. It has: {', '.join(inference.task.labels)}. Name the one "
                "that means it with contradiction_label, or leave multi_label out"
            )
        if len(labels) == 1 and inference.contradiction is not None:
            by_itself = True  # softmax over one label tells nothing
        if not texts:
            return []
        pairs = [(text, template.replace("{}", label)) for text in texts for label in labels]
        _, features = self._features(inference.task, pairs)
        outputs = self._predictor.outputs(inference.task, features, batch_size, progress(pairs))
        logits = np.stack(outputs["logits"]).reshape(len(texts), len(labels), -1)
        if by_itself:
            both: Any = [inference.entailment, inference.contradiction]
            scores = base.softmax(logits[..., both])[..., 0]
        else:
            scores = base.softmax(logits[..., inference.entailment])  # over the labels
        answers = [
            {"id": str(number), **_sorted_labels(labels, row, multi_label)}
            for number, row in enumerate(scores)
        ]
        return answers[0] if is_one else answers

    def task(self, name: str | None) -> Task:
        """Returns a task; None names the only one. Raises: ValueError."""
        path, tasks = self._opened.path, self._opened.tasks
        if not tasks:
            raise ValueError(
                f"{path} holds {self._opened.kind()}, fine-tuned on nothing. Expected: the "
                "folder of a trial, as <model>/finetuning_models/<task>_model_1. "
                "run_finetuning.py makes one"
            )
        if name is None and len(tasks) == 1:
            return next(iter(tasks.values()))
        if type(name) is not str or name not in tasks:
            raise ValueError(f"task must be one of {', '.join(tasks)}. Received: {name!r}")
        return tasks[name]

    def inference(
        self, name: str | None, entailment: str | None, contradiction: str | None
    ) -> Inference:
        """Finds a task's labels of natural language inference.

        Args: name: as in `task`; entailment, contradiction: labels, None for those called so.
        Raises:
            ValueError: the task has no label called so, or none as given.
        """
        task = self.task(name)
        labels = task.labels if task.family == CLASSIFICATION else ()
        for given in filter(None, (entailment, contradiction)):
            refuse_unknown([given], labels, f"Task {task.name!r}: label")
        entailment = entailment or next((x for x in labels if x.lower().startswith("entail")), None)
        if entailment is None:
            has = f"labels: {', '.join(labels)}" if labels else f"family: {task.family}"
            raise ValueError(
                f"Task {task.name!r} tells no entailment ({has}). Expected: a model fine-tuned on "
                "mnli, xnli, ocnli or such; name the label that means it with entailment_label"
            )
        others = [label for label in labels if label != entailment]
        if contradiction is None:
            named = [x for x in others if x.lower().startswith(("contradict", "not_entail"))]
            contradiction = next(iter(named or (others if len(others) == 1 else ())), None)
        against = None if contradiction is None else task.label_ids[contradiction]
        return Inference(task, task.label_ids[entailment], against)

    @functools.cached_property
    def _predictor(self) -> Any:
        from electra.finetune.predictor import TaskPredictor

        return TaskPredictor(
            self._network(),
            self._placement,
            self._opened.tokenizer,
            max_seq_length=self._opened.config.max_seq_length,
            few_shapes=self._streaming,
            **self._recorded("n_best_size", "max_answer_length"),
        )

    def _features(self, task: Task, rows: list[Any]) -> tuple[list[Any], Any]:
        from electra.data.features import collect
        from electra.finetune.featurize import featurize
        from electra.finetune.readers import examples_of

        examples, tokenizer = examples_of(task, rows), self._opened.tokenizer
        sizes = {"max_seq_length": self._opened.config.max_seq_length}
        sizes |= self._recorded("max_query_length", "doc_stride")
        return examples, collect(featurize(task, examples, tokenizer, is_training=False, **sizes))

    def _recorded(self, *names: str) -> dict[str, Any]:
        hparams = self._opened.hparams
        return {name: hparams[name] for name in names if name in hparams}


class FinetunedMethods:
    """The part of LoadedModel that fine-tuned models have."""

    _finetuned: Finetuned
    _progress: Callable[[Any], str]

    @overload
    def predict(
        self, rows: str, task: str | None = ..., *, batch_size: int = ...
    ) -> dict[str, Any]: ...
    @overload
    def predict(
        self, rows: Iterable[Any], task: str | None = ..., *, batch_size: int = ...
    ) -> list[dict[str, Any]]: ...
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
        return self._finetuned.predict(rows, task, batch_size, self._progress)

    def task(self, name: str | None = None) -> Task:
        """Returns the task of a name, None for the only one. Raises: ValueError."""
        return self._finetuned.task(name)

    @overload
    def zero_shot(
        self,
        texts: str,
        labels: Iterable[str],
        hypothesis_template: str = ...,
        multi_label: bool = ...,
        task: str | None = ...,
        *,
        entailment_label: str | None = ...,
        contradiction_label: str | None = ...,
        batch_size: int = ...,
    ) -> dict[str, Any]: ...
    @overload
    def zero_shot(
        self,
        texts: Iterable[str],
        labels: Iterable[str],
        hypothesis_template: str = ...,
        multi_label: bool = ...,
        task: str | None = ...,
        *,
        entailment_label: str | None = ...,
        contradiction_label: str | None = ...,
        batch_size: int = ...,
    ) -> list[dict[str, Any]]: ...
    def zero_shot(
        self,
        texts: str | Iterable[str],
        labels: Iterable[str],
        hypothesis_template: str = HYPOTHESIS,
        multi_label: bool = False,
        task: str | None = None,
        *,
        entailment_label: str | None = None,
        contradiction_label: str | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Sorts texts into labels that the model was not trained on, by natural language inference.

        Does a text entail "This example is sports."? Each text makes a pair with each label.

        Args:
            texts: n of them, or one.
            labels: words or phrases, each once.
            hypothesis_template: a sentence in the texts' language, {} in place of the label.
            multi_label: whether each label is judged by itself.
            task: name; None where the model has one task only. One that tells entailment, such as
                mnli, xnli, ocnli or rte.
            entailment_label, contradiction_label: of the task; None for those called so.
            batch_size: pairs of max_seq_length at once.
        Returns: a dict for each text: id, its place; label, the best one, and the probabilities of
            all labels, best first: softmax over the labels' entailment logits. With multi_label
            labels, those above a half, and each label's softmax of entailment against
            contradiction, as for one label alone.
        Raises:
            ValueError: the model is not fine-tuned, its task tells no entailment, or labels or
                template have another form.
        Source: Yin et al. 2019, section 5; ZeroShotClassificationPipeline of transformers.

        >>> model = electra.load("data/models/electra_small/finetuning_models/mnli_model_1")
        >>> sorted(model.zero_shot("The team won.", ["sports", "cooking"]))
        ['id', 'label', 'probabilities']
        """
        return self._finetuned.zero_shot(
            texts,
            labels,
            hypothesis_template,
            multi_label,
            self._finetuned.inference(task, entailment_label, contradiction_label),
            batch_size,
            self._progress,
        )


def _checked_labels(labels: Iterable[str], template: str) -> list[str]:
    labels = [] if isinstance(labels, str) else listed(labels)
    is_right = all(isinstance(label, str) and label.strip() for label in labels)
    if not labels or not is_right or len(set(labels)) < len(labels):
        raise ValueError(
            "labels must be a list of one or more strings, each once and none empty. Received: "
            f"{labels!r:.80}"
        )
    if not isinstance(template, str) or "{}" not in template:
        raise ValueError(
            "hypothesis_template must be a sentence with {} in place of the label. Received: "
            f"{template!r:.80}"
        )
    return labels


def _sorted_labels(labels: list[str], scores: np.ndarray, multi_label: bool) -> dict[str, Any]:
    from electra.finetune.families import base

    best = np.argsort(-scores, kind="stable")
    chosen = {labels[i]: base.short(scores[i]) for i in best}
    if multi_label:
        return {"labels": [x for x, p in chosen.items() if p > 0.5], "probabilities": chosen}
    return {"label": labels[best[0]], "probabilities": chosen}
