"""Plots: the numbers that are drawn."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from matplotlib import font_manager

from electra.finetune import plots
from electra.finetune.families.qa.questions import Document, QAExample
from electra.finetune.families.tagging import TaggingExample
from electra.finetune.families.text import TextExample
from electra.finetune.metrics import squad_scores
from electra.finetune.tasks import get_task

QUESTIONS = {  # id -> gold answers, predicted text, null odds
    "a": (("w5 w6",), "w5 w6", -3.0),
    "b": ((), "w7", -2.0),
    "c": (("w8 w9",), "w8", -1.0),
    "d": ((), "w7", 1.0),
    "e": (("w5",), "w6", 1.0),
}


def questions():
    examples = [
        QAExample(key, "w5", Document("w5"), golds, not golds)
        for key, (golds, _, _) in QUESTIONS.items()
    ]
    predictions = {
        key: ([{"text": text, "probability": 1.0}], odds)
        for key, (_, text, odds) in QUESTIONS.items()
    }
    return examples, predictions


def is_drawn(path, figure):
    """Whether the file is a PNG of several colours."""
    data = plots.write_png(path, figure)
    return path.read_bytes() == data and len(np.unique(tf.io.decode_png(data))) > 2


def test_a_confusion_matrix_counts_gold_in_rows(tmp_path):
    task = get_task("mnli")
    gold = ["entailment", "entailment", "neutral", "contradiction"]
    examples = [TextExample(str(i), "w5", None, label) for i, label in enumerate(gold)]
    predictions = np.eye(3)[[1, 0, 2, 2]]
    labels, counts = plots.confusion(task, examples, predictions)
    assert labels == ["contradiction", "entailment", "neutral"]
    np.testing.assert_array_equal(counts, [[0, 0, 1], [1, 1, 0], [0, 0, 1]])
    figure = plots.draw_confusion("mnli", labels, counts)
    axes, colour_bar = figure.axes
    shares = [[0, 0, 100], [50, 50, 0], [0, 0, 100]]
    np.testing.assert_allclose(axes.images[0].get_array(), shares)
    shown = [text.get_text().split("\n") for text in axes.texts]
    assert [count for _, count in shown] == ["0", "0", "1", "1", "1", "0", "0", "0", "1"]
    assert [share for share, _ in shown] == [f"{share:.1f} %" for share in np.ravel(shares)]
    assert colour_bar.get_ylabel() == "share of the gold label, %"
    assert [text.get_text() for text in axes.get_yticklabels()] == labels
    assert is_drawn(tmp_path / "m.png", figure)


def test_labels_without_room_are_not_named(tmp_path):
    labels = [f"label {number}" for number in range(1000)]
    figure = plots.draw_confusion("many", labels, np.eye(1000))
    assert is_drawn(tmp_path / "m.png", figure)
    shown = {text.get_text() for text in figure.axes[0].get_xticklabels()}
    assert len(shown) < 20 and not shown & set(labels)


def test_runs_without_points_are_drawn_without_a_warning(tmp_path, recwarn):
    assert is_drawn(tmp_path / "c.png", plots.draw_curves("none", {}))
    assert list(recwarn) == []


@pytest.mark.parametrize(
    "label", ["under $5 or 10% of $20", r"$\frac$", "\ud800", "体育", "a\0b", "x" * 5000, ""]
)
def test_labels_and_titles_are_drawn_as_they_are(tmp_path, recwarn, label):
    figure = plots.draw_confusion(label, [label, "b"], np.eye(2))
    assert is_drawn(tmp_path / "m.png", figure)
    assert [str(each.message) for each in recwarn] == []
    (shown, _) = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    expected = {"\ud800": "\\ud800", "x" * 5000: "x" * 39 + "…"}.get(label, label)
    assert shown == figure.axes[0].get_title() == expected


def test_tags_are_counted_by_their_types():
    task = dataclasses.replace(get_task("chunk"), labels=("B-NP", "E-NP", "O", "S-NP", "S-VP"))
    examples = [TaggingExample("0", ("w5", "w6", "w7", "w8"), ("B-NP", "E-NP", "O", "S-VP"))]
    probabilities = [np.eye(5)[[3, 4, 2]]]  # S-NP, S-VP, O; the last word was cut off
    labels, counts = plots.confusion(task, examples, probabilities)
    assert labels == ["O", "NP", "VP"]
    np.testing.assert_array_equal(counts, [[1, 0, 0], [0, 1, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    ("metric", "right"), [("f1", [1.0, 1.0, 1.0 + 2 / 3, 1.0 + 2 / 3]), ("exact", [1, 1, 1, 1])]
)
def test_precision_and_recall_follow_the_threshold(metric, right):
    thresholds, precision, recall = plots.no_answer_curve(*questions(), metric)
    np.testing.assert_array_equal(thresholds, [-3, -2, -1, 1])  # two questions have odds of 1
    np.testing.assert_allclose(precision, 100 * np.array(right) / [1, 2, 3, 5])
    np.testing.assert_allclose(recall, 100 * np.array(right) / 3)


def test_the_best_threshold_is_marked(tmp_path):
    examples, predictions = questions()
    scores = squad_scores(
        {each.id: list(each.answers) for each in examples},
        {key: text for key, (_, text, _) in QUESTIONS.items()},
        {key: odds for key, (_, _, odds) in QUESTIONS.items()},
        0.0,
    )
    assert scores["best_f1_thresh"] == -3.0
    curve = plots.no_answer_curve(examples, predictions)
    figure = plots.draw_no_answer("squad", {"f1": (curve, scores["best_f1_thresh"])})
    line, best = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), np.transpose([curve[2], curve[1]]))
    np.testing.assert_allclose(best.get_xydata(), [[100 / 3, 100]])
    assert best.get_label() == "best threshold -3"
    assert is_drawn(tmp_path / "squad.png", figure)
    unmarked = plots.draw_no_answer("squad", {"f1": (curve, -9.0)})
    assert len(unmarked.axes[0].lines) == 1


def test_many_labels_show_whole_percents_and_more_none(tmp_path):
    figure = plots.draw_confusion("some", [f"label {i}" for i in range(25)], 3 * np.eye(25))
    assert {text.get_text() for text in figure.axes[0].texts} == {"0", "100"}
    assert is_drawn(tmp_path / "m.png", figure)
    labels = [f"label {i}" for i in range(119)]
    axes, _ = plots.draw_confusion("many", labels, np.eye(119)).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == labels and not axes.texts
    assert {text.get_rotation() for text in axes.get_xticklabels()} == {90}


def test_a_label_without_examples_has_no_share():
    figure = plots.draw_confusion("m", ["a", "b"], np.array([[4, 0], [0, 0]]))
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["100.0 %\n4", "0.0 %\n0", "0.0 %\n0", "0.0 %\n0"]


def test_a_curve_is_read_up_to_where_a_log_is_torn(tmp_path):
    log = '{"step": 5, "loss": 2.0}\n{"step": 10, "loss": 1.5}\n{"step": 15, "lo'
    (tmp_path / "train_log.jsonl").write_text(log)
    assert plots.curve(tmp_path / "train_log.jsonl", "loss") == ([5, 10], [2.0, 1.5])
    assert plots.curve(tmp_path / "train_log.jsonl", "cola/loss") == ([], [])
    assert plots.curve(tmp_path / "none", "loss") == ([], [])


def drawn(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def test_training_and_dev_of_all_trials_are_on_one_axis(tmp_path):
    losses = {
        "1": {"training": ([5, 10], [2.0, 1.5]), "dev": ([10], [1.75])},
        "2": {"training": ([5], [3.0]), "dev": ([], [])},
        "2_retry": {"training": ([], []), "dev": ([], [])},
    }
    scores = {"1": {"dev": ([5, 10], [20.0, 30.0]), "baseline": ([5, 10], [10.0, 10.0])}}
    empty = {"1": {"training": ([], [])}}
    panels = {"cola: loss": losses, "squad: loss": empty, "cola: mcc": scores}
    figure = plots.draw_curves("m", panels)
    left, right = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["cola: loss", "cola: mcc"]
    assert drawn(left) == {
        "training, trial 1": [[5, 2.0], [10, 1.5]],
        "dev, trial 1": [[10, 1.75]],
        "training, trial 2": [[5, 3.0]],
    }
    assert drawn(right) == {
        "dev": [[5, 20.0], [10, 30.0]],
        "baseline": [[5, 10.0], [10, 10.0]],
    }
    assert is_drawn(tmp_path / "curves.png", figure)


def test_letters_are_drawn_with_a_font_that_has_them():
    (own,), lacking = plots._fonts_for("aß")
    assert not lacking
    has = {f.name: plots._letters_of(f.fname) for f in font_manager.fontManager.ttflist}
    letter = max(has["STIXGeneral"] - has[own])  # of a font that matplotlib brings
    fonts, lacking = plots._fonts_for("a" + letter)
    assert fonts[0] == own and letter in has[fonts[1]] and not lacking


def test_letters_that_no_font_has_are_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    plots._fonts_for.cache_clear()
    figure = plots.draw_confusion("my", ["教育", "a b"], np.eye(2))
    with caplog.at_level("WARNING"):
        assert is_drawn(tmp_path / "x.png", figure)
    plots._fonts_for.cache_clear()
    assert f"No font that is installed has 教, 育: {tmp_path / 'x.png'} shows boxes" in caplog.text
