"""A vocabulary small enough to read."""

TINY = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "un",
    "##aff",
    "##able",
    ",",
    "elan",
    "汉",
    "字",
    "a",
    "##a",
    "é",
    "ß",
    ".",
)
