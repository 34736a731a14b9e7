"""The reader of question answering: a SQuAD or MRQA file enters, questions on documents leave."""

import bisect
import dataclasses
import re

from absl import logging

from electra.finetune.files import format_of, json_lines, read_lines
from electra.storage import check_shape, excerpt, parse_json_dict
from electra.text.wordpiece import CJK_RANGES

_CJK = "".join(f"{chr(first)}-{chr(last)}" for first, last in CJK_RANGES)
# The official code's white space, and no other.
_SPACE = " \t\r\n\u202f"
_WORD = re.compile(f"[^{_SPACE}]+")
_WORD_OR_IDEOGRAPH = re.compile(f"[{_CJK}]|[^{_SPACE}{_CJK}]+")
_PARAGRAPH = {"context": str, "qas": [dict]}
_QUESTION = {"question": str, "answers?": [(str, {"text": str})]}
_SPACES = re.compile(f"[{_SPACE}]+")
_V2 = "the metric squad_v2 where questions may have no answer"


@dataclasses.dataclass(frozen=True, slots=True)
class QAExample:
    """A question about a document.

    Attributes:
        id, question: str.
        document: Document; the questions about one text share it.
        answers: tuple of str, all accepted answers.
        is_impossible: bool, no answer stands in the document.
        answer: str, the one to train on, with first_word and last_word in the document; None in
            other splits than train and for a question without an answer.
    """

    id: str
    question: str
    document: object
    answers: tuple
    is_impossible: bool
    answer: str | None = None
    first_word: int = -1
    last_word: int = -1


class Document:
    """A text cut into words at white space; answers are made of whole words.

    Args:
        context: str.
        ideographs_are_words: bool, whether to cut around each ideograph too.
    Attributes:
        context: str.
        words: list of str.
    """

    def __init__(self, context, ideographs_are_words=False):
        self.context = context
        pattern = _WORD_OR_IDEOGRAPH if ideographs_are_words else _WORD
        spans = [match.span() for match in pattern.finditer(context)]
        self._starts = [start for start, _ in spans]
        self._stops = [stop for _, stop in spans]
        self.words = [context[start:stop] for start, stop in spans]

    def word_at(self, character):
        """Returns the index of the word at (or last before) the index of a character."""
        return max(0, bisect.bisect_right(self._starts, character) - 1)

    def text(self, first, last):
        """Returns the words from first to last, with single spaces where there is white space."""
        return _SPACES.sub(" ", self.context[self._starts[first] : self._stops[last]])


def read_questions(path, source, task, split):
    is_train, examples, misses, ids = split == "train", [], [], set()
    for where, paragraph in _paragraphs(path, format_of(path, source, task)):
        check_shape(paragraph, _PARAGRAPH, f"{where}: ")
        document = Document(paragraph["context"], task.ideographs_are_words)
        for index, question in enumerate(paragraph["qas"]):
            there = f"{where}, qas[{index}]"
            example = _question(question, document, task, is_train, there)
            if not is_train and example.id in ids:
                id = excerpt(example.id)
                raise ValueError(f"{there}: the id {id!r} comes twice. Give each its own")
            if split.startswith("dev") and not (example.answers or task.has_unanswerable):
                raise ValueError(f"{there}: no answers to score with. Give them, or {_V2}")
            ids.add(example.id)
            if example.last_word >= -1:
                examples.append(example)
            else:
                misses.append((there, example))
    if misses:
        there, first = misses[0]
        text = (
            f"{path}: {len(misses)} of {len(misses) + len(examples)} questions have answers that "
            f"do not stand where the file says. The first: {there}, {excerpt(first.answer)!r}"
        )
        if not examples:
            raise ValueError(f"{text}. Expected: answer_start in characters of the context, from 0")
        logging.warning("%s. They are left out.", text)
    return examples


def _paragraphs(path, format):
    """Yields (where, paragraph) of a SQuAD or MRQA file."""
    if format == "mrqa":
        for line, values in json_lines(path):
            if "header" not in values:
                yield f"{path}, line {line}", values
        return
    values = parse_json_dict("".join(line for _, line in read_lines(path)), path)
    check_shape(values, {"data": [{"paragraphs": [dict]}]}, f"{path}: ")
    for index, article in enumerate(values["data"]):
        for number, paragraph in enumerate(article["paragraphs"]):
            yield f"{path}: data[{index}], paragraphs[{number}]", paragraph


def _question(values, document, task, is_train, where):
    id = "qid" if "qid" in values else "id"
    check_shape(values, {id: (str, int), **_QUESTION}, f"{where}: ")
    answers = values.get("answers", ())
    answers = tuple(a["text"] if isinstance(a, dict) else a for a in answers)
    is_impossible = values.get("is_impossible", not answers)
    if is_impossible not in (True, False):
        received = excerpt(repr(is_impossible))
        raise ValueError(f"{where}: is_impossible is no truth value. Received: {received}")
    is_impossible = task.has_unanswerable and bool(is_impossible)
    example = QAExample(str(values[id]), values["question"], document, answers, is_impossible)
    return _locate(example, values, where) if is_train and not is_impossible else example


def _locate(example, values, where):
    """Finds the words of the first answer; last_word is -2 where the text is another."""
    try:
        if "detected_answers" in values:
            answer = values["detected_answers"][0]["text"]
            start = values["detected_answers"][0]["char_spans"][0][0]
        else:
            answer, start = example.answers[0], values["answers"][0]["answer_start"]
        if (type(answer), type(start)) != (str, int):
            raise TypeError
        stop = start + len(answer) - 1
    except (LookupError, TypeError):
        raise ValueError(
            f"{where}: no answer with its place. Expected: answers with text and answer_start "
            f"(SQuAD), detected_answers with text and char_spans (MRQA), or {_V2}"
        ) from None
    document, is_there = example.document, False
    if answer.strip() and document.words and start >= 0 and stop < len(document.context):
        first, last = document.word_at(start), document.word_at(stop)
        is_there = " ".join(answer.split()).lower() in document.text(first, last).lower()
    if not is_there:
        return dataclasses.replace(example, answer=answer, last_word=-2)
    return dataclasses.replace(example, answer=answer, first_word=first, last_word=last)
