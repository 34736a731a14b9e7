"""Question answering: what counts as one answer to everything."""

import dataclasses

from electra.finetune.families import QA, get_family
from electra.finetune.families.qa.questions import Document, QAExample
from electra.finetune.tasks import get_task


def test_one_answer_to_all_questions_is_constant():
    task, document = get_task("squadv1"), Document("w5 w6")
    examples = [QAExample(key, "w5", document, (f"w{key}",), False) for key in ("5", "6")]

    def answered(*texts):
        return {
            each.id: ([{"text": text, "probability": 1.0}], 0.0)
            for each, text in zip(examples, texts, strict=True)
        }

    assert get_family(QA).is_constant(task, examples, answered("", ""))
    assert not get_family(QA).is_constant(task, examples, answered("w5", "w6"))
    assert not get_family(QA).is_constant(task, examples[:1], {"5": answered("", "")["5"]})


def test_no_answer_to_any_question_is_constant():
    task, document = get_task("squad"), Document("w5 w6")
    examples = [
        QAExample("a", "w5", document, ("w5",), False),
        QAExample("b", "w6", document, (), True),
    ]

    def is_constant(*odds, task=task, examples=examples):
        predictions = {
            each.id: ([{"text": text, "probability": 1.0}], null_odds)
            for each, text, null_odds in zip(examples, ("w5", "w6"), odds, strict=True)
        }
        return get_family(QA).is_constant(task, examples, predictions, qa_na_threshold=0.5)

    assert is_constant(0.75, 2.0)
    assert not is_constant(0.75, 0.5)
    assert not is_constant(0.75, 2.0, task=get_task("squadv1"))  # its threshold is not used
    unanswerable = [dataclasses.replace(each, answers=()) for each in examples]
    assert not is_constant(0.75, 2.0, examples=unanswerable)
