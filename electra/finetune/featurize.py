"""Featurisation: examples enter, features of word piece ids leave, a dict each, not yet padded.

Every feature has `input_ids, input_mask, segment_ids`, lists as long as its text, and `example`,
the number of its example; data/batches.py pads and batches them. What a family adds:

| family | features |
|---|---|
| classification | `label_ids` int, 0 without a label |
| regression | `targets` float |
| tagging | `labeled_positions`, `labels`, `labels_mask`, an entry for each word |
| multilabel | `label_0`, `label_1`, ...: 1 where the text has the label |
| QA | `window`; in training `start_positions, end_positions, is_impossible`; else |
| | `context_start`, and for each piece behind it `piece_words`, `is_max_context` |
"""

from electra.finetune import families

# What the model does not read.
HOST_FEATURES = ("example", "window", "context_start", "piece_words", "is_max_context")


def featurize(
    task, examples, tokenizer, *, max_seq_length, is_training, max_query_length=64, doc_stride=128
):
    """Makes the features of examples.

    Args:
        task: electra.finetune.tasks.Task with its labels resolved.
        examples: list as `electra.finetune.readers.read_examples` returns it.
        tokenizer: electra.text.wordpiece.WordPieceTokenizer.
        max_seq_length: int, tokens of a feature at most.
        is_training: bool, whether QA features say where the answer is or which words they hold.
        max_query_length, doc_stride: int, tokens; of QA only.
    Yields: dict, in the order of the examples; a document makes several.
    Raises:
        ValueError: max_seq_length leaves no room.
    """
    family = families.get_family(task.family)
    least = 4 + (max_query_length if family.has_query else 0)
    if max_seq_length < least:
        raise ValueError(
            f"Task {task.name!r}: max_seq_length {max_seq_length} leaves no room for text. "
            f"Expected: {least} or more"
        )
    sizes = {"max_seq_length": max_seq_length, "max_query_length": max_query_length}
    sizes |= {"doc_stride": doc_stride, "is_training": is_training}
    for number, feature in family.featurize(task, examples, tokenizer, **sizes):
        yield {"example": number, **feature}
