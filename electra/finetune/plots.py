"""Plots of fine-tuning runs: the numbers that are drawn, the figures, and their PNGs.

Enters: predictions of a dev split, logs of trials. Leaves: PNG files, and bytes for TensorBoard.
Uses matplotlib, without a display, and sklearn (scikit-learn).
"""

import functools
import io
import itertools
import warnings

import matplotlib
import numpy as np
import sklearn.metrics
from absl import logging
from matplotlib import font_manager
from matplotlib.figure import Figure  # without pyplot: Agg draws
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from electra.finetune import metrics
from electra.finetune.families import get_family
from electra.storage import published
from electra.train.lines import read_lines

_MOST_NAMES = 200  # labels: more have no room, and take minutes to lay out
_MOST_SHARES, _MOST_COUNTS = 25, 10  # labels up to which a matrix shows them as numbers
_LONGEST_TEXT = 40  # characters shown of a label or title
_MOST_TRIALS = 10  # named by a legend
_NOT_FOR_TEXT = ("Last Resort", "Emoji")  # boxes for all characters; pictures
_STYLE = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
}


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


def curve(path, name):
    """Returns the (steps, values) of a number in a log, lists of equal length, maybe empty."""
    entries = [entry for entry in read_lines(path) if name in entry]
    return [entry["step"] for entry in entries], [entry[name] for entry in entries]


# ---- figures ----------------------------------------------------------------------------------


def draw_confusion(title, labels, counts):
    """Returns the Figure of a confusion matrix; colours are shares of a row."""
    number, is_named = len(labels), len(labels) <= _MOST_NAMES
    size = min(20.0, 3.2 + (0.62 if number <= _MOST_COUNTS else 0.32) * number)
    longest = max(len(_plain(label)) for label in labels) if is_named else 0
    axes = _axes(title, (size + 1.0, size))  # beside it the colour bar
    axes.set_xlabel("predicted", fontsize=max(10.0, size))
    axes.set_ylabel("gold", fontsize=max(10.0, size))
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    shares = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    image = axes.imshow(shares, "Blues", vmin=0, vmax=100)
    bar = axes.figure.colorbar(image, fraction=0.04, aspect=25, label="share of the gold label, %")
    bar.outline.set_visible(False)
    labels = [_plain(label) for label in labels]
    if is_named:  # else their numbers
        font = {"parse_math": False, "fontsize": min(10.0, 54 * size / number)}
        lean = {"rotation": 0} if longest * number <= 30 else {"rotation": 90}
        if lean["rotation"] and number <= _MOST_COUNTS:
            lean = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(number), labels, **lean, **font)
        axes.set_yticks(range(number), labels, **font)
    if number <= _MOST_SHARES:
        for (row, column), share in np.ndenumerate(shares):
            text = f"{share:.0f}" if number > _MOST_COUNTS else f"{share:.1f} %"
            if number <= _MOST_COUNTS:
                text += f"\n{counts[row, column]:.0f}"
            place = {"ha": "center", "va": "center", "fontsize": 9 if number > 3 else 10}
            axes.text(column, row, text, color="w" if share > 55 else "k", **place)
    return axes.figure


def draw_no_answer(title, curves):
    """Returns the Figure of curves: dict metric -> (no_answer_curve's, best threshold)."""
    axes = _axes(title)
    axes.set(xlabel="recall, %", ylabel="precision, %")
    for metric, ((thresholds, precision, recall), best) in curves.items():
        (line,) = axes.plot(recall, precision, label=metric)
        at = np.searchsorted(thresholds, best, side="right") - 1
        if at >= 0:  # else nothing beats answering nothing
            label = f"best threshold {best:.3g}"
            axes.plot(recall[at], precision[at], "o", color=line.get_color(), label=label)
    axes.legend()
    return axes.figure


def draw_curves(title, panels):
    """Returns the Figure of learning curves, panels side by side.

    Args:
        title: str.
        panels: dict title -> dict trial -> dict "training", "baseline" or of dev splits -> as
            `curve` returns it. A trial has a colour; training is a full line, dev splits are dashed
            with a point for each evaluation, baselines dotted. What has no points is left out.
    """
    drawn = {trial for trials in panels.values() for trial in trials if _has_points(trials[trial])}
    panels = {
        name: {trial: curves for trial, curves in trials.items() if trial in drawn}
        for name, trials in panels.items()
        if any(map(_has_points, trials.values()))
    }
    columns = min(2, max(1, len(panels)))
    rows = -(-max(1, len(panels)) // columns)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.5 * columns, 0.4 + 3.4 * rows), layout="constrained")
        figure.suptitle(_plain(title), fontsize=12, parse_math=False)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[max(1, len(panels)) :]:
            axes.remove()
        for axes, (name, trials) in zip(grid, panels.items(), strict=False):
            axes.set_title(_plain(name), parse_math=False)
            axes.set(xlabel="step")
            _draw_trials(axes, trials)
    return figure


def _has_points(curves):
    return any(steps for steps, _ in curves.values())


def _draw_trials(axes, trials):
    is_alone, last = len(trials) == 1, 1
    for number, (trial, curves) in enumerate(trials.items()):
        markers = itertools.cycle("os^D")
        for kind, (steps, values) in curves.items():
            if not steps:
                continue
            last = max(last, *steps)
            label = kind if is_alone else f"{kind}, trial {trial}"
            look = {"color": f"C{number % 10}", "marker": "." if len(steps) < 2 else ""}
            if kind == "baseline":  # of all trials the same
                look |= {"color": "#777777", "linestyle": ":"}
                label = None if number else kind
            elif kind != "training":
                look |= {"linestyle": "--", "marker": next(markers)}
                look |= {"color": "C1"} if is_alone else {}
            axes.plot(steps, values, label=label, **look)
    axes.set_xlim(0, last * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
    if len(trials) <= _MOST_TRIALS:
        axes.legend(fontsize=9 if len(trials) < 4 else 7, ncols=1 if is_alone else 2)


def _axes(title, size=(6.0, 4.5)):
    with matplotlib.rc_context(_STYLE):
        axes = Figure(figsize=size, layout="constrained").add_subplot()
    axes.set_title(_plain(title), parse_math=False)
    return axes


def _plain(text):
    """A text of a user's as it can be drawn: cut, and its lone surrogates spelled out."""
    text = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    return text.encode("utf-8", "backslashreplace").decode()


def write_png(path, figure):
    """Writes a Figure as PNG, whole or not at all. Returns: its bytes."""
    drawn = io.BytesIO()
    letters = {c for text in figure.findobj(Text) for c in text.get_text() if not c.isspace()}
    fonts, lacking = _fonts_for("".join(sorted(letters)))
    if lacking:
        logging.warning(
            "No font that is installed has %s: %s shows boxes instead. Install one (on Debian: apt "
            "install fonts-noto-cjk for Chinese, Japanese, Korean), then run the command again "
            """with --hparams '{"do_train": false}'""",
            ", ".join(lacking[:8]) + (", ..." if lacking[8:] else ""),
            path,
        )
    with warnings.catch_warnings(), matplotlib.rc_context({"font.family": list(fonts)}):
        warnings.simplefilter("ignore")  # a line for each character that the fonts lack
        figure.savefig(drawn, format="png", dpi=120, bbox_inches="tight")
    with published(path) as file:
        file.write(drawn.getvalue())
    return drawn.getvalue()


@functools.lru_cache(maxsize=64)
def _fonts_for(letters):
    """Finds fonts by what they have, as their names tell little: matplotlib's own, and others for
    letters that it lacks. Returns: (tuple of names, list of the letters that none has)."""
    (first, *_) = matplotlib.rcParams["font.sans-serif"]
    fonts, lacking = [first], set(letters) - _letters_of(font_manager.findfont(first))
    known = sorted(
        (font.weight != 400, font.style != "normal", font.name, font.fname)
        for font in font_manager.fontManager.ttflist
        if not any(word in font.name for word in _NOT_FOR_TEXT)
    )
    for *_, name, path in known:
        if not lacking:
            break
        has = _letters_of(path)
        if lacking & has and name not in fonts:
            fonts.append(name)
            lacking -= has
    return tuple(fonts), sorted(lacking)


def _letters_of(path):
    try:
        return set(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):  # removed since, or no font
        return set()
