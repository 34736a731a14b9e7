"""Tagging: a label for each word, single ones or those of spans.

Files: CoNLL columns, a word a line. Source: finetune/tagging of the official code.
"""

import dataclasses
import itertools
import re

import numpy as np
from keras import ops

from electra.finetune import metrics
from electra.finetune.families import base
from electra.finetune.files import read_lines
from electra.finetune.spans import read_spans, write_spans
from electra.model.layers import gather_positions
from electra.storage import excerpt

_SPACES = re.compile("[ \t\r\n]+")  # a no-break space is part of a word


@dataclasses.dataclass(frozen=True, slots=True)
class TaggingExample:
    """A sentence.

    Attributes:
        id: str, the sentence's number.
        words: tuple of str.
        tags: tuple of str, in BIOES where the task has spans; None where the file has none.
    """

    id: str
    words: tuple
    tags: tuple | None


class TaggingHead(base.Head):
    """A linear layer on the first word piece of each word; the loss is summed over the words.

    Features: labeled_positions, labels int32 (B, W); labels_mask float32 (B, W), 0 for no word.
    Source: TaggingTask in finetune/tagging of the official code.
    """

    def call(self, states, batch, seed=None, training=False):
        """Returns logits (B, W, C) and predictions (B, W)."""
        words = gather_positions(states, self.feature(batch, "labeled_positions"))  # (B, W, H)
        logits = self.dense(ops.cast(words, "float32"))
        outputs = {"logits": logits, "predictions": ops.argmax(logits, axis=-1)}
        labels = self.feature(batch, "labels")
        if labels is not None:
            losses = base.cross_entropy(logits, labels)
            outputs["loss"] = ops.sum(losses * self.feature(batch, "labels_mask"), axis=-1)
        return outputs


class Tagging(base.Family):
    """See the module."""

    head = TaggingHead

    def read(self, path, source, task, split, language):
        return _read_sentences(path, source, task, not split.startswith("test"))

    def example(self, task, id, row):
        words = row.split() if isinstance(row, str) else row
        if not base.are_strings(words) or not words:
            raise ValueError("a list of words, or a string")
        return TaggingExample(id, tuple(words), None)

    def labels_in(self, examples):
        return {tag for example in examples for tag in example.tags or ()}

    def unit_of(self, example):
        return example.words

    def featurize(self, task, examples, tokenizer, *, max_seq_length, **_):
        for number, example in enumerate(examples):
            yield number, _featurize_sentence(example, tokenizer, max_seq_length, task.label_ids)

    def predict(self, task, examples, features, outputs, tokenizer, **_):
        """Returns for each sentence probabilities, float32 (words kept, labels)."""
        _, offsets = features.ragged["labels"]
        return [
            base.softmax(logits[:count])
            for logits, count in zip(outputs["logits"], np.diff(offsets), strict=True)
        ]

    def mean(self, trials):
        return [np.mean(sentences, axis=0) for sentences in zip(*trials, strict=True)]

    def loss_counts(self, features):
        return np.diff(features.ragged["labels"][1])  # words

    def labels_of(self, task, examples, predictions):
        """Returns a list of tags for each sentence.

        Words that were cut off get "O" where tags mark spans, else "" (their spans and tags count
        as errors).
        """
        missing = "O" if task.has_spans else ""
        tags = []
        for example, probs in zip(examples, predictions, strict=True):
            predicted = [task.labels[i] for i in np.argmax(probs, axis=-1)]
            tags.append(predicted + [missing] * (len(example.words) - len(predicted)))
        return tags

    def score(self, task, examples, predictions, qa_na_threshold=None):
        gold = [list(example.tags) for example in examples]
        predicted = self.labels_of(task, examples, predictions)
        return (metrics.entity_scores if task.has_spans else metrics.tag_scores)(gold, predicted)

    def prior(self, task, features):
        counts = np.bincount(features.ragged["labels"][0], minlength=len(task.labels))
        return (counts / counts.sum()).tolist()

    def baseline(self, task, examples, prior):
        return [np.tile(np.array(prior, np.float32), (len(e.words), 1)) for e in examples]

    def is_constant(self, task, examples, predictions, qa_na_threshold=None):
        predicted = {tag for tags in self.labels_of(task, examples, predictions) for tag in tags}
        return len(predicted) == 1 < len(self.labels_in(examples))

    def rows(self, task, examples, predictions, qa_na_threshold=None):
        """Returns words and tags, BIOES where they mark spans."""
        tags = self.labels_of(task, examples, predictions)
        return [{"words": e.words, "tags": t} for e, t in zip(examples, tags, strict=True)]

    def confusion(self, task, examples, predictions):
        """Returns the words' types, without BIOES."""

        def kind(tag):
            return (tag[2:] or tag) if task.has_spans else tag

        gold = [kind(tag) for example in examples for tag in example.tags]
        sentences = self.labels_of(task, examples, predictions)
        predicted = [kind(tag) for tags in sentences for tag in tags]
        labels = sorted({kind(tag) for tag in task.labels}, key=lambda tag: (tag != "O", tag))
        return labels, gold, predicted


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
    kept = [place for place in positions if place <= room or len(ids) <= room]
    tags = example.tags or ()
    return {
        **base.build_inputs(tokenizer.vocab, ids[:room]),
        "labeled_positions": kept,
        "labels": [label_ids[tag] for tag in tags[: len(kept)]] or [0] * len(kept),
        "labels_mask": [1.0] * len(kept),
    }


def _read_sentences(path, source, task, needs_tags):
    lines = list(read_lines(path))
    has_tabs = any("\t" in line for _, line in lines)
    if has_tabs:  # what starts with # and has none is a comment of CoNLL-U
        lines = [(n, line) for n, line in lines if "\t" in line or not line.startswith("#")]
    examples = []
    for has_words, rows in itertools.groupby(lines, lambda row: _has_word(row[1])):
        if has_words:
            rows = [(n, _fields(line, has_tabs), line.strip()) for n, line in rows]
            id = str(len(examples))
            examples.append(_read_sentence(path, rows, id, source.columns, task, needs_tags))
    return examples


def _has_word(line):
    return bool(line.strip()) and not line.startswith("-DOCSTART-")


def _fields(line, has_tabs):
    if has_tabs:
        return [field.strip() for field in line.rstrip("\r\n").split("\t")]
    return _SPACES.split(line.strip())


def _read_sentence(path, rows, id, columns, task, needs_tags):
    """Reads the rows of a sentence: (line number, fields, text)."""
    word_at, tag_at, width = columns["words"], columns.get("tags"), len(rows[0][1])
    words, tags = [], []
    for number, fields, text in rows:
        where, places = f"{path}, line {number}", range(-len(fields), len(fields))
        has_tag = len(fields) > 1 and tag_at in places and fields[tag_at] != ""
        if word_at not in places or (needs_tags and not has_tag) or len(fields) != width:
            before = f", {width} in the line before" if len(fields) != width else ""
            raise ValueError(
                f"{where}: {len(fields)} columns{before}. Expected: the word in column {word_at}, "
                f"its tag in column {tag_at}. Received: {excerpt(text)!r}"
            )
        words.append(fields[word_at])
        if has_tag:
            tag = fields[tag_at]
            if task.has_spans and tag != "O" and (tag[0] not in "BIES" or tag[1:2] != "-"):
                raise ValueError(
                    f"{where}: tag {excerpt(tag)!r} marks no span. Expected: O, or B-, I-, E- or "
                    "S- and a type; tags of single words want the metric accuracy"
                )
            tags.append(tag)
    if len(tags) < len(words):
        return TaggingExample(id, tuple(words), None)
    if task.has_spans:
        tags = write_spans(read_spans(tags), len(tags))
    for (number, *_), tag in zip(rows, tags, strict=True):
        if tag not in task.labels:
            base.check_label(tag, task.labels, f"{path}, line {number}")
    return TaggingExample(id, tuple(words), tuple(tags))
