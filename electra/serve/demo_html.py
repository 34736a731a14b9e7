"""What the demo page says of a text, as HTML that needs nothing else than `CSS`.

Enters: what `electra.load` returns, and what was typed. Leaves: HTML, everything typed escaped.
What cannot be answered raises ValueError; `message` shows it.
"""

from __future__ import annotations

import functools
import html
import itertools
import re
from typing import Any, NamedTuple

from electra.finetune.spans import marked_spans
from electra.serve.inputs import MASK
from electra.serve.results import best_answers, best_labels

NUM_GUESSES = 10
_COLOURS = ("#2f9e44", "#1971c2", "#9c36b5", "#e8590c", "#0c8599", "#e03131", "#6741d9", "#66a80f")

# Shades are laid over the page's own colours, so that they fit a dark page too.
CSS = """
.electra { line-height: 1.5; font-size: 1rem; }
.electra button { font: inherit; color: inherit; background: none; border: 0; padding: 0; }
.electra .sentence { line-height: 2.4; overflow-wrap: anywhere; }
.electra .word { display: inline; border-radius: 4px; }
.electra .word + .word { margin-left: 1px; }
.electra button.word { cursor: pointer; }
.electra button:hover { outline: 1px solid currentColor; }
.electra .word.chosen { outline: 2px solid #1971c2; outline-offset: 1px; }
.electra .token { position: relative; padding: .25em 0; border-radius: 3px;
  background: rgba(232, 89, 12, calc(var(--score) * .9)); }
.electra .token + .token { margin-left: 1px; }
.electra [data-score]:hover::after { content: attr(data-score); position: absolute; left: 50%;
  bottom: 105%; transform: translateX(-50%); padding: 0 .4em; border-radius: 4px; z-index: 9;
  background: #212529; color: #fff; font-size: .8rem; line-height: 1.7; white-space: nowrap; }
.electra .legend { display: flex; align-items: center; gap: .6em; font-size: .8rem; opacity: .85;
  margin: .5em 0; flex-wrap: wrap; }
.electra .scale { width: 9em; height: .9em; border-radius: 3px;
  border: 1px solid rgba(127, 127, 127, .4);
  background: linear-gradient(to right, transparent, rgba(232, 89, 12, .9)); }
.electra .note { margin: .8em 0 0; }
button.action { max-width: 12em; align-self: flex-end; }
.electra .message { border-left: 4px solid #e03131; padding: .5em .8em; border-radius: 4px;
  background: rgba(224, 49, 49, .12); overflow-wrap: anywhere; }
.electra .bars { display: grid; grid-template-columns: fit-content(45%) 1fr 3.5em;
  column-gap: .8em; row-gap: .3em; align-items: center; max-width: 44em; }
.electra .bars > .row { display: contents; }
.electra .label { overflow-wrap: anywhere; text-align: left; }
.electra .best .label { font-weight: 600; }
.electra .guess { cursor: pointer; text-decoration: underline dotted; text-underline-offset: 3px; }
.electra .bar { height: .9em; border-radius: 3px; background: rgba(127, 127, 127, .15); }
.electra .bar span { display: block; height: 100%; border-radius: 3px; background: #1971c2;
  width: calc(var(--share) * 100%); min-width: 1px; opacity: .55; }
.electra .best .bar span { opacity: 1; }
.electra .number { font-variant-numeric: tabular-nums; font-size: .9rem; }
.electra .tag { padding: .2em .35em; border-radius: 4px; border: 1px solid var(--colour);
  background: color-mix(in srgb, var(--colour) 18%, transparent); }
.electra .tag small { margin-left: .45em; font-size: .7rem; font-weight: 600; }
.electra mark { background: rgba(47, 158, 68, .3); color: inherit; padding: .1em .2em;
  border-radius: 3px; }
.electra h4 { margin: 1em 0 .4em; font-size: .95rem; font-weight: 600; }
"""


class Word(NamedTuple):
    """A word of a text, text[start:end], and the TokenScores of its pieces."""

    start: int
    end: int
    tokens: list

    @property
    def score(self):
        """The highest score of its pieces."""
        return max(score for _, score in self.tokens)


# ---- replaced tokens ----------------------------------------------------------------------------


def find_words(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Finds what stands between blanks, without the punctuation marks at its ends.

    Returns: list of (start, end); each of those marks is a word too, and an ideograph at an end.

    "(max_length, 3)." gives "(", "max_length", ",", "3", ")" and ".".
    """

    @functools.lru_cache(None)
    def is_mark(character: str) -> bool:
        return len(tokenizer.basic.tokens(f"a{character}a")) == 3

    words = []
    for match in re.finditer(r"\S+", text):
        (start, end), behind = match.span(), []
        while start < end and is_mark(text[start]):
            words.append((start, start + 1))
            start += 1
        while start < end and is_mark(text[end - 1]):
            behind.insert(0, (end - 1, end))
            end -= 1
        words += [(start, end)] * (start < end) + behind
    return words


def score_words(model: Any, text: str) -> list[Word]:
    """Scores the words of a text; those without pieces are left out.

    Raises:
        ValueError: the text has no words, or the model scores none.
    """
    spans = find_words(model.tokenizer, text)
    # With blanks between them the pieces of the words are those of the text.
    scores = iter(model.detect(" ".join(text[start:end] for start, end in spans)))
    words = []
    for start, end in spans:
        pieces = model.tokenizer.tokenize(text[start:end])
        if pieces:
            words.append(Word(start, end, [next(scores) for _ in pieces]))
    return words


def show_sentence(words: list[Word], place: int | None = None, clickable: bool = True) -> str:
    """Shows every token shaded by its score.

    Args:
        words: of a text.
        place: where the word begins that is outlined.
        clickable: whether a word is a button with its number, and the scale is shown.
    """
    shown, end = [], 0
    for number, word in enumerate(words):
        tokens = "".join(
            f'<span class="token" style="--score:{score:.3f}" data-score="{score:.3f}">'
            f"{escape(token.removeprefix('##') if index else token)}</span>"
            for index, (token, score) in enumerate(word.tokens)
        )
        shown.append(" " * (word.start > end))
        kind = 'class="word chosen"' if word.start == place else 'class="word"'
        if clickable:
            shown.append(f'<button type="button" {kind} data-value="{number}">{tokens}</button>')
        else:
            shown.append(f"<span {kind}>{tokens}</span>")
        end = word.end
    scale = """<div class="legend"><span>0: looks original</span><span class="scale"></span>
<span>1: looks replaced</span><span>Hover for the score, click a word to swap it.</span></div>"""
    return _framed(f'<div class="sentence">{"".join(shown)}</div>{scale * clickable}')


def show_guesses(model: Any, text: str, start: int, end: int) -> str:
    """Shows the generator's guesses for a word, with as much of the text as the model can read.

    Each is a button with its text.

    Raises:
        ValueError: the model has no generator.
    """
    first, last = _fitting(model, text, start, end)
    before = text[first:start]
    masked = f"{before}{MASK}{text[end:last]}"
    guesses = model.fill_mask(masked, NUM_GUESSES)[before.count(MASK)]
    title = f"<h4>Masked, the generator guesses instead of “{escape(text[start:end])}”</h4>"
    return _framed(title + _bars(guesses, best=(), clickable=True))


def _fitting(model: Any, text: str, start: int, end: int) -> tuple[int, int]:
    """Returns the part of the text around a word that the model can read, (start, end)."""
    spans = find_words(model.tokenizer, text)
    before = [span for span in reversed(spans) if span[0] < start]
    after = [span for span in spans if span[1] > end]
    first, last, room = start, end, model.max_seq_length - 3  # beside [CLS], [MASK], [SEP]
    for word in itertools.chain.from_iterable(itertools.zip_longest(before, after)):
        if word is not None:
            room -= len(model.tokenizer.tokenize(text[slice(*word)]))
            if room < 0:
                break
            first, last = min(first, word[0]), max(last, word[1])
    return first, last


def swap_word(model: Any, text: str, start: int, end: int, replacement: str) -> tuple[str, str]:
    """Puts another word in a word's place.

    Returns: (the new text, HTML with the scores before and after).
    Raises:
        ValueError: the replacement has no tokens.
    """
    replacement = replacement.strip()
    if not model.tokenizer.tokenize(replacement):
        raise ValueError(f"Type the word that is to stand there. Received: {replacement!r}")
    changed = text[:start] + replacement + text[end:]
    stop = start + len(replacement)
    before, after = score_words(model, text), score_words(model, changed)
    old = max(word.score for word in before if word.start < end and start < word.end)
    new = max(word.score for word in after if word.start < stop and start < word.end)
    note = (
        f'<p class="note">“{escape(text[start:end])}” scored {old:.3f}, '
        f"“{escape(replacement)}” scores <b>{new:.3f}</b>. It was:</p>"
    )
    was = show_sentence(before, start, clickable=False)
    return changed, f'{show_sentence(after, start)}{_framed(note)}<div class="was">{was}</div>'


def show_masks(model: Any, text: str) -> str:
    """Shows the guesses for each [MASK] of a text."""
    found = model.fill_mask(text, NUM_GUESSES)
    titles = [f"<h4>{MASK} number {number}</h4>" for number in range(1, len(found) + 1)]
    if len(found) == 1:
        titles = [f"<h4>Guesses for {MASK}</h4>"]
    return _framed("".join(t + _bars(g, best=()) for t, g in zip(titles, found, strict=True)))


# ---- fine-tuned models --------------------------------------------------------------------------


def show_label(model: Any, task: str, text: str, second: str = "") -> str:
    """Shows the labels of a text or pair and their probabilities, or the value of a regression."""
    answer = model.predict([(text, second)] if second.strip() else [_filled(text)], task)[0]
    if "value" in answer:
        lowest, highest = model.tasks[task].label_range
        return _framed(f"<h4>{answer['value']:.3f}, of {lowest:g} to {highest:g}</h4>")
    return _show_probabilities(answer)


def show_zero_shot(
    model: Any, task: str, text: str, labels: str, hypothesis_template: str, multi_label: bool
) -> str:
    """Shows how likely each label, given with commas between, is to fit the text."""
    names = [name.strip() for name in labels.split(",") if name.strip()]
    answers = model.zero_shot([_filled(text)], names, hypothesis_template, multi_label, task)
    return _show_probabilities(answers[0])


def _show_probabilities(answer: dict[str, Any]) -> str:
    best = answer.get("labels", [answer.get("label")])
    return _framed(_bars(best_labels(answer), best))


def show_tags(model: Any, task: str, text: str) -> str:
    """Shows the words of a text, the spans or words that have a tag marked."""
    places = find_words(model.tokenizer, _filled(text))
    tags = model.predict([[text[start:end] for start, end in places]], task)[0]["tags"]
    spans = marked_spans(tags, model.tasks[task].has_spans)
    kinds = sorted({tag.partition("-")[2] or tag for tag in model.tasks[task].labels} - {"O"})
    shown, behind = [], 0
    for first, last, kind in spans:
        start, end = places[first][0], places[last][1]
        colour = _COLOURS[kinds.index(kind) % len(_COLOURS)] if kind in kinds else "#868e96"
        shown.append(
            f'{escape(text[behind:start])}<span class="tag" style="--colour:{colour}">'
            f"{escape(text[start:end])}<small>{escape(kind)}</small></span>"
        )
        behind = end
    shown.append(escape(text[behind:]))
    note = "" if spans else '<p class="note">No span was found.</p>'
    return _framed(f'<div class="sentence">{"".join(shown)}</div>{note}')


def show_answer(model: Any, task: str, question: str, context: str) -> str:
    """Shows the answer in its text, where it stands there once, and the best answers."""
    answer = model.predict([(_filled(question), _filled(context))], task)[0]
    text, context = answer["text"], " ".join(context.split())  # as an answer's words
    shown = escape(context)
    if text and context.count(text) == 1:
        shown = f"<mark>{escape(text)}</mark>".join(map(escape, context.split(text)))
    title = escape(text) if text else "No answer in this text"
    best = _bars(best_answers(answer), best=(text,))
    return _framed(f"<h4>{title}</h4><p>{shown}</p><h4>The best spans</h4>{best}")


# ---- parts --------------------------------------------------------------------------------------


def attempt(show: Any, *arguments: Any) -> str:
    """Returns what `show` makes of the arguments, or the message of its ValueError."""
    try:
        return show(*arguments)
    except ValueError as error:
        return message(str(error))


def message(text: str) -> str:
    """Shows what went wrong."""
    return _framed(f'<p class="message" role="alert">{escape(text)}</p>')


def escape(text: str) -> str:
    """Makes text that is no HTML, and no template either."""
    table = {ord(character): f"&#{ord(character)};" for character in "{}$`"}
    return html.escape(text).translate(table)


def _framed(inner: str) -> str:
    return f'<div class="electra">{inner}</div>'


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("A field is empty. Type a text")
    return text


def _bars(rows: Any, best: Any, clickable: bool = False) -> str:
    """Shows (label, share) as bars, those in `best` stronger, labels as buttons on request."""
    shown = []
    for label, share in rows:
        name, kind = escape(label), " best" if label in best else ""
        name = f'<span class="label">{name}</span>'
        if clickable:
            value = f'data-value="{escape(label)}"'
            name = f'<button type="button" class="label guess" {value}>{escape(label)}</button>'
        shown.append(
            f'<div class="row{kind}">{name}'
            f'<span class="bar"><span style="--share:{share:.3f}"></span></span>'
            f'<span class="number">{share:.3f}</span></div>'
        )
    return f'<div class="bars">{"".join(shown)}</div>'
