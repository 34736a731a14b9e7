"""n-best answers: by hand, and equal to the official predictions over a whole sample."""

import itertools

import numpy as np
import pytest

from electra.finetune.families import QA
from electra.finetune.families.qa.answers import final_text, n_best_answers
from electra.finetune.featurize import featurize
from electra.finetune.metrics import exact_match_scores, squad_scores
from electra.finetune.readers import read_examples
from electra.finetune.tasks import get_task
from electra.text.vocab import Vocabulary, read_vocab
from electra.text.wordpiece import BasicTokenizer, WordPieceTokenizer
from tests.finetune.reference import (
    FOLDER,
    LENGTHS,
    gold_answers,
    heads_of,
    load_model,
    padded,
    pick,
    tensors,
    values_of,
)
from tests.shared import FIXTURES, LOSS, TENSOR, assert_close, needs_fixtures

WORDS = ["Ada", "Lovelace", "wrote", "it."]
TOKENS = "[CLS] who [SEP] ada love ##lace wrote it . [PAD] [UNK] [MASK]".split()
TOKENIZER = WordPieceTokenizer(Vocabulary(TOKENS))
WINDOW = {
    "input_ids": [0, 1, 2, 3, 4, 5, 6, 7, 8, 2],  # who, ada love ##lace wrote it .
    "context_start": 3,
    "piece_words": [0, 1, 1, 2, 3, 3],
    "is_max_context": [True, True, True, True, True, False],
}


def linear(starts, ends, answerable=0.0):
    """Outputs of a linear head whose logits are -9 but for the given positions."""
    logits = np.full((2, len(WINDOW["input_ids"])), -9.0)
    for row, given in zip(logits, (starts, ends), strict=True):
        row[list(given)] = list(given.values())
    return {"start_logits": logits[0], "end_logits": logits[1], "answerable_logit": answerable}


def best(outputs, windows=None, **kwargs):
    windows = windows or [WINDOW] * len(outputs)
    return n_best_answers(windows, outputs, WORDS, TOKENIZER, **kwargs)


def test_the_best_span_is_cut_from_the_text():
    answers, null_odds = best([linear({3: 5.0, 4: 2.0}, {5: 4.0, 7: 3.0}, -1.5)], n_best_size=3)
    assert [each["text"] for each in answers] == [
        "Ada Lovelace",
        "Ada Lovelace wrote it",
        "Lovelace",
    ]
    assert (answers[0]["start_logit"], answers[0]["end_logit"]) == (5.0, 4.0)
    odds = np.exp([9.0, 8.0, 6.0])
    np.testing.assert_allclose([each["probability"] for each in answers], odds / odds.sum())
    assert null_odds == -1.5


def test_places_where_no_answer_lies_are_passed_over():
    # [CLS], the question, an end before the start, a start with more context elsewhere.
    starts, ends = {0: 9.0, 1: 9.0, 8: 9.0, 6: 3.0}, {0: 9.0, 2: 9.0, 5: 9.0, 9: 9.0, 8: 1.0}
    assert best([linear(starts, ends)])[0][0]["text"] == "wrote it."


def test_a_span_may_begin_within_a_word():
    assert best([linear({5: 5.0}, {6: 5.0})])[0][0]["text"] == "lace wrote"


def test_long_spans_are_passed_over():
    output = linear({3: 5.0, 6: 1.0}, {7: 5.0})
    assert best([output])[0][0]["text"] == "Ada Lovelace wrote it"
    assert best([output], max_answer_length=5)[0][0]["text"] == "Ada Lovelace wrote it"
    assert best([output], max_answer_length=4)[0][0]["text"] == "wrote it"


def test_the_same_text_counts_once_with_its_best_score():
    answers, null_odds = best([linear({3: 2.0}, {3: 2.0}, 4.0), linear({3: 3.0}, {3: 1.5}, 3.0)])
    assert [each["text"] for each in answers].count("Ada") == 1
    assert answers[0]["text"] == "Ada"
    assert answers[0]["start_logit"] == 3.0
    assert null_odds == 3.0  # the lowest of the windows


def test_without_a_classifier_the_null_odds_compare_position_0_with_the_best_span():
    outputs = [linear({0: 4.0, 3: 2.0}, {0: 3.0, 3: 2.5}), linear({0: 2.0}, {0: 1.0})]
    assert best(outputs, answerable_classifier=False)[1] == 3.0 - 4.5


def test_beams_pair_each_start_with_its_own_ends():
    output = {
        "start_top_index": [3, 6],
        "start_top_log_probs": [-1.0, -1.5],
        "end_top_index": [[5, 3], [6, 7]],
        "end_top_log_probs": [[-2.0, -3.0], [-0.1, -4.0]],
        "answerable_logit": 0.5,
    }
    answers, _ = best([output])
    texts = [each["text"] for each in answers]
    assert texts == ["wrote", "Ada Lovelace", "Ada", "wrote it"]


def test_no_allowed_span_gives_the_official_word():
    assert best([linear({}, {})], [dict(WINDOW, piece_words=[], is_max_context=[])])[0] == [
        {"text": "empty", "probability": 1.0, "start_logit": 0.0, "end_logit": 0.0}
    ]


@pytest.mark.parametrize(
    ("pieces", "text", "expected"),
    [
        ("steve smith", "Steve Smith's", "Steve Smith"),
        ("1895", "(1895-1943).", "1895"),
        ("cafe", "Café,", "Café"),
        ("missing", "Not here", "Not here"),
        ("", "as it is", "as it is"),
    ],
)
def test_final_text_by_hand(pieces, text, expected):
    assert final_text(pieces, text, BasicTokenizer()) == expected


@needs_fixtures
def test_final_text_equals_the_official_one():
    for case in values_of("scorers.json")["get_final_text"]:
        ours = final_text(case["pred_text"], case["orig_text"], BasicTokenizer())
        assert ours == case["expected"]


@needs_fixtures
@pytest.mark.parametrize(("variant", "task"), heads_of(QA))
def test_answers_and_scores_equal_the_official_ones(variant, task):
    values, row = values_of(f"heads/{variant}.json"), get_task(task)
    hparams, expected = values["hparams"], values[task]
    model = load_model(hparams, [task], variant)
    lengths = pick(hparams, *LENGTHS)
    tokenizer = WordPieceTokenizer(read_vocab(FIXTURES / "tokenizer" / "vocab.txt"))
    examples = read_examples(row, "dev", FOLDER / "finetuning_data")
    windows = list(featurize(row, examples, tokenizer, is_training=False, **lengths))
    arrays = padded(windows, lengths["max_seq_length"], task)
    labels = ("start_positions", "end_positions", "is_impossible")
    arrays |= {f"{task}_{name}": np.zeros(len(windows), np.int32) for name in labels}
    outputs = {k: v.numpy() for k, v in model(tensors(arrays))[task].items()}
    assert_close(outputs["loss"], expected["loss_of_each_feature"], LOSS, each=True)
    answers = {}
    for number, group in itertools.groupby(range(len(windows)), lambda i: windows[i]["example"]):
        rows = list(group)
        answers[examples[number].id] = n_best_answers(
            [windows[i] for i in rows],
            [{k: v[i] for k, v in outputs.items()} for i in rows],
            examples[number].document.words,
            tokenizer,
            **pick(hparams, "answerable_classifier", "n_best_size", "max_answer_length"),
        )
    golds = gold_answers(task)
    predictions = {key: n_best[0]["text"] for key, (n_best, _) in answers.items()}
    assert predictions == expected["predictions"]
    for key, rows in expected["n_best"].items():
        ours = answers[key][0][: len(rows)]
        assert [each["text"] for each in ours] == [each["text"] for each in rows]
        for name in ("probability", "start_logit", "end_logit"):
            official = [each[name] for each in rows]
            assert_close([each[name] for each in ours], official, 2 * TENSOR, name=name)
    if row.has_unanswerable:
        null_odds = {key: odds for key, (_, odds) in answers.items()}
        assert_close(null_odds, expected["null_odds"], 2 * TENSOR)  # differences of two logits
        threshold = hparams.get("qa_na_threshold", -2.75)  # the official default: not recorded
        ours = squad_scores(golds, predictions, null_odds, threshold)
    else:
        ours = exact_match_scores(golds, predictions)
    assert ours.keys() == expected["results"].keys()
    for name, score in expected["results"].items():  # a threshold is one of the null odds
        rtol = 2 * TENSOR if name.endswith("_thresh") else 1e-6
        assert_close(ours[name], score, rtol, name=name)
