"""Featurisation against literal ids."""

import dataclasses

import pytest

from electra.finetune.families.qa.questions import Document, QAExample
from electra.finetune.families.tagging import TaggingExample
from electra.finetune.families.text import TextExample
from electra.finetune.featurize import featurize
from electra.finetune.tasks import get_task
from electra.text.vocab import Vocabulary
from electra.text.wordpiece import WordPieceTokenizer
from tests.text.tiny import TINY

CLS, SEP, UN, AFF, ABLE, COMMA, ELAN, A, DOT = 2, 3, 5, 6, 7, 8, 9, 12, 16
TAGGING = dataclasses.replace(get_task("chunk"), labels=("O", "S-X"))
TEXT = Document("a unaffable elan, a elan.")  # pieces: a un ##aff ##able elan , a elan .
ANSWERED = QAExample("1", "elan a", TEXT, ("elan",), False, "elan", 2, 2)
SMALL = {"max_seq_length": 9, "max_query_length": 2, "doc_stride": 2}  # room for 4 pieces


def features_of(task, examples, max_seq_length, is_training=False, do_lower_case=True, **sizes):
    return list(
        featurize(
            get_task(task) if isinstance(task, str) else task,
            examples,
            WordPieceTokenizer(Vocabulary(TINY), do_lower_case),
            max_seq_length=max_seq_length,
            is_training=is_training,
            **sizes,
        )
    )


def test_one_text_is_cut_at_the_length():
    texts = [TextExample("0", "unaffable, elan", None, "1"), TextExample("1", "a", "", None)]
    first, second = features_of("cola", texts, 6)
    assert first == {
        "example": 0,
        "input_ids": [CLS, UN, AFF, ABLE, COMMA, SEP],
        "input_mask": [1] * 6,
        "segment_ids": [0] * 6,
        "label_ids": 1,
    }
    assert (second["input_ids"], second["label_ids"]) == ([CLS, A, SEP], 0)


def test_of_two_texts_the_longer_is_cut():
    (feature,) = features_of("mrpc", [TextExample("0", "unaffable elan", "a elan a", "1")], 8)
    assert feature["input_ids"] == [CLS, UN, AFF, ABLE, SEP, A, ELAN, SEP]
    assert feature["segment_ids"] == [0, 0, 0, 0, 0, 1, 1, 1]


def test_scores_are_targets():
    (feature,) = features_of("sts", [TextExample("0", "a", "a", 0.52)], 8)
    assert feature["targets"] == 0.52


def test_words_stand_for_their_first_pieces():
    words, tags = ("Unaffable", "\u200b", "élan", "."), ("S-X", "O", "S-X", "O")
    (feature,) = features_of(TAGGING, [TaggingExample("0", words, tags)], 8)
    assert feature["input_ids"] == [CLS, UN, AFF, ABLE, ELAN, DOT, SEP]
    assert feature["segment_ids"] == [0] * 7
    assert feature["labeled_positions"] == [1, 4, 4, 5]  # no piece: the next word's
    assert feature["labels"] == [1, 0, 1, 0]
    assert feature["labels_mask"] == [1.0] * 4


def test_sentences_are_cut_where_their_pieces_end():
    words, tags = ("a", "unaffable", "elan"), ("O", "S-X", "O")
    (feature,) = features_of(TAGGING, [TaggingExample("0", words, tags)], 5)
    assert feature["input_ids"] == [CLS, A, UN, AFF, SEP]
    assert (feature["labeled_positions"], feature["labels"]) == ([1, 2], [0, 1])


def test_words_keep_their_case_if_the_tokenizer_says_so():
    example = TaggingExample("0", ("Elan", "é"), None)
    (feature,) = features_of(TAGGING, [example], 8, do_lower_case=False)
    assert feature["input_ids"] == [CLS, 1, 14, SEP]
    assert feature["labels"] == [0, 0]


def test_windows_overlap_and_know_where_a_piece_has_most_context():
    windows = features_of("squad", [ANSWERED], **SMALL)
    assert [each["input_ids"] for each in windows] == [
        [CLS, ELAN, A, SEP, A, UN, AFF, ABLE, SEP],
        [CLS, ELAN, A, SEP, AFF, ABLE, ELAN, COMMA, SEP],
        [CLS, ELAN, A, SEP, ELAN, COMMA, A, ELAN, SEP],
        [CLS, ELAN, A, SEP, A, ELAN, DOT, SEP],
    ]
    assert windows[3]["segment_ids"] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [each["context_start"] for each in windows] == [4] * 4
    assert [each["piece_words"] for each in windows] == [
        [0, 1, 1, 1],
        [1, 1, 2, 2],
        [2, 2, 3, 4],
        [3, 4, 4],
    ]
    assert [each["is_max_context"] for each in windows] == [
        [True, True, True, False],
        [False, True, True, False],
        [False, True, True, False],
        [False, True, True],
    ]


def test_windows_without_the_answer_train_to_zero():
    # The answer "elan" is inside the word "elan,": its comma is left out.
    windows = features_of("squad", [ANSWERED], is_training=True, **SMALL)
    positions = [(each["start_positions"], each["end_positions"]) for each in windows]
    assert positions == [(0, 0), (6, 6), (4, 4), (0, 0)]
    assert not any(each["is_impossible"] for each in windows)


def test_impossible_questions_train_to_zero_and_are_numbered_on():
    impossible = QAExample("2", "a", TEXT, (), True)
    windows = features_of("squad", [ANSWERED, impossible], 32, is_training=True, max_query_length=9)
    assert [(each["example"], each["window"]) for each in windows] == [(0, 0), (1, 0)]
    assert (windows[1]["start_positions"], windows[1]["is_impossible"]) == (0, True)


def test_lengths_without_room_are_refused():
    with pytest.raises(ValueError, match="max_seq_length 67 leaves no room.*Expected: 68 or more"):
        features_of("squad", [ANSWERED], 67)
