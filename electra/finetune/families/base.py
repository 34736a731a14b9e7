"""What all families of tasks have: the interface, and the parts that several of them share.

A family reads its files, makes features of examples, has a head, turns the head's outputs into
predictions, and averages, scores and writes these. Enters and leaves: see Family.
B batch, W words (or other labelled positions), C labels. Heads compute in float32, whatever the
encoder does. Uses scipy.
"""

import numpy as np
import scipy.special
from keras import ops

from electra.finetune.predictions import write_rows
from electra.hparams import is_text
from electra.model import kernels
from electra.model.layers import Dense, Layer
from electra.storage import excerpt

CLASSIFIER_DROPOUT = 0.1


class Family:
    """The interface; one object serves all tasks of a family.

    A task is an electra.finetune.tasks.Task. Examples are objects with an `id`, and predictions
    have one form a family, which `predict` states.
    """

    head = None  # class of the Head; called with the task's name and head_arguments
    packs = True  # whether short features may share a row in prediction
    has_query = False  # whether max_query_length tokens of a feature are taken

    def read(self, path, source, task, split, language):
        """Reads a file: list of examples. Splits whose names begin with "test" need no labels.

        Raises:
            ValueError: it cannot be read as the row says; file and line are named.
        """
        raise NotImplementedError

    def example(self, task, id, row):
        """Makes an example without label of a value, e.g. a text. Raises: ValueError."""
        raise NotImplementedError

    def labels_in(self, examples):
        """Returns the set of labels that examples have."""
        return {example.label for example in examples}

    def unit_of(self, example):
        """Returns what may not be in two splits: examples with equal ones stay together."""
        raise NotImplementedError

    def stratum_of(self, example):
        """Returns a str; where examples are held out, each of them gives its share."""
        return ""

    def featurize(self, task, examples, tokenizer, **sizes):
        """Yields (number of the example, feature): dicts of numbers and lists, see featurize.py."""
        raise NotImplementedError

    def head_arguments(self, task, values):
        """Returns the arguments of the task's head besides its name, as JSON values.

        Args:
            values: dict of hparams.
        """
        return {"num_labels": len(task.labels)}

    def answering(self, head):
        """Returns the arguments of `predict` that a head tells."""
        return {}

    def outputs(self, head):
        """Returns the names of the head's outputs that `predict` wants."""
        return ("logits",)

    def predict(self, task, examples, features, outputs, tokenizer, **answering):
        """Makes the predictions of a split.

        Args:
            examples: list; features: electra.data.features.Features of them.
            outputs: dict name -> list of the features' outputs, an array each.
            tokenizer: WordPieceTokenizer.
            **answering: what `answering` returned, and n_best_size, max_answer_length.
        """
        raise NotImplementedError

    def mean(self, trials):
        """Averages the predictions of several trials."""
        return np.mean(trials, axis=0)

    def loss_counts(self, features):
        """Returns how many losses each feature's is the sum of, int (n,): losses are logged as
        means of these."""
        return np.ones(len(features), np.int64)

    def score(self, task, examples, predictions, qa_na_threshold=None):
        """Scores a split whose examples have labels: dict metric -> float."""
        raise NotImplementedError

    def prior_size(self, task):
        """Returns the length of `prior`."""
        return len(task.labels)

    def prior(self, task, features):
        """Returns the share of each label in training Features, a list of float."""
        raise NotImplementedError

    def baseline(self, task, examples, prior):
        """Returns what one would predict who knows the prior only, or None where that is futile."""
        return np.tile(np.array(prior, np.float32), (len(examples), 1))

    def is_constant(self, task, examples, predictions, qa_na_threshold=None):
        """Whether a split with several labels got one label, number or answer throughout."""
        labels = set(self.labels_of(task, examples, predictions))
        return len(labels) == 1 < len(self.labels_in(examples))

    def labels_of(self, task, examples, predictions):
        """Returns what a leaderboard's table has for each example."""
        raise NotImplementedError

    def rows(self, task, examples, predictions, qa_na_threshold=None):
        """Says all that is predicted of each example: list of dicts, ids left out."""
        raise NotImplementedError

    def cells(self, row):
        """Returns what a table shows of one of `rows`, a dict prediction, and perhaps probability;
        None for families whose files are no tables."""

    def write_predictions(self, stem, task, examples, predictions, qa_na_threshold):
        """Writes what is predicted of a test file that no leaderboard wants: <stem>.jsonl."""
        rows = self.rows(task, examples, predictions, qa_na_threshold)
        write_rows(f"{stem}.jsonl", examples, rows)

    def write_dev(self, config, dev, predictions, scores):
        """Writes files of what the best trial says of a dev split; most families have none."""

    def confusion(self, task, examples, predictions):
        """Returns (labels, gold, predicted), lists of str, of a confusion matrix, or None."""

    def figures(self, dev, predictions, scores):
        """Returns dict name -> function that draws a Figure, of a dev TaskSplit."""
        if type(self).confusion is Family.confusion:
            return {}
        from electra.finetune import plots  # with matplotlib, which a loaded model needs not

        def draw():
            counts = plots.confusion(dev.task, dev.examples, predictions)
            return plots.draw_confusion(dev.name, *counts)

        return {"confusion": draw}


class Head(Layer):
    """What every head has.

    Args:
        task: name of the task; scope of the variables and prefix of its features.
        num_labels: outputs of its one linear layer; None for a head that has others.
    """

    def __init__(self, task, num_labels=None, **kwargs):
        super().__init__(name=task, **kwargs)
        self.dense = Dense(num_labels, name="dense") if num_labels else None

    def build(self, input_shape):
        self.dense.build(input_shape)

    def feature(self, batch, name):
        """Returns the task's feature of a batch, or None where the batch lacks it."""
        return batch.get(f"{self.name}_{name}")


def cls_state(states, seed):
    """Returns the last [CLS] vector in float32 with the classifiers' dropout, (B, H)."""
    return kernels.dropout(ops.cast(states[:, 0], "float32"), CLASSIFIER_DROPOUT, seed)


def cross_entropy(logits, ids):
    """logits (..., C), ids (...): -log softmax(logits)[ids], (...)."""
    log_probs = ops.log_softmax(logits, axis=-1)
    return -ops.take_along_axis(log_probs, ids[..., None], axis=-1)[..., 0]


def softmax(logits):
    return scipy.special.softmax(logits, axis=-1)


def build_inputs(vocab, first, second=None):
    """[CLS] first [SEP], or [CLS] first [SEP] second [SEP] with segment 1 from second on."""
    ids = [vocab.cls_id, *first, vocab.sep_id]
    segments = [0] * len(ids)
    if second is not None:
        ids += [*second, vocab.sep_id]
        segments += [1] * (len(second) + 1)
    return {"input_ids": ids, "input_mask": [1] * len(ids), "segment_ids": segments}


def check_label(label, labels, where):
    """Raises ValueError where a label is no text, or none of a list of labels."""
    if not is_text(label):
        received = excerpt(label)
        raise ValueError(f"{where}: label {received!r} is no text. Expected: UTF-8 without NUL")
    if not isinstance(labels, str) and label not in labels:
        known = excerpt(", ".join(labels))
        raise ValueError(f"{where}: label {excerpt(label)!r} is unknown. Expected: {known}")


def are_strings(row):
    """Returns whether a value is a list or tuple of strings."""
    return isinstance(row, tuple | list) and all(isinstance(part, str) for part in row)


def probabilities(task, row):
    """Returns dict label -> probability, to be written."""
    return dict(zip(task.labels, map(short, row), strict=True))


def short(value):
    return float(f"{value:.6g}")
