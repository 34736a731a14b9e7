"""Sentences that show a model's use, in a language that its vocabulary knows."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Example:
    """What is said of one event.

    Attributes:
        template: a sentence with {} in the place of `word`, which a mask may hide; text: with it.
        question: that the text answers; follows: what is true too.
    """

    template: str
    word: str
    question: str
    follows: str

    @property
    def text(self):
        return self.template.format(self.word)


EXAMPLES = (
    Example("The {} ate the meal.", "chef", "Who ate the meal?", "The meal was eaten."),
    Example(
        "Ella {} una carta.",
        "escribió",
        "¿Quién escribió una carta?",
        "Alguien escribió una carta.",
    ),
    Example("厨{}吃了晚饭。", "师", "谁吃了晚饭?", "有人吃了晚饭。"),
)


def example_of(tokens):
    """Returns the Example of whose words, or ideographs, a vocabulary has most; else the first.

    Args: tokens: of the vocabulary, cased or not, with accents or without.
    """
    tokens = set(tokens)

    def known(example):
        words = re.findall(r"[a-zA-ZÀ-ÿ]+|[\u4e00-\u9fff]", example.text)
        return sum(word in tokens or word.lower() in tokens for word in words) / len(words)

    return max(EXAMPLES, key=known)


def example_of_file(vocab_file):
    """Returns the Example of a vocab.txt; where it cannot be read, the first."""
    try:
        with open(vocab_file, encoding="utf-8") as file:
            return example_of(file.read().splitlines())
    except (OSError, UnicodeDecodeError):
        return EXAMPLES[0]
