"""Tags to spans and back: by hand, and equal to the official code on malformed tags too."""

import pytest

from electra.finetune.spans import read_spans, write_spans
from tests.finetune.reference import values_of
from tests.shared import needs_fixtures


@pytest.mark.parametrize(
    ("tags", "spans", "bioes"),
    [
        ("B-NP I-NP O B-VP", [(0, 1, "NP"), (3, 3, "VP")], "B-NP E-NP O S-VP"),
        ("B-NP B-NP I-NP", [(0, 0, "NP"), (1, 2, "NP")], "S-NP B-NP E-NP"),
        ("S-A-B E-NP", [(0, 1, "NP")], "B-NP E-NP"),  # malformed: the last tag gives the type
        ("O I-NP I-VP O", [(1, 2, "VP")], "O B-VP E-VP O"),
        ("O", [], "O"),
        ("", [], ""),
    ],
)
def test_spans_by_hand(tags, spans, bioes):
    assert read_spans(tags.split()) == spans
    assert write_spans(spans, len(tags.split())) == bioes.split()


@needs_fixtures
def test_malformed_tags_make_the_official_spans():
    for case in values_of("scorers.json")["spans"]:
        spans = read_spans(case["tags"])
        assert [list(span) for span in spans] == case["spans"]
        assert write_spans(spans, len(case["tags"])) == case["bioes"]
