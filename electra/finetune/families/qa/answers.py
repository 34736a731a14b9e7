"""From the QA head's outputs to answers: n-best spans of a question and its null odds.

Enters: the windows of a question with their outputs. Leaves: texts cut from the context.
"""

import numpy as np

EMPTY = "empty"  # kept from the official code: the answer where no span is allowed


def n_best_answers(
    windows,
    outputs,
    words,
    tokenizer,
    *,
    answerable_classifier=True,
    n_best_size=20,
    max_answer_length=30,
):
    """Finds the best answers of one question.

    Args:
        windows: list of features as featurize.py makes them: input_ids, context_start,
            piece_words, is_max_context.
        outputs: list of dicts, one for each window: the QA head's outputs for its row.
        words: the context's words, list of str.
        tokenizer: electra.text.wordpiece.WordPieceTokenizer.
        answerable_classifier: whether answerable_logit means anything.
        n_best_size: answers kept; also the starts and ends tried where the head is linear.
        max_answer_length: in word pieces.
    Returns: (answers, null_odds): list of dicts text, probability (among them), start_logit,
        end_logit, best first and at least one; float, high where there is no answer.
    Source: SpanBasedQAScorer in finetune/qa/qa_metrics.py of the official code.
    """
    candidates = []
    for window, output in zip(windows, outputs, strict=True):
        for start, end, start_logit, end_logit in _spans(output, n_best_size):
            first, last = start - window["context_start"], end - window["context_start"]
            stop = min(first + max_answer_length, len(window["piece_words"]))
            if 0 <= first <= last < stop and window["is_max_context"][first]:
                candidates.append((start_logit, end_logit, window, start, end))
    candidates.sort(key=lambda candidate: candidate[0] + candidate[1], reverse=True)
    best = {}
    for start_logit, end_logit, window, start, end in candidates:
        text = _answer_text(window, start, end, words, tokenizer)
        best.setdefault(text, (start_logit, end_logit))
        if len(best) == n_best_size:
            break
    best = best or {EMPTY: (0.0, 0.0)}
    totals = np.array([sum(logits) for logits in best.values()])
    probabilities = np.exp(totals - totals.max())
    probabilities /= probabilities.sum()
    answers = [
        {"text": text, "probability": float(p), "start_logit": logits[0], "end_logit": logits[1]}
        for (text, logits), p in zip(best.items(), probabilities, strict=True)
    ]
    if answerable_classifier:
        return answers, min((float(row["answerable_logit"]) for row in outputs), default=0.0)
    nulls = (float(row["start_logits"][0] + row["end_logits"][0]) for row in outputs)
    null = min(nulls, default=0.0)
    return answers, null - float(totals[0])


def final_text(piece_text, text, tokenizer):
    """Cuts the part of `text` that a prediction in basic tokens stands for.

    Args:
        piece_text: the prediction, normalised as the tokenizer does: "steve smith".
        text: the words of the context that hold it: "Steve Smith's".
        tokenizer: BasicTokenizer.
    Returns: the part: "Steve Smith"; the whole `text` where the two do not align.
    Source: get_final_text in finetune/qa/qa_metrics.py of the official code.
    """
    tokens = " ".join(tokenizer.tokens(text))
    start = tokens.find(piece_text)
    in_tokens = [i for i, character in enumerate(tokens) if character != " "]
    in_text = [i for i, character in enumerate(text) if character != " "]
    if start < 0 or not piece_text or len(in_tokens) != len(in_text):
        return text
    last = start + len(piece_text) - 1
    return text[in_text[in_tokens.index(start)] : in_text[in_tokens.index(last)] + 1]


def _spans(output, n_best_size):
    """Yields (start, end, start_logit, end_logit) that a window's outputs rank high."""
    if "start_top_index" in output:
        for i, start in enumerate(output["start_top_index"]):
            start_logit = float(output["start_top_log_probs"][i])
            ends = zip(output["end_top_index"][i], output["end_top_log_probs"][i], strict=True)
            for end, end_logit in ends:
                yield int(start), int(end), start_logit, float(end_logit)
        return
    best_starts, best_ends = (
        [(int(i), float(output[name][i])) for i in _best(output[name], n_best_size)]
        for name in ("start_logits", "end_logits")
    )
    for start, start_logit in best_starts:
        for end, end_logit in best_ends:
            yield start, end, start_logit, end_logit


def _best(logits, count):
    return np.argsort(-np.asarray(logits), kind="stable")[:count]


def _answer_text(window, start, end, words, tokenizer):
    first, last = (window["piece_words"][i - window["context_start"]] for i in (start, end))
    pieces = " ".join(tokenizer.vocab.tokens[id] for id in window["input_ids"][start : end + 1])
    pieces = pieces.replace(" ##", "").replace("##", "")
    return final_text(pieces, " ".join(words[first : last + 1]), tokenizer.basic)
