"""How answers are shown: of each kind of answer a JSON object, lines of text, cells of a table.

Enters: an answer of a loaded model. Leaves: dicts and text; page.py has the HTML.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from electra.finetune.families import CLASSIFICATION, MULTILABEL, QA, REGRESSION, TAGGING
from electra.finetune.tasks import Task
from electra.serve import page
from electra.serve.results import SHOWN, Guess, TokenScore, best_answers, best_labels

_BAR_WIDTH = 30


@dataclasses.dataclass(frozen=True)
class View:
    """How answers of one kind are shown.

    Attributes:
        text: function of an answer: lines.
        html: function of a row's values and an answer: an element.
        cells: function of an answer: dict column -> text, "prediction" first; None where no
            table is natural.
        record: function of an answer: dict of JSON values.
        legend: of the HTML page, an element.
    """

    text: Callable[[Any], str]
    html: Callable[[dict[str, Any], Any], str]
    cells: Callable[[Any], dict[str, Any]] | None = None
    record: Callable[[Any], dict[str, Any]] = lambda answer: {
        name: value for name, value in answer.items() if name != "id"
    }
    legend: str = ""


def format_scores(scores: list[tuple[str, float]]) -> str:
    """One line a token: the token, its probability, and a bar as long as that."""
    width = max((len(token) for token, _ in scores), default=0)
    return "\n".join(
        f"  {token:{width}}  {score:.3f}  {'#' * round(score * _BAR_WIDTH)}".rstrip()
        for token, score in scores
    )


def view_of(task: Task) -> View:
    """Returns how the predictions of a task are shown."""
    if task.family == TAGGING:
        html = functools.partial(page.tags, has_spans=task.has_spans)
        return View(_tags_text, html, lambda answer: {"prediction": " ".join(answer["tags"])})
    return _FAMILIES[task.family]


def _scores_record(answer: list[TokenScore]) -> dict[str, Any]:
    return {
        "tokens": [token for token, _ in answer],
        "scores": [_short(score) for _, score in answer],
    }


def _guesses_record(answer: list[list[Guess]]) -> dict[str, Any]:
    masks = [[{"token": t, "probability": _short(p)} for t, p in guesses] for guesses in answer]
    return {"masks": masks}


def _short(value: float) -> float:
    from electra.finetune.families.base import short  # with Keras, which --help needs not

    return short(value)


def _labels_text(answer: dict[str, Any]) -> str:
    return format_scores(best_labels(answer)[:SHOWN])


def _labels_cells(answer: dict[str, Any]) -> dict[str, Any]:
    label = answer["label"] if "label" in answer else ",".join(answer["labels"])
    probabilities = {f"probability_{name}": p for name, p in answer["probabilities"].items()}
    return {"prediction": label, **probabilities}


def _tags_text(answer: dict[str, Any]) -> str:
    width = max(map(len, answer["words"]))
    return "\n".join(
        f"  {word:{width}}  {tag}".rstrip()
        for word, tag in zip(answer["words"], answer["tags"], strict=True)
    )


def _answers_text(answer: dict[str, Any]) -> str:
    return f"  {answer['text'] or '(no answer)'}\n{format_scores(best_answers(answer))}"


DETECT = View(format_scores, page.scores, record=_scores_record, legend=page.SCORES_LEGEND)
FILL_MASK = View(
    lambda answer: "\n\n".join(map(format_scores, answer)), page.guesses, record=_guesses_record
)
LABELS = View(_labels_text, page.labels, _labels_cells)
_FAMILIES = {
    CLASSIFICATION: LABELS,
    MULTILABEL: LABELS,
    REGRESSION: View(
        lambda answer: f"  {answer['value']:.6g}",
        page.value,
        lambda answer: {"prediction": answer["value"]},
    ),
    QA: View(
        _answers_text,
        page.answers,
        lambda answer: {"prediction": answer["text"], "null_odds": answer["null_odds"]},
    ),
}
