"""The official metrics of every task, in percent where they are rates or correlations.

Enters: gold labels and predictions of a whole split. Leaves: dict name -> float.
Imports sklearn (scikit-learn) and scipy.
"""

import collections
import re
import string

import numpy as np
import scipy.stats
import sklearn.metrics

from electra.finetune.spans import read_spans

CLASSIFICATION_METRICS = {
    "accuracy": sklearn.metrics.accuracy_score,
    "f1": sklearn.metrics.f1_score,
    "mcc": sklearn.metrics.matthews_corrcoef,
}
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def classification_scores(labels, predictions, metrics=("accuracy",), num_labels=2):
    """Scores class ids.

    Args:
        labels, predictions: int (N,).
        metrics: names in CLASSIFICATION_METRICS. f1 is that of label 1; of a task with more than
            two labels it is the mean over the labels that occur.
        num_labels: of the task, which may have labels that occur nowhere in this split.
    Returns: dict metric -> percent. Matthews' coefficient is 0 where one side is constant.
    """
    average = {"f1": {"average": "binary" if num_labels <= 2 else "macro"}}
    return {
        name: 100.0 * CLASSIFICATION_METRICS[name](labels, predictions, **average.get(name, {}))
        for name in metrics
    }


def regression_scores(targets, predictions):
    """Scores numbers.

    Args:
        targets, predictions: float (N,).
    Returns: dict of pearson and spearman (percent) and mse. Differs from source: a correlation
        with constants is 0, not NaN.
    """
    targets, predictions = np.asarray(targets, float), np.asarray(predictions, float)
    scores = {"pearson": 0.0, "spearman": 0.0}
    if np.ptp(targets) and np.ptp(predictions):
        scores["pearson"] = 100.0 * scipy.stats.pearsonr(targets, predictions).statistic
        scores["spearman"] = 100.0 * scipy.stats.spearmanr(targets, predictions).statistic
    scores["mse"] = np.mean(np.square(targets - predictions))
    return {name: float(score) for name, score in scores.items()}


def entity_scores(labels, predictions):
    """Scores spans: one counts where both ends and the type are right.

    Not seqeval's, which reads malformed tags otherwise (see spans.py); on well-formed ones equal.

    Args:
        labels, predictions: list of sentences, each a list of BIO or BIOES tags.
    Returns: dict of precision, recall and f1, percent.
    """
    gold, predicted = (
        {(i, *span) for i, tags in enumerate(sentences) for span in read_spans(tags)}
        for sentences in (labels, predictions)
    )
    correct = len(gold & predicted)
    return {
        "precision": 100.0 * correct / max(1, len(predicted)),
        "recall": 100.0 * correct / max(1, len(gold)),
        "f1": 200.0 * correct / max(1, len(gold) + len(predicted)),
    }


def tag_scores(labels, predictions):
    """Scores each word's tag (part of speech).

    Args:
        labels, predictions: list of sentences, each a list of tags.
    Returns: dict of accuracy, percent.
    """
    flat = ([tag for tags in sentences for tag in tags] for sentences in (labels, predictions))
    return classification_scores(*flat)


def normalize_answer(text):
    """Lower-cases; drops ASCII punctuation, then English articles, then needless white space."""
    text = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match_scores(answers, predictions):
    """Scores SQuAD 1.1 and MRQA.

    Args:
        answers: dict question id -> list of gold answers.
        predictions: dict question id -> text; a question without one scores 0.
    Returns: dict of exact_match and f1, percent.
    Source: evaluate-v1.1.py of SQuAD.
    """
    pairs = [
        max_scores(predictions[key], golds) if key in predictions else (0.0, 0.0)
        for key, golds in answers.items()
    ]
    exact, f1 = 100.0 * np.mean(pairs, axis=0)
    return {"exact_match": float(exact), "f1": float(f1)}


def squad_scores(answers, predictions, null_odds, threshold):
    """Scores SQuAD 2.0, where an empty list of gold answers means "no answer".

    Args:
        answers: dict question id -> list of gold answers.
        predictions: dict question id -> text, "" for no answer; a question without a prediction
            is left out.
        null_odds: dict question id -> float, high for no answer.
        threshold: above it a question counts as answered by "".
    Returns: dict of exact, f1, total; HasAns_ and NoAns_ of these, where there are such
        questions; best_exact, best_f1 over all thresholds and best_exact_thresh, best_f1_thresh
        (0.0 where nothing beats answering nothing). Percent but for total and thresholds.
    Source: evaluate-v2.0.py of SQuAD.
    """
    keys = [key for key in answers if key in predictions]
    raw = {key: squad_pair(predictions[key], answers[key]) for key in keys}
    kept = {
        key: (float(not answers[key]),) * 2 if null_odds[key] > threshold else raw[key]
        for key in keys
    }
    scores = {}
    answered = [key for key in keys if answers[key]]
    unanswered = [key for key in keys if not answers[key]]
    for prefix, group in (("", keys), ("HasAns_", answered), ("NoAns_", unanswered)):
        if group:
            exact, f1 = 100.0 * np.mean([kept[key] for key in group], axis=0)
            scores |= {f"{prefix}exact": float(exact), f"{prefix}f1": float(f1)}
            scores[f"{prefix}total"] = len(group)
    order = [key for key in sorted(null_odds, key=null_odds.get) if key in raw]
    for i, name in enumerate(("exact", "f1")):
        best = current = float(len(unanswered))
        threshold = 0.0
        for key in order:
            current += raw[key][i] if answers[key] else -float(bool(predictions[key]))
            if current > best:
                best, threshold = current, null_odds[key]
        scores[f"best_{name}"] = 100.0 * best / len(keys)
        scores[f"best_{name}_thresh"] = float(threshold)
    return scores


def squad_pair(prediction, golds):
    """Returns (exact, f1) in 0..1 of one SQuAD 2.0 prediction, its gold answers maybe none."""
    golds = [gold for gold in golds if normalize_answer(gold)] or [""]
    if golds == [""] or not normalize_answer(prediction):
        return (float(normalize_answer(prediction) == golds[0]),) * 2
    return max_scores(prediction, golds)


def max_scores(prediction, golds):
    """Returns the best (exact, f1), 0..1, of a prediction over gold answers."""
    text = normalize_answer(prediction)
    golds = [normalize_answer(gold) for gold in golds]
    return max(float(text == gold) for gold in golds), max(_f1(text, gold) for gold in golds)


def _f1(text, gold):
    """F1 of the words in common, 0 where there are none."""
    text, gold = text.split(), gold.split()
    common = sum((collections.Counter(text) & collections.Counter(gold)).values())
    return 2.0 * common / (len(text) + len(gold)) if common else 0.0
