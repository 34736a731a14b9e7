"""Plots of fine-tuning runs: the numbers that are drawn, the figures, and their PNGs.

Enters: predictions of a dev split, logs of trials. Leaves: PNG files, and bytes for TensorBoard.
Uses matplotlib, without a display, and sklearn (scikit-learn).
"""

import io
import os
import warnings

import numpy as np
import sklearn.metrics
from matplotlib.figure import Figure  # without pyplot: Agg draws

from electra.finetune import metrics
from electra.finetune.families import get_family
from electra.storage import published
from electra.train.logs import TRAIN_LOG, read_lines

_MOST_NAMES = 200  # labels: more have no room, and take minutes to lay out
_MOST_NUMBERS = 25  # labels up to which a matrix shows its counts
_LONGEST_TEXT = 40  # characters shown of a label or title


def confusion(task, examples, predictions):
    """Counts gold labels against predicted ones; in tagging the words' types, without BIOES.

    Args: task: of a family with a confusion matrix; as Family.confusion.
    Returns: (labels, counts): list of str; int (labels, labels), a row for each gold label.
    """
    labels, gold, predicted = get_family(task.family).confusion(task, examples, predictions)
    return labels, sklearn.metrics.confusion_matrix(gold, predicted, labels=labels)


def no_answer_curve(examples, predictions, metric="f1"):
    """Follows precision and recall as more questions are answered.

    Args:
        examples: list of QAExample.
        predictions: dict id -> (n-best answers, null odds).
        metric: "f1" or "exact", which says how right an answer is.
    Returns: (thresholds, precision, recall), float (points,), percent: with the questions answered
        whose null odds are at most the threshold, the mean score of these answers, and their
        scores as a share of the questions that have answers.
    Source: evaluate-v2.0.py of SQuAD, make_precision_recall_eval.
    """
    answered = max(1, sum(bool(example.answers) for example in examples))
    rows = []
    for example in examples:
        (best, *_), null_odds = predictions[example.id]
        gold = example.answers
        pair = metrics.squad_pair(best["text"], gold) if gold else (0.0, 0.0)
        rows.append((null_odds, pair[("exact", "f1").index(metric)]))
    odds, scores = np.array(sorted(rows)).T
    right, count = 100 * np.cumsum(scores), np.arange(1, len(odds) + 1)
    last = np.append(odds[1:] != odds[:-1], True)  # of those with equal odds
    return odds[last], (right / count)[last], right[last] / answered


def learning_curve(folder):
    """Returns the (steps, losses) that a trial's folder logs, lists of equal length."""
    lines = [line for line in read_lines(os.path.join(folder, TRAIN_LOG)) if "loss" in line]
    return [line["step"] for line in lines], [line["loss"] for line in lines]


# ---- figures ----------------------------------------------------------------------------------


def draw_confusion(title, labels, counts):
    """Returns the Figure of a confusion matrix; colours are shares of a row."""
    size = min(20.0, 3.5 + 0.35 * len(labels))
    axes = _axes(title, "predicted", "gold", (size, size))
    axes.imshow(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), "Blues", vmin=0, vmax=1)
    labels = [_plain(label) for label in labels]
    if len(labels) <= _MOST_NAMES:  # else their numbers
        axes.set_xticks(range(len(labels)), labels, rotation=90, parse_math=False)
        axes.set_yticks(range(len(labels)), labels, parse_math=False)
    if len(labels) <= _MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(counts):
            dark = 2 * count > counts[row].sum()
            axes.text(column, row, count, ha="center", va="center", color="w" if dark else "k")
    return axes.figure


def draw_no_answer(title, curves):
    """Returns the Figure of curves: dict metric -> (no_answer_curve's, best threshold)."""
    axes = _axes(title, "recall, %", "precision, %")
    for metric, ((thresholds, precision, recall), best) in curves.items():
        (line,) = axes.plot(recall, precision, label=metric)
        at = np.searchsorted(thresholds, best, side="right") - 1
        if at >= 0:  # else nothing beats answering nothing
            label = f"best threshold {best:.3g}"
            axes.plot(recall[at], precision[at], "o", color=line.get_color(), label=label)
    axes.legend()
    return axes.figure


def draw_curves(title, curves):
    """Returns the Figure of learning curves: dict trial -> learning_curve's."""
    axes = _axes(title, "step", "training loss")
    for name, (steps, losses) in curves.items():
        axes.plot(steps, losses, label=f"trial {name}", marker="." if len(steps) < 2 else "")
    if curves:  # one that stopped early may have none
        axes.legend()
    return axes.figure


def _axes(title, x, y, size=(6.0, 4.5)):
    axes = Figure(figsize=size, layout="constrained").add_subplot()
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(_plain(title), parse_math=False)
    return axes


def _plain(text):
    """A text of a user's as it can be drawn: cut, and its lone surrogates spelled out."""
    text = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    return text.encode("utf-8", "backslashreplace").decode()


def write_png(path, figure):
    """Writes a Figure as PNG, whole or not at all. Returns: its bytes."""
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a line for each character that the font lacks
        figure.savefig(drawn, format="png", dpi=100)
    with published(path) as file:
        file.write(drawn.getvalue())
    return drawn.getvalue()
