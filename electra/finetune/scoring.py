"""From the outputs of a split's features to predictions of its examples, and to scores.

Enters: what the heads returned, a row a feature. Leaves: predictions in one form a family, which
can be averaged over trials, and dicts of scores. Uses scipy.

| family | predictions |
|---|---|
| classification | probabilities, float32 (n, labels) |
| regression | numbers, float32 (n,), 0 to 1 |
| tagging | for each sentence probabilities (words kept, labels) |
| QA | dict question id -> (n-best answers, null odds), see answers.py |
"""

import collections

import numpy as np
import scipy.special

from electra.finetune import metrics
from electra.finetune.answers import n_best_answers
from electra.finetune.tasks import CLASSIFICATION, QA, REGRESSION, TAGGING

# The joint QA head's.
_BEAMS = ("start_top_index", "start_top_log_probs", "end_top_index", "end_top_log_probs")
# Metric of a row -> the score that ranks trials, where it has another name.
_SCORE = {"squad_v2": "best_f1", "squad_v1": "f1", "mrqa": "f1", "span_f1": "f1"}


def needed_outputs(task, *, joint_prediction=True, answerable_classifier=True):
    """Returns the names of the outputs that `predict` wants of the task's head."""
    if task.family != QA:
        return ("predictions",) if task.family == REGRESSION else ("logits",)
    logits = () if joint_prediction and answerable_classifier else ("start_logits", "end_logits")
    return (*(_BEAMS if joint_prediction else ()), *logits, "answerable_logit")


def predict(task, examples, features, outputs, tokenizer, **answering):
    """Makes the predictions of a split.

    Args:
        task: Task.
        examples: list; features: Features of them.
        outputs: dict name -> list of the features' outputs, an array each.
        tokenizer: WordPieceTokenizer.
        **answering: answerable_classifier, n_best_size, max_answer_length of n_best_answers.
    Returns: predictions as the table above says.
    """
    if task.family == CLASSIFICATION:
        return scipy.special.softmax(np.stack(outputs["logits"]), axis=-1)
    if task.family == REGRESSION:
        return np.stack(outputs["predictions"])
    if task.family == TAGGING:
        _, offsets = features.ragged["labels"]
        return [
            scipy.special.softmax(logits[:count], axis=-1)
            for logits, count in zip(outputs["logits"], np.diff(offsets), strict=True)
        ]
    windows = collections.defaultdict(list)
    for index, example in enumerate(features.columns["example"]):
        windows[example].append(index)
    answers = {}
    for number, example in enumerate(examples):
        rows = windows[number]
        answers[example.id] = n_best_answers(
            [features.row(i) for i in rows],
            [{name: values[i] for name, values in outputs.items()} for i in rows],
            example.document.words,
            tokenizer,
            **answering,
        )
    return answers


def mean(task, trials):
    """Averages the predictions of several trials.

    Answers are the mean of what the trials give each text, 0 where it is not among their best.
    """
    if task.family in (CLASSIFICATION, REGRESSION):
        return np.mean(trials, axis=0)
    if task.family == TAGGING:
        return [np.mean(sentences, axis=0) for sentences in zip(*trials, strict=True)]
    result = {}
    for key in trials[0]:
        texts = collections.Counter()
        for n_best, _ in (trial[key] for trial in trials):
            for answer in n_best:
                texts[answer["text"]] += answer["probability"] / len(trials)
        n_best = [{"text": text, "probability": p} for text, p in texts.most_common()]
        result[key] = n_best, float(np.mean([trial[key][1] for trial in trials]))
    return result


def labels_of(task, examples, predictions):
    """Returns the predicted labels: a str an example, or in tagging a list of tags.

    Words that were cut off get "O" where tags mark spans, else "" (their spans and tags count as
    errors).
    """
    if task.family == CLASSIFICATION:
        return [task.labels[i] for i in np.argmax(predictions, axis=-1)]
    missing = "O" if task.has_spans else ""
    tags = []
    for example, probs in zip(examples, predictions, strict=True):
        found = [task.labels[i] for i in np.argmax(probs, axis=-1)]
        tags.append(found + [missing] * (len(example.words) - len(found)))
    return tags


def score(task, examples, predictions, *, qa_na_threshold=-2.75):
    """Scores a split whose examples have labels.

    Returns: dict metric -> float.
    """
    if task.family == REGRESSION:
        return metrics.regression_scores([each.label for each in examples], predictions)
    if task.family == CLASSIFICATION:
        ids = {label: i for i, label in enumerate(task.labels)}
        gold = [ids[each.label] for each in examples]
        found = np.argmax(predictions, axis=-1)
        return metrics.classification_scores(gold, found, task.metrics, len(task.labels))
    if task.family == TAGGING:
        found, gold = labels_of(task, examples, predictions), [list(e.tags) for e in examples]
        return (metrics.entity_scores if task.has_spans else metrics.tag_scores)(gold, found)
    gold = {each.id: list(each.answers) for each in examples}
    texts = {key: n_best[0]["text"] for key, (n_best, _) in predictions.items()}
    if not task.has_unanswerable:
        return metrics.exact_match_scores(gold, texts)
    null_odds = {key: odds for key, (_, odds) in predictions.items()}
    return metrics.squad_scores(gold, texts, null_odds, qa_na_threshold)


def main_metric(task):
    """Returns the name of the score that ranks trials."""
    return _SCORE.get(task.metrics[0], task.metrics[0])


def is_constant(task, examples, predictions, *, qa_na_threshold=-2.75):
    """Whether a split with several labels got one label, number or answer throughout.

    No answer to any question is one too, whatever the best texts are.
    """
    if task.family == QA:
        texts = {n_best[0]["text"] for n_best, _ in predictions.values()}
        nulls = [odds > qa_na_threshold for _, odds in predictions.values()]
        is_one = len(texts) == 1 or (task.has_unanswerable and all(nulls))
        return is_one and len({each.answers for each in examples}) > 1
    if task.family == REGRESSION:
        return bool(np.ptp(predictions) < 1e-3 < np.ptp([each.label for each in examples]))
    found = labels_of(task, examples, predictions)
    if task.family == CLASSIFICATION:
        return len(set(found)) == 1 < len({each.label for each in examples})
    found, gold = (
        {tag for tags in each for tag in tags} for each in (found, [each.tags for each in examples])
    )
    return len(found) == 1 < len(gold)
