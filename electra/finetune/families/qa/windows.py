"""From a question and its document to features: windows of word pieces that overlap."""

from electra.finetune.families.base import build_inputs


def cut_document(document, tokenizer):
    """Returns (pieces, word of each piece, first piece of each word and of the end)."""
    pieces, piece_words, word_starts = [], [], []
    for index, word in enumerate(document.words):
        word_starts.append(len(pieces))
        word_pieces = tokenizer.encode(word)
        pieces += word_pieces
        piece_words += [index] * len(word_pieces)
    return pieces, piece_words, [*word_starts, len(pieces)]


def featurize_question(
    example,
    pieces,
    piece_words,
    word_starts,
    tokenizer,
    *,
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
        feature = {**build_inputs(tokenizer.vocab, query, pieces[start:stop]), "window": window}
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
