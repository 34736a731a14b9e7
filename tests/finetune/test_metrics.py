"""Metrics: by hand, beside scikit-learn, scipy and seqeval, and equal to the official values."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from electra.finetune import metrics
from electra.finetune.spans import read_spans, write_spans
from tests.finetune.reference import gold_answers, values_of
from tests.shared import METRIC, assert_close, needs_fixtures

METRICS = ("accuracy", "f1", "mcc")


def random_sentences(rng, schemes=("bio", "bioes"), sentences=60):
    """Well-formed tags: list of gold, list of predicted sentences, both in each scheme."""
    pairs = []
    for _ in range(sentences):
        kinds = rng.choice(["O", "NP", "VP", "PP"], rng.integers(1, 12))
        gold = [k if k == "O" else f"{'BI'[rng.integers(2)]}-{k}" for k in kinds]
        for i, tag in enumerate(gold):  # an I must go on with a span of its type
            if tag.startswith("I-") and (i == 0 or gold[i - 1][2:] != tag[2:]):
                gold[i] = "B-" + tag[2:]
        kept = [tag if tag == "O" or rng.random() < 0.7 else f"B-{tag[2:]}" for tag in gold]
        pairs.append((gold, kept))
    gold, predicted = ([pair[i] for pair in pairs] for i in (0, 1))
    rewrite = {"bio": list, "bioes": lambda tags: write_spans(read_spans(tags), len(tags))}
    return {s: ([rewrite[s](t) for t in gold], [rewrite[s](t) for t in predicted]) for s in schemes}


def test_entity_scores_by_hand():
    # The third gold span is predicted too, but in the other sentence.
    gold = [["B-NP", "I-NP", "O", "B-VP"], ["O", "O", "O", "B-NP"]]
    predicted = [["B-NP", "I-NP", "O", "B-NP"], ["O", "O", "O", "O"]]
    scores = metrics.entity_scores(gold, predicted)
    assert scores == pytest.approx({"precision": 50.0, "recall": 100 / 3, "f1": 40.0})
    nothing = {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert metrics.entity_scores([["O"]], [["O"]]) == nothing
    assert metrics.tag_scores(gold, predicted)["accuracy"] == 75.0


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_entity_scores_equal_seqevals(scheme):
    # Not among the extras: its sdist, the only release, does not build under pip's isolation.
    seqeval = pytest.importorskip("seqeval.metrics")
    schemes = pytest.importorskip("seqeval.scheme")
    strict = {"mode": "strict", "scheme": {"bio": schemes.IOB2, "bioes": schemes.IOBES}[scheme]}
    for seed in range(5):
        gold, predicted = random_sentences(np.random.default_rng(seed))[scheme]
        ours = metrics.entity_scores(gold, predicted)
        assert 0.0 < ours["f1"] < 100.0
        for name in ("precision", "recall", "f1"):
            theirs = getattr(seqeval, f"{name}_score")(gold, predicted, **strict)
            assert ours[name] == pytest.approx(100 * theirs)


def test_classification_scores_by_hand():
    labels, predictions = [1, 1, 0, 0, 1], [1, 0, 0, 1, 1]
    ours = metrics.classification_scores(labels, predictions, METRICS)
    # True positives 2, false 1; true negatives 1, false 1: (2*1 - 1*1) / sqrt(3*3*2*2).
    assert ours == pytest.approx({"accuracy": 60.0, "f1": 200 / 3, "mcc": 100 / 6})


def test_f1_is_macro_by_the_labels_of_the_task_not_of_the_split():
    labels, predictions = [1, 1, 0, 0, 1], [1, 0, 0, 1, 1]
    ours = metrics.classification_scores(labels, predictions, ["f1"], num_labels=3)
    assert ours == pytest.approx({"f1": 100 * (2 / 3 + 1 / 2) / 2})


def test_a_constant_prediction_scores_zero_correlation():
    assert metrics.classification_scores([0, 1, 1], [1, 1, 1], ["mcc"]) == {"mcc": 0.0}
    ours = metrics.regression_scores([0.1, 0.5, 0.9], [0.5, 0.5, 0.5])
    assert ours == pytest.approx({"pearson": 0.0, "spearman": 0.0, "mse": 0.32 / 3})


def test_scores_equal_the_libraries_and_formulas():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    predictions = np.where(rng.random(200) < 0.7, labels, 1 - labels)
    tp, tn = np.sum(labels & predictions), np.sum((1 - labels) & (1 - predictions))
    fp, fn = np.sum(predictions) - tp, np.sum(labels) - tp
    margins = float((tp + fp) * (tp + fn)) * float((tn + fp) * (tn + fn))
    expected = {
        "accuracy": 100 * sklearn.metrics.accuracy_score(labels, predictions),
        "f1": 200 * tp / (2 * tp + fp + fn),
        "mcc": 100 * (tp * tn - fp * fn) / margins**0.5,
    }
    assert metrics.classification_scores(labels, predictions, METRICS) == pytest.approx(expected)
    x = rng.random(200)
    y = np.round(x + rng.normal(size=200), 1)  # with ties
    ranks = [scipy.stats.rankdata(each) for each in (x, y)]
    assert metrics.regression_scores(x, y) == pytest.approx(
        {
            "pearson": 100 * np.corrcoef(x, y)[0, 1],
            "spearman": 100 * np.corrcoef(*ranks)[0, 1],
            "mse": np.mean((x - y) ** 2),
        }
    )


def test_answers_are_normalised():
    assert metrics.normalize_answer("The  Cat's hat, an ant!") == "cats hat ant"


def test_squad_pairs_by_hand():
    assert metrics.max_scores("the red cat", ["cat", "a blue cat"]) == (0.0, pytest.approx(2 / 3))
    assert metrics.squad_pair("", []) == (1.0, 1.0)
    assert metrics.squad_pair("the", ["The"]) == (1.0, 1.0)  # nothing is left of either
    assert metrics.squad_pair("", ["cat"]) == (0.0, 0.0)
    assert metrics.squad_pair("cat", []) == (0.0, 0.0)


def test_best_thresholds_by_hand():
    answers = {"a": ["cat"], "b": [], "c": ["red dog"], "d": []}
    predictions = {"a": "cat", "b": "cat", "c": "dog", "d": ""}
    null_odds = {"a": -2.0, "b": 1.0, "c": 0.0, "d": -3.0}
    scores = metrics.squad_scores(answers, predictions, null_odds, 0.0)
    expected = {
        "exact": 75.0,
        "f1": 100 * (1 + 1 + 2 / 3 + 1) / 4,
        "total": 4,
        "HasAns_exact": 50.0,
        "HasAns_f1": 100 * (1 + 2 / 3) / 2,
        "HasAns_total": 2,
        "NoAns_exact": 100.0,
        "NoAns_f1": 100.0,
        "NoAns_total": 2,
        "best_exact": 75.0,
        "best_exact_thresh": -2.0,  # beyond "a" nothing more is exact
        "best_f1": 100 * (3 + 2 / 3) / 4,
        "best_f1_thresh": 0.0,
    }
    assert scores == pytest.approx(expected)


def test_a_missing_answer_counts_in_squad_1_and_not_in_2():
    answers = {"a": ["cat"], "b": ["dog"]}
    assert metrics.exact_match_scores(answers, {"a": "cat"}) == {"exact_match": 50.0, "f1": 50.0}
    scores = metrics.squad_scores(answers, {"a": "cat"}, {"a": 0.0, "b": 0.0}, 1.0)
    assert (scores["exact"], scores["total"], "NoAns_f1" in scores) == (100.0, 1, False)


def scored(feature):
    """Yields (name, case, dict field -> its values) of the official scorers of a kind of labels."""
    for name, case in values_of("scorers.json").items():
        updates = case.get("updates", [{}]) if isinstance(case, dict) else [{}]
        if feature in updates[0]:
            yield name, case, {key: [each[key] for each in updates] for key in updates[0]}


@needs_fixtures
def test_classification_equals_the_official_scores():
    for name, case, updates in scored("label_ids"):
        labels, predictions = updates["label_ids"], updates["predictions"]
        names = list(case["expected"].keys() - {"loss"})
        num_labels = max(1, *labels, *predictions) + 1
        ours = metrics.classification_scores(labels, predictions, names, num_labels)
        ours["loss"] = np.mean(updates["loss"])
        assert_close(ours, case["expected"], 1e-6, each=True, name=name)


@needs_fixtures
def test_regression_equals_the_official_scores():
    for name, case, updates in scored("targets"):
        ours = metrics.regression_scores(updates["targets"], updates["predictions"])
        ours["loss"] = np.mean(updates["loss"])
        assert_close(ours, case["expected"], METRIC, each=True, name=name)


@needs_fixtures
def test_tagging_equals_the_official_scores():
    for name, case, updates in scored("labels"):
        tags = {i: tag for tag, i in case["label_mapping"].items()}
        words = [int(sum(mask)) for mask in updates["labels_mask"]]
        gold, predicted = (
            [[tags[i] for i in ids[:n]] for ids, n in zip(updates[key], words, strict=True)]
            for key in ("labels", "predictions")
        )
        # The official scorer adds each loss twice; the runner reports it once.
        loss = {"loss": 2 * sum(updates["loss"]) / sum(words)}
        ours = metrics.entity_scores(gold, predicted) | loss
        assert_close(ours, case["expected"], 1e-6, each=True, name=name)
        ours = metrics.tag_scores(gold, predicted) | loss
        assert_close(ours, case["expected_token_accuracy"], 1e-6, each=True, name=name)


@needs_fixtures
def test_question_answering_equals_the_official_scores():
    values = values_of("scorers.json")
    for case in values["normalize_answer"]:
        assert metrics.normalize_answer(case["text"]) == case["v2"] == case["v1"]
    for case in values["squad_v2"]:
        answers = gold_answers(case["task"], case["split"])
        ours = metrics.squad_scores(
            answers, case["predictions"], case["null_odds"], case["qa_na_threshold"]
        )
        assert_close(ours, case["expected"], 1e-6, each=True)
    for case in [*values["squad_v1"], values["mrqa"]]:
        answers = gold_answers(case["task"], case["split"])
        ours = metrics.exact_match_scores(answers, case["predictions"])
        assert_close(ours, case["expected"], 1e-6, each=True)
