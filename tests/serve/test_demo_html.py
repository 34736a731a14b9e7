"""What the demo page shows: shaded tokens, swapped words, answers of tasks; all of it escaped."""

import html
import re

import numpy as np
import pytest

import electra
from electra.serve import demo_html
from electra.text.vocab import Vocabulary
from electra.text.wordpiece import WordPieceTokenizer
from tests.pretrain.runs import TOKENS
from tests.serve.models import write_finetuned, write_pretrained

HOSTILE = '<script>alert("1")</script> {{w5}} ${w6} `w7` &amp;'
TEXT = "w5 (w6), w7!"
TASKS = ("topic", "grade", "chunk", "ask", "many", "word", "nli")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = write_pretrained(tmp_path_factory.mktemp("pretrained"))
    return electra.load(folder, precision="float32")


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory):
    folder = write_finetuned(tmp_path_factory.mktemp("finetuned"), names=TASKS)
    return electra.load(folder, precision="float32")


def texts(shown):
    """What stands between the tags of HTML, as a list."""
    return [text for text in re.split(r"<[^>]*>|\s+", shown) if text]


def numbers(shown):
    return [float(text) for text in re.findall(r'"number">([\d.]+)<', shown)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(max_length, 3).", ["(", "max_length", ",", "3", ")", "."]),
        ("don't  stop\n", ["don't", "stop"]),
        ("\u6c49\u5b57 a\u6c49", ["\u6c49", "\u5b57", "a", "\u6c49"]),
        ("\u0915\u093f ...", ["\u0915\u093f", ".", ".", "."]),
        ("  ", []),
    ],
)
def test_words_stand_between_blanks_without_the_marks_at_their_ends(text, words):
    tokenizer = WordPieceTokenizer(Vocabulary(TOKENS))
    assert [text[start:end] for start, end in demo_html.find_words(tokenizer, text)] == words


def test_words_have_the_scores_of_the_text(model):
    words = demo_html.score_words(model, TEXT)
    tokens = [token for word in words for token in word.tokens]
    expected = model.detect(TEXT)
    assert [token for token, _ in tokens] == [token for token, _ in expected]
    np.testing.assert_allclose([s for _, s in tokens], [s for _, s in expected], atol=1e-6)
    assert [TEXT[start:end] for start, end, _ in words] == ["w5", "(", "w6", ")", ",", "w7", "!"]


def test_a_word_without_pieces_is_no_button(model):
    words = demo_html.score_words(model, "w5 \u200b w6")
    assert [(start, end) for start, end, _ in words] == [(0, 2), (5, 7)]


def test_a_sentence_shows_each_token_and_its_score(model):
    words = demo_html.score_words(model, TEXT)
    shown = demo_html.show_sentence(words, place=words[2].start)
    scores = [f"{score:.3f}" for word in words for _, score in word.tokens]
    assert re.findall(r'data-score="(.*?)"', shown) == scores
    assert re.findall(r'--score:(.*?)"', shown) == scores
    assert re.findall(r'class="([\w ]*)" data-value="(\d+)"', shown) == [
        ("word chosen" if number == 2 else "word", str(number)) for number in range(len(words))
    ]
    assert "legend" in shown
    assert "<button" not in demo_html.show_sentence(words, clickable=False)


def test_guesses_are_those_for_the_masked_word(model):
    shown = demo_html.show_guesses(model, "w5 w6 [MASK] w7 w8", 13, 15)
    guesses = model.fill_mask("w5 w6 [MASK] [MASK] w8", 10)[1]
    assert re.findall(r'data-value="(.*?)"', shown) == [token for token, _ in guesses]
    assert numbers(shown) == [round(probability, 3) for _, probability in guesses]


def test_a_long_text_is_cut_around_the_word(model):
    words = [f"w{5 + i % 30}" for i in range(40)]
    start = len(" ".join(words[:21])) + 1
    shown = demo_html.show_guesses(model, " ".join(words), start, start + len(words[21]))
    near = model.fill_mask(" ".join([*words[14:21], "[MASK]", *words[22:28]]), 10)[0]
    assert f"“{words[21]}”" in shown
    assert numbers(shown) == [round(probability, 3) for _, probability in near]


def test_each_mask_has_its_guesses(model):
    assert demo_html.show_masks(model, "w5 [MASK] [MASK]").count("<h4>") == 2
    with pytest.raises(ValueError, match="has no \\[MASK\\]"):
        demo_html.show_masks(model, "w5")


def test_a_swapped_word_is_scored_in_its_new_text(model):
    text, shown = demo_html.swap_word(model, "w5 w6, w7", 3, 5, " w9 ")
    assert text == "w5 w9, w7"
    before, after = model.detect("w5 w6, w7")[1].score, model.detect(text)[1].score
    assert f"scored {before:.3f}" in shown and f"scores <b>{after:.3f}</b>" in shown


def test_a_word_that_grows_into_its_neighbour_is_scored(model):
    text, _ = demo_html.swap_word(model, "w5,w6 w7,", 8, 9, "x")
    assert text == "w5,w6 w7x"


def test_nothing_is_no_replacement(model):
    with pytest.raises(ValueError, match="Type the word"):
        demo_html.swap_word(model, "w5 w6", 0, 2, "  ")


def test_labels_are_shown_from_the_likeliest_on(finetuned):
    answer = finetuned.predict("w5 w6", "topic")
    shown = demo_html.show_label(finetuned, "topic", "w5 w6")
    ranked = sorted(answer["probabilities"].items(), key=lambda row: -row[1])
    assert texts(shown) == [part for label, p in ranked for part in (label, f"{p:.3f}")]
    assert shown.index("row best") < shown.index("row", shown.index("row best") + 9)
    value = finetuned.predict("w5 w6", "grade")["value"]
    assert f"{value:.3f}, of 0 to 5" in demo_html.show_label(finetuned, "grade", "w5 w6")
    pair = demo_html.show_label(finetuned, "nli", "w5", "w6")
    assert sum(numbers(pair)) == pytest.approx(1, abs=0.002)
    assert len(numbers(demo_html.show_label(finetuned, "many", "w5"))) == 3
    with pytest.raises(ValueError, match="A field is empty"):
        demo_html.show_label(finetuned, "topic", " ")


@pytest.mark.parametrize("task", ["chunk", "word"])
def test_words_with_tags_are_marked(finetuned, task):
    shown = demo_html.show_tags(finetuned, task, "w5 <w6>, w7")
    (answer,) = finetuned.predict([["w5", "<", "w6", ">", ",", "w7"]], task)
    without_tags = re.sub(r"<small>.*?</small>|<p.*?</p>|<[^>]*>", "", shown)
    assert html.unescape(without_tags) == "w5 <w6>, w7"
    assert shown.count("<small>") == shown.count('class="tag"')
    if task == "word":
        assert re.findall(r"<small>(.*?)</small>", shown) == answer["tags"]


def test_the_answer_is_marked_where_it_stands_once(finetuned, monkeypatch):
    shown = demo_html.show_answer(finetuned, "ask", "w5", "w6 w7 w8")
    answer = finetuned.predict([("w5", "w6 w7 w8")], "ask")[0]
    assert shown.count("<mark>") == bool(answer["text"])
    assert len(numbers(shown)) == min(len(answer["n_best"]), 5)
    answer = {"text": "w6", "n_best": [{"text": "w6", "probability": 1.0}]}
    monkeypatch.setattr(finetuned, "predict", lambda *_: [answer])
    assert "<mark>w6</mark> w7" in demo_html.show_answer(finetuned, "ask", "w5", "w6 w7")
    assert "<mark>" not in demo_html.show_answer(finetuned, "ask", "w5", "w6 w6")


def test_labels_of_ones_own_are_those_of_zero_shot(finetuned):
    arguments = ("w5", ["w6", "w7"], "w8 {}", False, "nli")
    answer = finetuned.zero_shot(*arguments)
    shown = demo_html.show_zero_shot(finetuned, "nli", "w5", "w6, w7,", "w8 {}", False)
    parts = [part for label, p in answer["probabilities"].items() for part in (label, f"{p:.3f}")]
    assert texts(shown) == parts


def test_what_is_typed_is_no_html_and_no_template(model, finetuned):
    shown = [
        demo_html.show_sentence(demo_html.score_words(model, HOSTILE)),
        demo_html.show_guesses(model, HOSTILE, 0, 1),
        demo_html.swap_word(model, HOSTILE, 0, 8, HOSTILE)[1],
        demo_html.show_tags(finetuned, "word", HOSTILE),
        demo_html.show_answer(finetuned, "ask", HOSTILE, HOSTILE),
        demo_html.show_zero_shot(finetuned, "nli", "w5", f"{HOSTILE}, w6", HOSTILE + "{}", False),
        demo_html.attempt(demo_html.show_masks, model, HOSTILE),
    ]
    for view in shown:
        assert not re.search(r"<script|{{|\$\{|`|&amp;(?!amp;)\s", view)
    assert 'role="alert"' in shown[-1]
