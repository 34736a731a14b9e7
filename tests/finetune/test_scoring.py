"""Predictions of a split: what counts as one answer to everything."""

from electra.finetune import scoring
from electra.finetune.questions import Document, QAExample
from electra.finetune.tasks import get_task


def test_one_answer_to_all_questions_is_constant():
    task, document = get_task("squadv1"), Document("w5 w6")
    examples = [QAExample(key, "w5", document, (f"w{key}",), False) for key in ("5", "6")]

    def answered(*texts):
        return {
            each.id: ([{"text": text, "probability": 1.0}], 0.0)
            for each, text in zip(examples, texts, strict=True)
        }

    assert scoring.is_constant(task, examples, answered("", ""))
    assert not scoring.is_constant(task, examples, answered("w5", "w6"))
    assert not scoring.is_constant(task, examples[:1], {"5": answered("", "")["5"]})
