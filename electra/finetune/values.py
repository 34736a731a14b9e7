"""Examples of values instead of files: what one hands to a loaded model."""

from electra.finetune.questions import Document, QAExample
from electra.finetune.readers import TaggingExample, TextExample
from electra.finetune.tasks import QA, TAGGING


def examples_of(task, rows):
    """Makes examples without labels.

    Args:
        task: Task.
        rows: list; of classification and regression texts or pairs of texts; of tagging lists of
            words, or strings that are split at white space; of QA pairs (question, text).
    Returns: list of TextExample, TaggingExample or QAExample; their ids count from 0.
    Raises:
        ValueError: a row of another form.
    """
    return [_example(task, str(number), row) for number, row in enumerate(rows)]


def _example(task, id, row):
    parts = row.split() if task.family == TAGGING and isinstance(row, str) else row
    parts = (parts,) if isinstance(parts, str) else parts
    is_right = isinstance(parts, tuple | list) and all(isinstance(each, str) for each in parts)
    if task.family == TAGGING:
        if is_right and parts:
            return TaggingExample(id, tuple(parts), None)
        expected = "a list of words, or a string"
    elif task.family == QA:
        if is_right and len(parts) == 2:
            document = Document(parts[1], task.ideographs_are_words)
            return QAExample(id, parts[0], document, (), False)
        expected = "a pair of strings, the question and the text"
    else:
        if is_right and 1 <= len(parts) <= 2:
            return TextExample(id, parts[0], parts[1] if len(parts) == 2 else None, None)
        expected = "a string, or a pair of strings"
    raise ValueError(f"Row {id} for task {task.name!r} must be {expected}. Received: {row!r:.80}")
