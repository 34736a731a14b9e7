"""Featurisation: examples enter, features of word piece ids leave, a dict each, not yet padded.

Every feature has `input_ids, input_mask, segment_ids`, lists as long as its text, and `example`,
the number of its example; data/batches.py pads and batches them. What a family adds:

| family | features |
|---|---|
| classification | `label_ids` int, 0 without a label |
| regression | `targets` float |
| tagging | `labeled_positions`, `labels`, `labels_mask`, an entry for each word |
| QA | `window`; in training `start_positions, end_positions, is_impossible`; else |
| | `context_start`, and for each piece behind it `piece_words`, `is_max_context` |
"""

from electra.finetune.tasks import QA, REGRESSION, TAGGING

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
    room = max_seq_length - 3 - (max_query_length if task.family == QA else 0)
    if room < 1:
        raise ValueError(
            f"Task {task.name!r}: max_seq_length {max_seq_length} leaves no room for text. "
            f"Expected: {max_seq_length - room + 1} or more"
        )
    label_ids = {label: index for index, label in enumerate(task.labels)}
    pieces = None, None
    for number, example in enumerate(examples):
        if task.family == QA:
            if pieces[0] is not example.document:
                pieces = example.document, _cut_document(example.document, tokenizer)
            windows = _featurize_question(
                example,
                *pieces[1],
                tokenizer,
                max_seq_length,
                max_query_length,
                doc_stride,
                is_training,
            )
        elif task.family == TAGGING:
            windows = [_featurize_sentence(example, tokenizer, max_seq_length, label_ids)]
        else:
            windows = [featurize_texts(example, tokenizer, max_seq_length)]
            if task.family == REGRESSION:
                windows[0]["targets"] = example.label or 0.0
            else:
                windows[0]["label_ids"] = label_ids.get(example.label, 0)
        for window in windows:
            yield {"example": number, **window}


def lay_out(vocab, first, second=None):
    """[CLS] first [SEP], or [CLS] first [SEP] second [SEP] with segment 1 from second on."""
    ids = [vocab.cls_id, *first, vocab.sep_id]
    segments = [0] * len(ids)
    if second is not None:
        ids += [*second, vocab.sep_id]
        segments += [1] * (len(second) + 1)
    return {"input_ids": ids, "input_mask": [1] * len(ids), "segment_ids": segments}


def featurize_texts(example, tokenizer, max_seq_length):
    """Returns the features of a TextExample that the encoder reads, max_seq_length at most.

    Source: `SingleOutputTask.featurize` of finetune/classification/classification_tasks.py.
    """
    first = tokenizer.encode(example.text_a)
    second = tokenizer.encode(example.text_b) if example.text_b else None
    if not second:
        return lay_out(tokenizer.vocab, first[: max_seq_length - 2])
    # The longer text is cut piece by piece, the second one where both are as long.
    while len(first) + len(second) > max_seq_length - 3:
        (first if len(first) > len(second) else second).pop()
    return lay_out(tokenizer.vocab, first, second)


def _featurize_sentence(example, tokenizer, max_seq_length, label_ids):
    """A word stands for its first piece; one without pieces for the next word's.

    With "un", "##aff" and "##able" known, the words "unaffable ," have the positions 1 and 4.

    Differs from source: segment ids are 0, words are folded as the tokenizer says, and a sentence
    is cut where its pieces end, not where its words and pieces together would.
    """
    ids, positions = [], []
    for word in example.words:
        positions.append(len(ids) + 1)
        ids += tokenizer.encode_word(word)
    room = max_seq_length - 2
    kept = [each for each in positions if each <= room or len(ids) <= room]
    tags = example.tags or ()
    return {
        **lay_out(tokenizer.vocab, ids[:room]),
        "labeled_positions": kept,
        "labels": [label_ids[tag] for tag in tags[: len(kept)]] or [0] * len(kept),
        "labels_mask": [1.0] * len(kept),
    }


# ---- questions --------------------------------------------------------------------------------


def _cut_document(document, tokenizer):
    """Returns (pieces, word of each piece, first piece of each word and of the end)."""
    pieces, piece_words, word_starts = [], [], []
    for index, word in enumerate(document.words):
        word_starts.append(len(pieces))
        found = tokenizer.encode(word)
        pieces += found
        piece_words += [index] * len(found)
    return pieces, piece_words, [*word_starts, len(pieces)]


def _featurize_question(
    example,
    pieces,
    piece_words,
    word_starts,
    tokenizer,
    max_seq_length,
    max_query_length,
    doc_stride,
    is_training,
):
    """Source: `QATask.featurize` of the official finetune/qa/qa_tasks.py.

    Windows of a document overlap: with room for 4 pieces and a stride of 2, 7 pieces make the
    windows 0-3, 2-5 and 4-6. Windows that miss the answer train to the positions 0, 0.
    """
    query = tokenizer.encode(example.question)[:max_query_length]
    room = max_seq_length - len(query) - 3
    starts = _window_starts(len(pieces), room, doc_stride)
    answer = None
    if is_training and example.answer is not None:
        answer = _answer_pieces(example, pieces, word_starts, tokenizer)
    owners = None if is_training else _owners(len(pieces), starts, room)
    for window, start in enumerate(starts):
        stop, context_start = min(start + room, len(pieces)), len(query) + 2
        feature = {**lay_out(tokenizer.vocab, query, pieces[start:stop]), "window": window}
        if is_training:
            is_inside = answer is not None and start <= answer[0] and answer[1] < stop
            first, last = answer if is_inside else (start - context_start,) * 2
            feature["start_positions"] = first - start + context_start
            feature["end_positions"] = last - start + context_start
            feature["is_impossible"] = example.is_impossible
        else:
            feature["context_start"] = context_start
            feature["piece_words"] = piece_words[start:stop]
            feature["is_max_context"] = [owner == window for owner in owners[start:stop]]
        yield feature


def _window_starts(num_pieces, room, doc_stride):
    """Returns where the windows of a document start; the last one reaches its end."""
    step = min(room, doc_stride)
    num_more = max(0, -(-(num_pieces - room) // step))
    return [window * step for window in range(num_more + 1)] if num_pieces else []


def _owners(num_pieces, starts, room):
    """Returns for each piece the window in which it has most context on its poorer side.

    The first of equals; longer windows are a little better, as in the official code.
    """
    owners, best = [0] * num_pieces, [-1.0] * num_pieces
    for window, start in enumerate(starts):
        stop = min(start + room, num_pieces)
        bonus = 0.01 * (stop - start)
        for at in range(start, stop):
            score = min(at - start, stop - 1 - at) + bonus
            if score > best[at]:
                owners[at], best[at] = window, score
    return owners


def _answer_pieces(example, pieces, word_starts, tokenizer):
    """Returns the first and last piece of the answer, inside its words where that is possible.

    The words "1895-1943)." with the answer "1895" give the piece 1895 alone.
    """
    first, last = word_starts[example.first_word], word_starts[example.last_word + 1] - 1
    answer = tokenizer.encode(example.answer)
    for start in range(first, last - len(answer) + 2):
        if answer and pieces[start : start + len(answer)] == answer:
            return start, start + len(answer) - 1
    return first, last
