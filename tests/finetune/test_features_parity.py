"""Examples and features against those of the official code."""

import json

import pytest

from electra.finetune.families import CLASSIFICATION, QA, REGRESSION, TAGGING
from electra.finetune.featurize import featurize
from electra.finetune.readers import read_examples, resolve_labels
from electra.finetune.tasks import get_task
from electra.text.vocab import read_vocab
from electra.text.wordpiece import WordPieceTokenizer
from tests.finetune.reference import FOLDER, LENGTHS, pick, tasks_of
from tests.shared import FIXTURES, assert_close, needs_fixtures


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(read_vocab(FIXTURES / "tokenizer" / "vocab.txt"))


def load(name):
    return json.loads((FOLDER / "features" / f"{name}.json").read_text(encoding="utf-8"))


def read(task, split):
    return read_examples(task, split, FOLDER / "finetuning_data")


def features_of(task, examples, tokenizer, expected, is_training=False):
    found = list(
        featurize(
            task,
            examples,
            tokenizer,
            is_training=is_training,
            **pick(expected["hparams"], *LENGTHS),
        )
    )
    assert all(set(each["input_mask"]) == {1} for each in found)
    return found


def strip_prefix(features, name):
    """The official names without the task's."""
    return {key.removeprefix(f"{name}_"): value for key, value in features.items()}


def without_zeros(values):
    """As the fixtures store arrays."""
    values = list(values)
    while values and not values[-1]:
        values.pop()
    return values


@needs_fixtures
@pytest.mark.parametrize("name", tasks_of(CLASSIFICATION, REGRESSION))
def test_texts_equal_the_official(name, tokenizer):
    expected = load(name)
    assert tuple(expected.get("label_list", ())) == get_task(name).labels
    for split, rows in expected["splits"].items():
        is_diagnostic = split == "diagnostic"
        task, split = (get_task("ax"), "test") if is_diagnostic else (get_task(name), split)
        examples = read(task, split)
        features = features_of(task, examples, tokenizer, expected)
        assert len(features) == rows["n_examples"] == len(rows["examples"])
        for example, feature, row in zip(examples, features, rows["examples"], strict=True):
            assert (example.text_a, example.text_b) == (row["text_a"], row["text_b"])
            official = strip_prefix(row["features"], name)
            assert feature["example"] == official["eid"]
            for key in ("input_ids", "input_mask", "segment_ids"):
                assert without_zeros(feature[key]) == without_zeros(official[key]), key
            if task.family == REGRESSION:
                assert_close(feature["targets"], official["targets"], 1e-6, atol=1e-7)
            else:
                assert feature["label_ids"] == official["label_ids"]


@needs_fixtures
@pytest.mark.parametrize("name", tasks_of(QA))
def test_questions_equal_the_official(name, tokenizer):
    expected = load(name)
    for split, rows in expected["splits"].items():
        is_training = split == "train"
        examples = read(get_task(name), split)
        features = features_of(get_task(name), examples, tokenizer, expected, is_training)
        assert len(examples) == rows["n_examples"]
        left = iter(features)
        for example, row in zip(examples, rows["examples"], strict=True):
            assert example.id == (row["qas_id"] or row["qid"])
            assert example.question == row["question"]
            assert len(example.document.words) == row["n_doc_tokens"]
            if row["doc_tokens"]:
                assert example.document.words == row["doc_tokens"]
            if is_training:
                assert example.answer == (row["orig_answer_text"] or None)
                assert (example.first_word, example.last_word) == (
                    row["start_word"],
                    row["end_word"],
                )
            for official in row["features"]:
                compare_window(next(left), strip_prefix(official, name), tokenizer, is_training)
        assert next(left, None) is None


def compare_window(found, official, tokenizer, is_training):
    assert 1000 * found["example"] + found["window"] == official["eid"]
    for key in ("input_ids", "input_mask", "segment_ids"):
        assert without_zeros(found[key]) == without_zeros(official[key]), key
    if is_training:
        for key in ("start_positions", "end_positions", "is_impossible"):
            assert found[key] == official[key], key
        return
    assert found["window"] == official["doc_span_index"]
    assert [tokenizer.vocab.tokens[id] for id in found["input_ids"]] == official["tokens"]
    for ours, theirs in (
        ("piece_words", "token_to_orig_map"),
        ("is_max_context", "token_is_max_context"),
    ):
        pairs = [list(pair) for pair in enumerate(found[ours], found["context_start"])]
        assert pairs == official[theirs], ours


@needs_fixtures
@pytest.mark.parametrize("name", tasks_of(TAGGING))
def test_sentences_equal_the_official(name, tokenizer):
    """But for what is meant to differ: segments are 0, and long sentences are cut later."""
    expected = load(name)
    task = resolve_labels(get_task(name), FOLDER / "finetuning_data")
    assert {label: index for index, label in enumerate(task.labels)} == expected["label_mapping"]
    for split, rows in expected["splits"].items():
        examples = read(task, split)
        assert len(examples) == rows["n_examples"]
        for feature, row in zip(
            features_of(task, examples, tokenizer, expected), rows["examples"], strict=False
        ):
            assert examples[feature["example"]].words == tuple(row["words"])
            official = strip_prefix(row["features"], name)
            ids, kept = official["input_ids"], len(official["labels_mask"])
            is_cut = kept < len(row["words"])
            assert feature["input_ids"][: len(ids) - 1] == ids[:-1]
            assert is_cut or feature["input_ids"] == ids
            assert not any(feature["segment_ids"])
            assert feature["labeled_positions"][:kept] == official["labeled_positions"]
            assert feature["labels_mask"][:kept] == official["labels_mask"]
            assert [task.labels.index(tag) for tag in examples[feature["example"]].tags] == (
                row["labels"]
            )
            assert feature["labels"] == row["labels"][: len(feature["labels"])]
