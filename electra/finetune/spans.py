"""Spans of tags: BIO, IOB or BIOES tags enter, (first, last, type) leave, and the way back.

Source: the official finetune/tagging/tagging_utils.py.
"""


def read_spans(tags):
    """Finds the spans that tags mark.

    Args:
        tags: list of str, "O" or a letter of "BIES", a dash and a type.
    Returns: list of (first, last, type), both ends inside. B-NP I-NP O S-VP gives (0, 1, "NP") and
        (3, 3, "VP").

    Kept from the official code: only B, S and O end a span, so that I-NP I-VP is one, of the type
    VP (test_malformed_tags_make_the_official_spans).
    """
    spans, start, last = [], 0, "O"
    for index, tag in enumerate([*tags, "O"]):
        begins = tag[0] in "BS"
        if (begins or tag == "O") and last != "O":
            spans.append((start, index - 1, last.partition("-")[2]))
        if begins or last == "O":
            start = index
        last = tag
    return spans


def marked_spans(tags, has_spans):
    """Returns what tags mark as (first, last, type): spans, or else the words that have a tag."""
    if has_spans:
        return read_spans(tags)
    return [(place, place, tag) for place, tag in enumerate(tags) if tag]


def all_tags(tags):
    """Returns the set of "O" and all four letters of every type that BIOES tags have."""
    kinds = {tag[2:] for tag in tags if tag[1:2] == "-"}
    return {"O", *(f"{letter}-{kind}" for letter in "BIES" for kind in kinds)}


def write_spans(spans, length):
    """Writes spans as BIOES tags: list of `length` str."""
    tags = ["O"] * length
    for first, last, kind in spans:
        tags[first : last + 1] = [f"I-{kind}"] * (last + 1 - first)
        tags[last] = f"E-{kind}"
        tags[first] = f"B-{kind}" if first < last else f"S-{kind}"
    return tags
