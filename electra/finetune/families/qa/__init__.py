"""Question answering: an answer is a span of a text, or there is none.

Files: SQuAD's JSON, MRQA's JSON lines. Source: finetune/qa of the official code.
"""

import collections

import numpy as np

from electra.finetune import metrics
from electra.finetune.families.base import Family, are_strings
from electra.finetune.families.qa.answers import n_best_answers
from electra.finetune.families.qa.head import QAHead
from electra.finetune.families.qa.questions import Document, QAExample, read_questions
from electra.finetune.families.qa.windows import cut_document, featurize_question
from electra.storage import write_json

# The joint head's.
_BEAMS = ("start_top_index", "start_top_log_probs", "end_top_index", "end_top_log_probs")
_SURELY_NONE = 1e9  # null odds above every threshold
_HEAD_ARGUMENTS = (
    "joint_prediction",
    "answerable_classifier",
    "answerable_uses_start_logits",
    "answerable_weight",
    "beam_size",
)


class QuestionAnswering(Family):
    """See the module."""

    head = QAHead
    packs = False
    has_query = True

    def read(self, path, source, task, split, language):
        return read_questions(path, source, task, split)

    def example(self, task, id, row):
        if not are_strings(row) or len(row) != 2:
            raise ValueError("a pair of strings, the question and the text")
        return QAExample(id, row[0], Document(row[1], task.ideographs_are_words), (), False)

    def unit_of(self, example):
        return example.document.context

    def featurize(self, task, examples, tokenizer, **sizes):
        document, pieces = None, ()
        for number, example in enumerate(examples):
            if document is not example.document:
                document = example.document
                pieces = cut_document(document, tokenizer)
            for window in featurize_question(example, *pieces, tokenizer, **sizes):
                yield number, window

    def head_arguments(self, task, values):
        return {name: values[name] for name in _HEAD_ARGUMENTS if name in values}

    def answering(self, head):
        return {"answerable_classifier": head.answerable is not None}

    def outputs(self, head):
        names = _BEAMS if head.joint_prediction else ()
        if not head.joint_prediction or head.answerable is None:
            names += ("start_logits", "end_logits")
        return (*names, "answerable_logit")

    def predict(self, task, examples, features, outputs, tokenizer, **answering):
        """Returns dict question id -> (n-best answers, null odds), see answers.py.

        Args:
            **answering: n_best_size, max_answer_length of n_best_answers.
        """
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

    def mean(self, trials):
        """Answers are the mean of what the trials give each text, 0 where one has it not."""
        result = {}
        for key in trials[0]:
            texts = collections.Counter()
            for n_best, _ in (trial[key] for trial in trials):
                for answer in n_best:
                    texts[answer["text"]] += answer["probability"] / len(trials)
            n_best = [{"text": text, "probability": p} for text, p in texts.most_common()]
            result[key] = n_best, float(np.mean([trial[key][1] for trial in trials]))
        return result

    def score(self, task, examples, predictions, qa_na_threshold=-2.75):
        gold = {example.id: list(example.answers) for example in examples}
        texts = {key: n_best[0]["text"] for key, (n_best, _) in predictions.items()}
        if not task.has_unanswerable:
            return metrics.exact_match_scores(gold, texts)
        null_odds = {key: odds for key, (_, odds) in predictions.items()}
        return metrics.squad_scores(gold, texts, null_odds, qa_na_threshold)

    def prior_size(self, task):
        return 0

    def prior(self, task, features):
        return []

    def baseline(self, task, examples, prior):
        """Returns no answer to any question; None where each has one."""
        nothing = [{"text": "", "probability": 1.0}], _SURELY_NONE
        return {e.id: nothing for e in examples} if task.has_unanswerable else None

    def is_constant(self, task, examples, predictions, qa_na_threshold=-2.75):
        """No answer to any question is constant too, whatever the best texts are."""
        texts = {n_best[0]["text"] for n_best, _ in predictions.values()}
        nulls = [odds > qa_na_threshold for _, odds in predictions.values()]
        is_one = len(texts) == 1 or (task.has_unanswerable and all(nulls))
        return is_one and len({example.answers for example in examples}) > 1

    def rows(self, task, examples, predictions, qa_na_threshold=None):
        threshold = qa_na_threshold if task.has_unanswerable else None
        return [
            {"text": answer_text(answer, threshold), "null_odds": answer[1], "n_best": answer[0]}
            for answer in predictions.values()
        ]

    def write_predictions(self, stem, task, examples, predictions, qa_na_threshold):
        """Writes SQuAD's files: <stem>_preds.json and <stem>_null_odds.json."""
        odds, threshold = None, None
        if task.has_unanswerable:
            odds, threshold = f"{stem}_null_odds.json", qa_na_threshold
        write_squad(f"{stem}_preds.json", odds, predictions, threshold)

    def write_dev(self, config, dev, predictions, scores):
        preds, odds, score_file = (
            path.replace("{:}", dev.name)
            for path in (config.qa_preds_file, config.qa_na_file, config.qa_eval_file)
        )
        write_squad(preds, odds if dev.task.has_unanswerable else None, predictions)
        write_json(score_file, scores)

    def figures(self, dev, predictions, scores):
        from electra.finetune import plots

        def no_answer():
            curves = {
                metric: (
                    plots.no_answer_curve(dev.examples, predictions, metric),
                    scores[f"best_{metric}_thresh"],
                )
                for metric in ("f1", "exact")
            }
            return plots.draw_no_answer(dev.name, curves)

        return {"no_answer": no_answer} if dev.task.has_unanswerable else {}


def answer_text(answer, null_odds_threshold=None):
    """Returns the best text of n_best_answers' (answers, null odds); "" above the threshold."""
    n_best, null_odds = answer
    is_null = null_odds_threshold is not None and null_odds > null_odds_threshold
    return "" if is_null else n_best[0]["text"]


def write_squad(preds_file, odds_file, answers, null_odds_threshold=None):
    """Writes a QA task's predictions.

    Args:
        preds_file: gets id -> text; odds_file: id -> number, high for no answer; None for none.
        answers: dict question id -> what answers.n_best_answers returned.
        null_odds_threshold: above it the text is ""; None for the best text always (the
            official code applies the threshold when it scores).
    """
    texts = {key: answer_text(answer, null_odds_threshold) for key, answer in answers.items()}
    write_json(preds_file, texts)
    if odds_file is not None:
        write_json(odds_file, {key: odds for key, (_, odds) in answers.items()})
