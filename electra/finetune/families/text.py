"""Classification and regression of texts and pairs of texts.

Files: tsv, csv, JSON lines. Source: finetune/classification of the official code.
"""

import dataclasses
import json
import math

import numpy as np
from keras import ops

from electra.finetune import metrics
from electra.finetune.families import base
from electra.finetune.files import format_of, json_rows, table_rows
from electra.model import kernels
from electra.model.layers import Dense, float32, truncated_normal
from electra.storage import excerpt

OFFICIAL, HUGGING_FACE = "official", "huggingface"  # values of classifier_head


@dataclasses.dataclass(frozen=True, slots=True)
class TextExample:
    """A text or two with a label.

    Attributes:
        id: str, the file's own, else the number of the example.
        text_a, text_b: str; text_b is None for one text.
        label: str, or float (0..1) in regression; None where the file has none.
    """

    id: str
    text_a: str
    text_b: str | None
    label: str | float | None


class TextFamily(base.Family):
    """What families of texts share; a label is read by `read_label`."""

    def read(self, path, source, task, split, language):
        needs_label = not split.startswith("test")
        if format_of(path, source, task) == "jsonl":
            rows = json_rows(path, source.columns, needs_label)
        else:
            rows = table_rows(path, source, task, needs_label)
        examples = []
        for line, values in rows:
            if values.get("language", language) != language:
                continue
            where = f"{path}, line {line}"
            label = self.label_value(values.get("label"), task)
            if label in task.skipped_labels:
                continue
            if label is None and needs_label:
                raise ValueError(f"{where}: no label. Name its column, or take the line out")
            if label is not None:
                label = self.read_label(label, task, where)
            text_a, text_b = as_text(values["text_a"]), as_text(values.get("text_b"))
            if text_a is None:
                raise ValueError(f"{where}: no text. Mend the line, or take it out")
            if "target" in values:
                text_a = _mark_spans(text_a, values["target"], where)
            id = as_text(values.get("id", len(examples)))
            examples.append(TextExample(id, text_a, text_b, label))
        return examples

    def label_value(self, value, task):
        """Returns the label that a field or JSON value holds, None for none."""
        label = as_text(value)
        return task.label_aliases.get(label, label) or None

    def read_label(self, label, task, where):
        """Returns a label as the examples have it. Raises: ValueError."""
        raise NotImplementedError

    def label_features(self, task, label):
        """Returns dict name -> value of the features that hold a label, which may be None."""
        raise NotImplementedError

    def example(self, task, id, row):
        parts = (row,) if isinstance(row, str) else row
        if not base.are_strings(parts) or not 1 <= len(parts) <= 2:
            raise ValueError("a string, or a pair of strings")
        return TextExample(id, *parts, *[None] * (3 - len(parts)))

    def unit_of(self, example):
        return example.text_a, example.text_b

    def head_arguments(self, task, values):
        return {"num_labels": len(task.labels), **classifier_of(values)}

    def featurize(self, task, examples, tokenizer, *, max_seq_length, **_):
        for number, example in enumerate(examples):
            text = featurize_texts(example, tokenizer, max_seq_length)
            yield number, {**text, **self.label_features(task, example.label)}


class TextHead(base.Head):
    """Numbers for a text, of the last [CLS] vector.

    Args:
        task: as in Head; num_labels: how many.
        classifier_head: "official" is dropout and a linear layer, "huggingface" what
            ElectraForSequenceClassification has: dropout, dense, GELU, dropout, out_proj.
    """

    def __init__(self, task, num_labels, classifier_head=OFFICIAL, **kwargs):
        self.num_labels, self.out_proj = num_labels, None
        is_theirs = classifier_head == HUGGING_FACE
        super().__init__(task, None if is_theirs else num_labels, **kwargs)
        if is_theirs:
            self.out_proj = Dense(num_labels, truncated_normal(0.02), name="out_proj")

    def build(self, input_shape):
        if self.out_proj is not None:
            self.dense = Dense(input_shape[-1], truncated_normal(0.02), name="dense")
            self.out_proj.build(input_shape)
        super().build(input_shape)

    def outputs_of(self, states, seed):
        """states: (B, L, H). Returns: float32 (B, num_labels)."""
        x = base.cls_state(states, seed)
        if self.out_proj is None:
            return self.dense(x)
        x = kernels.bias_gelu(self.dense.project(x), float32(self.dense.bias))
        seed = seed and seed.fold("out_proj")
        return self.out_proj(kernels.dropout(x, base.CLASSIFIER_DROPOUT, seed))


class ClassificationHead(TextHead):
    """A score for each label.

    Features: label_ids int32 (B,).
    Source: ClassificationTask in finetune/classification of the official code.
    """

    def call(self, states, batch, seed=None, training=False):
        """Returns logits (B, C) and predictions (B,)."""
        logits = self.outputs_of(states, seed)
        outputs = {"logits": logits, "predictions": ops.argmax(logits, axis=-1)}
        labels = self.feature(batch, "label_ids")
        if labels is not None:
            outputs["loss"] = base.cross_entropy(logits, labels)
        return outputs


class RegressionHead(TextHead):
    """One number, squared error.

    Features: targets float32 (B,), scaled to 0..1.
    Source: RegressionTask in finetune/classification of the official code.
    """

    def __init__(self, task, **kwargs):
        super().__init__(task, 1, **kwargs)

    def call(self, states, batch, seed=None, training=False):
        """Returns predictions (B,)."""
        predictions = self.outputs_of(states, seed)[:, 0]
        outputs = {"predictions": predictions}
        targets = self.feature(batch, "targets")
        if targets is not None:
            outputs["loss"] = ops.square(predictions - targets)
        return outputs


class Classification(TextFamily):
    """One of several labels."""

    head = ClassificationHead

    def read_label(self, label, task, where):
        base.check_label(label, task.labels, where)
        return label

    def stratum_of(self, example):
        return example.label

    def label_features(self, task, label):
        return {"label_ids": task.label_ids.get(label, 0)}

    def predict(self, task, examples, features, outputs, tokenizer, **_):
        """Returns probabilities, float32 (n, labels)."""
        return base.softmax(np.stack(outputs["logits"]))

    def labels_of(self, task, examples, predictions):
        return [task.labels[i] for i in np.argmax(predictions, axis=-1)]

    def score(self, task, examples, predictions, qa_na_threshold=None):
        gold = [task.label_ids[example.label] for example in examples]
        predicted = np.argmax(predictions, axis=-1)
        return metrics.classification_scores(gold, predicted, task.metrics, len(task.labels))

    def prior(self, task, features):
        counts = np.bincount(features.columns["label_ids"], minlength=len(task.labels))
        return (counts / counts.sum()).tolist()

    def rows(self, task, examples, predictions, qa_na_threshold=None):
        labels = self.labels_of(task, examples, predictions)
        return [
            {"label": label, "probabilities": base.probabilities(task, row)}
            for label, row in zip(labels, predictions, strict=True)
        ]

    def cells(self, row):
        return {"prediction": row["label"], "probability": row["probabilities"][row["label"]]}

    def confusion(self, task, examples, predictions):
        gold = [example.label for example in examples]
        return list(task.labels), gold, self.labels_of(task, examples, predictions)


class Regression(TextFamily):
    """A number of a range, scaled to 0..1."""

    head = RegressionHead

    def read_label(self, label, task, where):
        return _score(label, task.label_range, where)

    def label_features(self, task, label):
        return {"targets": label or 0.0}

    def head_arguments(self, task, values):
        return classifier_of(values)

    def outputs(self, head):
        return ("predictions",)

    def predict(self, task, examples, features, outputs, tokenizer, **_):
        """Returns numbers, float32 (n,), 0 to 1."""
        return np.stack(outputs["predictions"])

    def labels_of(self, task, examples, predictions):
        """Returns the predictions in the range of the task's labels."""
        low, high = task.label_range
        return [low + (high - low) * float(value) for value in predictions]

    def score(self, task, examples, predictions, qa_na_threshold=None):
        return metrics.regression_scores([e.label for e in examples], predictions)

    def prior_size(self, task):
        return 1

    def prior(self, task, features):
        """Returns [the mean]."""
        return [float(np.mean(features.columns["targets"], dtype=np.float64))]

    def baseline(self, task, examples, prior):
        return np.full(len(examples), prior[0], np.float32)

    def is_constant(self, task, examples, predictions, qa_na_threshold=None):
        return bool(np.ptp(predictions) < 1e-3 < np.ptp([e.label for e in examples]))

    def rows(self, task, examples, predictions, qa_na_threshold=None):
        return [
            {"value": base.short(value)} for value in self.labels_of(task, examples, predictions)
        ]

    def cells(self, row):
        return {"prediction": row["value"]}


def classifier_of(values):
    """Returns the argument of a TextHead that hparams give, as a dict; {} for the default."""
    kind = values.get("classifier_head", OFFICIAL)
    return {} if kind == OFFICIAL else {"classifier_head": kind}


def featurize_texts(example, tokenizer, max_seq_length):
    """Returns the features of a TextExample that the encoder reads, max_seq_length at most.

    Source: `SingleOutputTask.featurize` of finetune/classification/classification_tasks.py.
    """
    first = tokenizer.encode(example.text_a)
    second = tokenizer.encode(example.text_b) if example.text_b else None
    if not second:
        return base.build_inputs(tokenizer.vocab, first[: max_seq_length - 2])
    # The longer text is cut piece by piece, the second one where both are as long.
    while len(first) + len(second) > max_seq_length - 3:
        (first if len(first) > len(second) else second).pop()
    return base.build_inputs(tokenizer.vocab, first, second)


def as_text(value):
    """A JSON value as text; a list is joined by spaces."""
    if isinstance(value, list):
        return " ".join("null" if part is None else as_text(part) for part in value)
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _mark_spans(text, target, where):
    """Marks two spans: the noun as _noun_, the pronoun as [pronoun], as CLUE's baselines do."""
    try:
        spans = [
            (target["span1_index"], target["span1_text"], "_", "_"),
            (target["span2_index"], target["span2_text"], "[", "]"),
        ]
        for start, span, before, after in sorted(spans, reverse=True):
            if (type(start), type(span)) != (int, str):
                raise TypeError
            stop = start + len(span)
            text = text[:start] + before + text[start:stop] + after + text[stop:]
    except (KeyError, TypeError):
        raise ValueError(
            f"{where}: the target must hold span1_index, span1_text, span2_index and span2_text. "
            f"Received: {excerpt(repr(target))}"
        ) from None
    return text


def _score(label, label_range, where):
    low, high = label_range
    try:
        score = float(label.replace("_", "x"))  # 1_0 is a number in Python only
    except ValueError:
        score = math.nan
    if not low <= score <= high:
        received = excerpt(label)
        raise ValueError(f"{where}: the score {received!r} is no number from {low:g} to {high:g}")
    return (score - low) / (high - low)
