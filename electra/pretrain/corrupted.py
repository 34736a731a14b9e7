"""Corrupted sentences to look at: what the generator made of text, what the discriminator says.

Enters: ids and logits of a few held-out examples. Leaves: rows of JSON values, Markdown of them.
"""

import math
import re

FILE = "corrupted.json"  # in the model's folder: the newest ones
LEGEND = (
    "🟩 replaced, and called so  🟥 replaced, but taken for the original  🟨 original, but called "
    "replaced; (was ...): the original"
)


def readable_example(tokens, input_ids, corrupted_input_ids, is_fake_tokens, disc_logits):
    """Returns an example as a list of dicts, one a token, without padding: token, probability that
    it was replaced (by the discriminator), and of a replaced one its original.

    Args:
        tokens: the vocabulary's strings; what lies behind them is shown as its number.
        input_ids, corrupted_input_ids, is_fake_tokens, disc_logits: (L,), without padding.
    """
    row = []
    columns = (input_ids, corrupted_input_ids, is_fake_tokens, disc_logits)
    for original, shown, is_fake, logit in zip(*columns, strict=True):
        of_token = {
            "token": _token(shown, tokens),
            "probability": round(0.5 + 0.5 * math.tanh(float(logit) / 2), 4),
        }
        row.append(of_token | ({"original": _token(original, tokens)} if is_fake else {}))
    return row


def as_markdown(examples):
    """Returns what readable_example gave of several examples as Markdown, the legend first."""
    return "\n\n".join([LEGEND, *(" ".join(map(_marked, example)) for example in examples)])


def _token(number, tokens):
    return tokens[number] if number < len(tokens) else f"#{number}"


def _marked(row):
    """
    >>> _marked({"token": "b", "original": "a", "probability": 0.75})
    '🟩 **b** (was a)'
    """
    is_called, shown = row["probability"] > 0.5, _escaped(row["token"])
    if "original" in row:
        return f"{'🟩' if is_called else '🟥'} **{shown}** (was {_escaped(row['original'])})"
    return f"🟨 {shown}" if is_called else shown


def _escaped(token):
    return re.sub(r"([\[*_`<|\\])", r"\\\1", token)
