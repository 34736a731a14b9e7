"""Zero-shot classification: equal to scoring the pairs by hand, and what it refuses."""

import numpy as np
import pytest

import electra
from electra.serve.inputs import text_features
from tests.serve.models import write_finetuned, write_pretrained

TEXTS = ["w5 w6 w7", "w8"]
LABELS = ["w9", "w10 w11", "w12"]
TEMPLATE = "w13 {} w14"
PAIRS = [(text, TEMPLATE.format(label)) for text in TEXTS for label in LABELS]
ENTAILMENT, CONTRADICTION = 1, 0  # of contradiction, entailment, neutral


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = write_finetuned(
        tmp_path_factory.mktemp("nli"), names=("nli", "two", "topic", "grade", "many")
    )
    return electra.load(folder, precision="float32")


@pytest.fixture(scope="module")
def logits(model):
    """The head's logits of each pair by itself, (texts, labels, classes)."""
    found = []
    for pair in PAIRS:
        features = text_features([pair], model.tokenizer, model.max_seq_length)
        batch = features.padded([0], model.max_seq_length, leave=("example",))
        found.append(np.array(model._network(batch, tasks=["nli"])["nli"]["logits"])[0])
    return np.reshape(found, (len(TEXTS), len(LABELS), 3))


def softmax(logits):
    powers = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return powers / np.sum(powers, axis=-1, keepdims=True)


def rows(answers):
    return [[answer["probabilities"][label] for label in LABELS] for answer in answers]


def test_labels_share_the_softmax_of_their_entailment_logits(model, logits):
    answers = model.zero_shot(TEXTS, LABELS, TEMPLATE, task="nli")
    expected = softmax(logits[..., ENTAILMENT])
    np.testing.assert_allclose(rows(answers), expected, atol=1e-5)
    for number, (answer, row) in enumerate(zip(answers, expected, strict=True)):
        assert answer["id"] == str(number) and answer["label"] == LABELS[np.argmax(row)]
        values = list(answer["probabilities"].values())
        assert values == sorted(values, reverse=True)


def test_labels_by_themselves_set_entailment_against_contradiction(model, logits):
    answers = model.zero_shot(TEXTS, LABELS, TEMPLATE, True, "nli")
    expected = softmax(logits[..., [ENTAILMENT, CONTRADICTION]])[..., 0]
    np.testing.assert_allclose(rows(answers), expected, atol=1e-5)
    for answer, row in zip(answers, expected, strict=True):
        assert set(answer["labels"]) == {x for x, p in zip(LABELS, row, strict=True) if p > 0.5}


def test_pairs_are_scored_as_predict_scores_them(model, logits):
    predicted = [row["probabilities"] for row in model.predict(PAIRS, "nli")]
    probabilities = np.array([list(row.values()) for row in predicted])
    np.testing.assert_allclose(probabilities, softmax(logits).reshape(-1, 3), atol=1e-5)
    against = probabilities[:, ENTAILMENT] / (
        probabilities[:, ENTAILMENT] + probabilities[:, CONTRADICTION]
    )
    answers = model.zero_shot(TEXTS, LABELS, TEMPLATE, multi_label=True, task="nli")
    np.testing.assert_allclose(np.ravel(rows(answers)), against, atol=1e-5)


def test_one_label_alone_is_judged_by_itself(model):
    alone = model.zero_shot(TEXTS[0], ["w9"], TEMPLATE, task="nli")
    among = model.zero_shot(TEXTS[0], LABELS, TEMPLATE, multi_label=True, task="nli")
    assert alone["label"] == "w9"
    assert alone["probabilities"]["w9"] == pytest.approx(among["probabilities"]["w9"], abs=1e-5)


def test_labels_of_any_name_can_mean_entailment(model):
    given = {"task": "two", "multi_label": True, "entailment_label": "1"}
    (row,) = model.predict([PAIRS[0]], "two")
    answer = model.zero_shot(TEXTS[0], LABELS[:1], TEMPLATE, **given)
    assert answer["probabilities"]["w9"] == pytest.approx(row["probabilities"]["1"], abs=1e-5)
    swapped = model.zero_shot(
        TEXTS[0],
        LABELS[:1],
        TEMPLATE,
        task="nli",
        entailment_label="neutral",
        contradiction_label="entailment",
    )
    found = model.predict([PAIRS[0]], "nli")[0]["probabilities"]
    expected = found["neutral"] / (found["neutral"] + found["entailment"])
    assert swapped["probabilities"]["w9"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": None}, "task must be one of nli, two, topic"),
        (
            {"task": "topic"},
            "Task 'topic' tells no entailment \\(labels: no, yes\\). Expected: a mod",
        ),
        ({"task": "grade"}, "tells no entailment \\(family: regression\\)"),
        ({"task": "many", "entailment_label": "a"}, "Task 'many': label 'a' is unknown"),
        ({"entailment_label": "entailed"}, "label 'entailed' is unknown. Closest: 'entailment'"),
        ({"labels": []}, "labels must be a list of one or more strings, each once and none empty"),
        ({"labels": "w9"}, "labels must be a list"),
        ({"labels": ["w9", "w9"]}, "labels must be a list"),
        ({"labels": ["w9", 3]}, "labels must be a list"),
        ({"hypothesis_template": "w9"}, "hypothesis_template must be a sentence with {} in place"),
        ({"texts": [("w5", "w6")]}, "Text 0 must be a string. Received"),
    ],
)
def test_what_cannot_be_asked_is_refused(model, given, message):
    given = {"texts": TEXTS, "labels": LABELS, "task": "nli", **given}
    with pytest.raises(ValueError, match=message):
        model.zero_shot(**given)


def test_a_pretrained_model_says_what_it_lacks(tmp_path):
    with pytest.raises(ValueError, match="fine-tuned on nothing"):
        electra.load(write_pretrained(tmp_path)).zero_shot("w5", ["w6"])
