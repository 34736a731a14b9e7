"""Answers as an HTML page: texts and answers enter, elements leave; every text is escaped.

The page needs nothing besides itself: no script, no font, no picture.
"""

from __future__ import annotations

import zlib
from html import escape
from typing import Any

from electra.finetune.spans import marked_spans
from electra.serve.inputs import MASK
from electra.serve.results import SHOWN, Guess, TokenScore, best_answers, best_labels
from electra.serve.rows import plain

_STYLE = """
body { font: 16px/1.7 system-ui, sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em;
  color: #111; background: #fff; }
article { border-top: 1px solid #ccc; padding: .6em 0; }
p { margin: .3em 0; white-space: pre-wrap; }
table { font-size: 85%; border-spacing: .6em 0; }
mark { color: inherit; background: #ffe08a; padding: .1em .2em; border-radius: .2em; }
small { color: #333; }
""".strip()


def head(title: str, legend: str) -> str:
    """Returns the page up to the first answer."""
    return (
        '<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{legend}"
    )


FOOT = "</body>\n</html>\n"


def scores(values: dict[str, Any], answer: list[TokenScore]) -> str:
    """Shades each token by the probability that it is a replacement."""
    parts = []
    for token, score in answer:
        before = "" if token.startswith("##") or not parts else " "
        parts.append(f"{before}{_shaded(token.removeprefix('##'), score)}")
    return f"<p>{''.join(parts)}</p>"


def guesses(values: dict[str, Any], answer: list[list[Guess]]) -> str:
    """Shows a text with the best guesses in place of its masks, the others below."""
    first, *parts = values["text"].split(MASK)
    text, tables = escape(first), []
    for of_mask, part in zip(answer, parts, strict=True):
        text += f"<mark>{escape(of_mask[0].token)}</mark>{escape(part)}"
        tables.append(_table(of_mask))
    return f"<p>{text}</p>\n{''.join(tables)}"


def labels(values: dict[str, Any], answer: dict[str, Any]) -> str:
    """Shows the text, what was predicted, and the probabilities of the best labels."""
    chosen = [answer["label"]] if "label" in answer else answer["labels"]
    marks = " ".join(f"<mark>{escape(label)}</mark>" for label in chosen) or "<small>none</small>"
    return f"{_texts(values)}<p>{marks}</p>\n{_table(best_labels(answer)[:SHOWN])}"


def value(values: dict[str, Any], answer: dict[str, Any]) -> str:
    """Shows the text and its number."""
    return f"{_texts(values)}<p><mark>{answer['value']:.6g}</mark></p>\n"


def tags(values: dict[str, Any], answer: dict[str, Any], has_spans: bool) -> str:
    """Colours spans by their type; of single words' tags, each word by its own."""
    words, spans = answer["words"], marked_spans(answer["tags"], has_spans)
    starts = {first: (last, kind) for first, last, kind in spans}
    parts, place = [], 0
    while place < len(words):
        last, kind = starts.get(place, (place, ""))
        text = escape(" ".join(words[place : last + 1]))
        if kind:
            hue = zlib.crc32(kind.encode("utf-8", "backslashreplace")) % 360
            style = f"background: hsl({hue} 75% 85%)"
            text = f'<mark style="{style}">{text} <small>{escape(kind)}</small></mark>'
        parts.append(text)
        place = last + 1
    return f"<p>{' '.join(parts)}</p>\n"


def answers(values: dict[str, Any], answer: dict[str, Any]) -> str:
    """Shows a question, and the text with the answer marked."""
    context, text = values["context"], answer["text"]
    if text not in context:  # an answer is words with single spaces between
        context = " ".join(context.split())
    before, found, after = context.partition(text) if text else (context, "", "")
    marked = f"<mark>{escape(found)}</mark>" if found else ""
    said = "" if text else "<p><mark>no answer</mark></p>\n"
    return (
        f"<p><b>{escape(values['question'])}</b></p>\n{said}"
        f"<p>{escape(before)}{marked}{escape(after)}</p>\n"
        f"{_table(best_answers(answer))}"
    )


def _shaded(text: str, score: float) -> str:
    style = f"background: rgb(255 120 0 / {score:.3f})"
    return f'<span style="{style}" title="{score:.3f}">{escape(text)}</span>'


def _texts(values: dict[str, Any]) -> str:
    return "".join(f"<p>{escape(plain(text))}</p>\n" for text in values.values())


def _table(rows: list[tuple[str, float]]) -> str:
    lines = "".join(
        f"<tr><td>{escape(name)}</td><td>{probability:.3f}</td>"
        f'<td><meter value="{probability:.3f}"></meter></td></tr>\n'
        for name, probability in rows
    )
    return f"<table>\n{lines}</table>\n"


SCORES_LEGEND = (
    "<p>How likely each token was replaced: "
    f"{' '.join(_shaded(f'{tenth / 10:.1f}', tenth / 10) for tenth in range(0, 11, 2))}</p>\n"
)
