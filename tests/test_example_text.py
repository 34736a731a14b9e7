"""The sentence that a vocabulary knows."""

import pytest

from electra.example_text import EXAMPLES, example_of, example_of_file
from tests.shared import DATA, needs_data


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.question)
def test_a_vocabulary_gets_the_sentence_of_its_language(example):
    assert example_of([*example.text.rstrip(".。").split(), *example.text, "x"]) == example


def test_without_a_vocabulary_it_is_english(tmp_path):
    assert example_of([]) == example_of_file(tmp_path / "none") == EXAMPLES[0]
    (tmp_path / "vocab.txt").write_bytes(b"\xff")
    assert example_of_file(tmp_path / "vocab.txt") == EXAMPLES[0]


@needs_data
@pytest.mark.parametrize(
    ("name", "place"), [("bert-base-uncased", 0), ("selectra-50k", 1), ("bert-base-chinese", 2)]
)
def test_vocabularies_of_published_models(name, place):
    assert example_of_file(DATA / "vocab" / f"{name}-vocab.txt") == EXAMPLES[place]
