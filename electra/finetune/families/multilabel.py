"""Multi-label classification of texts and pairs: any number of the labels, none too.

In tables the labels of a row stand in one column, with commas, semicolons or bars between them; in
JSON lines they are a list, or such a string. A label is predicted where its probability is above a
half. Uses scipy and sklearn (scikit-learn).
"""

import re

import numpy as np
import scipy.special
import sklearn.metrics
from keras import ops

from electra.finetune.families.base import check_label, probabilities
from electra.finetune.families.text import TextFamily, TextHead, as_text

_BETWEEN = re.compile("[,;|]")


class MultiLabelHead(TextHead):
    """A score for each label, which a sigmoid makes a probability.

    Features: label_0, label_1, ... int32 (B,), 1 where the row has the label.
    The loss is the mean of the labels' binary cross-entropies, as transformers has it.
    """

    def call(self, states, batch, seed=None, training=False):
        """Returns logits (B, C)."""
        logits = self.outputs_of(states, seed)
        outputs = {"logits": logits}
        if self.feature(batch, "label_0") is not None:
            labels = [self.feature(batch, f"label_{i}") for i in range(self.num_labels)]
            labels = ops.cast(ops.stack(labels, axis=1), "float32")  # (B, C)
            losses = ops.relu(logits) - logits * labels + ops.log1p(ops.exp(-ops.abs(logits)))
            outputs["loss"] = ops.mean(losses, axis=-1)
        return outputs


class MultiLabel(TextFamily):
    """See the module. The label of an example is a tuple of str."""

    head = MultiLabelHead

    def label_value(self, value, task):
        if value is None:
            return None
        parts = value if isinstance(value, list) else _BETWEEN.split(as_text(value))
        parts = [as_text(part) or "" for part in parts]
        labels = {task.label_aliases.get(part.strip(), part.strip()) for part in parts}
        return tuple(sorted(labels - {""}))

    def read_label(self, label, task, where):
        for part in label:
            check_label(part, task.labels, where)
        return label

    def labels_in(self, examples):
        return {label for example in examples for label in example.label or ()}

    def label_features(self, task, label):
        # A column a label: lists are cut to the length of a text.
        return {f"label_{i}": name in (label or ()) for name, i in task.label_ids.items()}

    def predict(self, task, examples, features, outputs, tokenizer, **_):
        """Returns probabilities, float32 (n, labels), each label's own."""
        return scipy.special.expit(np.stack(outputs["logits"]))

    def labels_of(self, task, examples, predictions):
        """Returns a list of labels for each example."""
        return [
            [label for label, p in zip(task.labels, row, strict=True) if p > 0.5]
            for row in predictions
        ]

    def score(self, task, examples, predictions, qa_na_threshold=None):
        """Returns percent: F1 over all labels together (micro) and their mean (macro), the mean
        average precision of the labels that occur, and the share of rows that are all right."""
        gold = np.array([[label in e.label for label in task.labels] for e in examples])
        is_on = np.asarray(predictions) > 0.5
        occurs = gold.any(axis=0)
        precision = 0.0
        if occurs.any():
            precision = sklearn.metrics.average_precision_score(
                gold[:, occurs], np.asarray(predictions)[:, occurs], average="macro"
            )
        scores = {
            f"{average}_f1": sklearn.metrics.f1_score(gold, is_on, average=average, zero_division=0)
            for average in ("micro", "macro")
        }
        scores |= {"average_precision": precision, "accuracy": np.all(gold == is_on, axis=1).mean()}
        return {name: 100.0 * float(value) for name, value in scores.items()}

    def prior(self, task, features):
        columns = (features.columns[f"label_{i}"] for i in range(len(task.labels)))
        return [float(np.mean(column, dtype=np.float64)) for column in columns]

    def is_constant(self, task, examples, predictions, qa_na_threshold=None):
        distinct = {tuple(labels) for labels in self.labels_of(task, examples, predictions)}
        return len(distinct) == 1 < len({e.label for e in examples})

    def rows(self, task, examples, predictions, qa_na_threshold=None):
        label_lists = self.labels_of(task, examples, predictions)
        return [
            {"labels": labels, "probabilities": probabilities(task, row)}
            for labels, row in zip(label_lists, predictions, strict=True)
        ]

    def cells(self, row):
        labels, found = row["labels"], row["probabilities"]
        return {
            "prediction": ",".join(labels),
            "probability": ",".join(str(found[label]) for label in labels),
        }
