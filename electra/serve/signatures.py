"""What an exported model computes: a class for each kind of task.

Enters: a LoadedModel, its network built anew, a Task. Leaves: two functions of tensors, of strings
and of ids, that return named outputs with an entry a text. What either gives equals what the
LoadedModel gives of the same text, which is cut to max_seq_length where it is longer.

B batch, L length, H hidden, C labels, M masks, K guesses, W words, V vocabulary.
"""

import tensorflow as tf

from electra.features import RECORD_FEATURES
from electra.finetune import families
from electra.serve import forward
from electra.serve.inputs import MASK
from electra.text.graph import MASK_CODE, GraphTokenizer


class Signature:
    """What all kinds share.

    Args:
        name: of the task.
        model: LoadedModel.
        network: PretrainingModel or FinetuningModel with its weights.
        task: Task; None for a pre-trained model.
        top_k: guesses for a mask.
    Attributes:
        texts: names of the strings that are read.
        tokenizer: GraphTokenizer.
    """

    texts = ("text",)
    by_words = has_masks = False

    def __init__(self, name, model, network, task, top_k):
        self.name = name
        self.network, self.task, self.top_k = network, task, top_k
        self.vocab, self.max_seq_length = model.vocab, model.max_seq_length
        self.max_positions = model.config.max_position_embeddings
        self.tokenizer = GraphTokenizer(model.tokenizer, self.by_words, self.has_masks)
        rest = range(len(model.vocab), model.config.vocab_size)
        self.tokens = [*model.vocab.tokens, *(f"#{id_}" for id_ in rest)]
        if task is not None and task.has_pairs:
            self.texts = ("text", "text_pair")

    @staticmethod
    def fits(network):
        """Whether a pre-trained network has what this wants of it."""
        return True

    def of_strings(self, *texts):
        """Returns the outputs of strings (B,), by name."""
        with tf.device("/device:CPU:0"):  # where strings live; the ids follow the network
            batch, known = self.features(*texts)
        outputs = self.outputs({**batch, **known.pop("batch", {})})
        return self.described(batch, outputs, **known)

    def of_ids(self, input_ids, input_mask, segment_ids):
        """Returns the outputs of ids, int32 (B, L), by name."""
        length = tf.shape(input_ids)[1]
        message = f"A text has more than the {self.max_positions} tokens that the model can read"
        with tf.control_dependencies(
            [tf.debugging.Assert(length <= self.max_positions, [message])]
        ):
            batch = [tf.identity(x) for x in (input_ids, input_mask, segment_ids)]
        return self.outputs(dict(zip(RECORD_FEATURES, batch, strict=True)))

    def features(self, text, text_pair=None):
        """Returns the batch that the network reads, and what else `described` wants to know."""
        first = self.tokenizer(text).ids
        second = None if text_pair is None else self.tokenizer(text_pair).ids
        return framed(self.vocab, *cut(first, second, self.max_seq_length)), {}

    def outputs(self, batch):
        """Returns the outputs that both signatures have."""
        raise NotImplementedError

    def described(self, batch, outputs):
        """Adds to the outputs what the tokenizer knows."""
        return {"tokens": self.tokens_of(batch), **outputs}

    def tokens_of(self, batch):
        """Returns the tokens, string (B, L), "" for padding."""
        return tf.where(batch["input_mask"] > 0, tf.gather(self.tokens, batch["input_ids"]), "")


class Encode(Signature):
    """Vectors: the last hidden states, that of [CLS], and the mean over a text's tokens."""

    def outputs(self, batch):
        states = forward.encode(self.network, batch, None, "states")["states"]
        pooled = {name: forward.pooled(states, batch, name) for name in ("cls", "mean")}
        return {"last_hidden_state": states, **pooled}


class Detect(Signature):
    """The probability of each token that it replaced another; [CLS] and [SEP] never do."""

    @staticmethod
    def fits(network):
        return network.objective == "electra"

    def outputs(self, batch):
        return {"replaced_scores": forward.detect(self.network, batch, None)["scores"]}


class FillMask(Signature):
    """The best guesses for each [MASK] of a text, padded to the most masks of a text."""

    has_masks = True

    @staticmethod
    def fits(network):
        return network.lm_head is not None

    def features(self, text):
        text = tf.strings.regex_replace(text, chr(MASK_CODE), "\U0010ffff")  # dropped as well
        text = tf.strings.regex_replace(text, r"\[MASK\]", chr(MASK_CODE))
        ids = self.tokenizer(text).ids
        is_mask = tf.cast(ids == self.vocab.mask_id, tf.int32)
        checks = [
            (tf.reduce_sum(is_mask, axis=1) > 0, f"A text has no {MASK}"),
            (ids.row_lengths() <= self.max_seq_length - 2, "A text is longer than the model reads"),
        ]
        checks = [tf.debugging.Assert(tf.reduce_all(good), [message]) for good, message in checks]
        with tf.control_dependencies(checks):
            return framed(self.vocab, tf.identity(ids)), {}

    def outputs(self, batch):
        is_mask = (batch["input_ids"] == self.vocab.mask_id) & (batch["input_mask"] > 0)
        places = tf.where(is_mask)
        places = tf.RaggedTensor.from_value_rowids(
            tf.cast(places[:, 1], tf.int32), places[:, 0], nrows=tf.shape(is_mask, tf.int64)[0]
        )
        places = places.to_tensor(-1)  # (B, M)
        is_one = (places >= 0)[..., None]
        logits = self.network.lm_logits(batch, tf.maximum(places, 0))  # (B, M, V)
        probabilities, ids = tf.math.top_k(tf.nn.softmax(logits), self.top_k)  # (B, M, K)
        return {
            "positions": places,
            "token_ids": tf.where(is_one, ids, -1),
            "probabilities": tf.where(is_one, probabilities, 0.0),
        }

    def described(self, batch, outputs):
        ids = outputs["token_ids"]
        guesses = tf.where(ids >= 0, tf.gather(self.tokens, tf.maximum(ids, 0)), "")
        return {"tokens": guesses, **outputs}


class Classify(Signature):
    """Logits and probabilities of the labels, and the best label."""

    def outputs(self, batch):
        logits = self.head_outputs(batch)["logits"]
        return {"logits": logits, "probabilities": self.probabilities(logits)}

    def probabilities(self, logits):
        return tf.nn.softmax(logits)

    def described(self, batch, outputs):
        logits = outputs["logits"]
        label = tf.gather(self.task.labels, tf.argmax(logits, axis=-1))
        return {"label": label, "labels": self.labels_like(logits), **outputs}

    def labels_like(self, logits):
        return tf.broadcast_to(tf.constant(self.task.labels), tf.shape(logits))

    def head_outputs(self, batch):
        """Returns what the task's head gives of a batch."""
        return self.network(batch, tasks=[self.task.name])[self.task.name]


class MultiLabel(Classify):
    """Logits and probabilities of the labels, each label's own."""

    def probabilities(self, logits):
        return tf.sigmoid(logits)

    def described(self, batch, outputs):
        return {"labels": self.labels_like(outputs["logits"]), **outputs}


class Regress(Classify):
    """A number in the range of the task's labels."""

    def outputs(self, batch):
        low, high = self.task.label_range
        return {"value": low + (high - low) * self.head_outputs(batch)["predictions"]}

    def described(self, batch, outputs):
        return outputs


class Tag(Classify):
    """Logits and probabilities of the tags: of ids for each token, of a sentence for each word.

    Words stand between white space. What is said of a word is said of its first token.
    """

    by_words = True

    def features(self, text):
        pieces = self.tokenizer(text)
        words, before = self.tokenizer.words(text, pieces)
        room = self.max_seq_length - 2
        counts = tf.cast(pieces.ids.row_lengths(), tf.int32)[:, None]
        places = before.to_tensor(-1) + 1  # (B, W), 0 for no word
        is_read = (places > 0) & ((places <= room) | (counts <= room))
        positions = {f"{self.task.name}_labeled_positions": tf.where(is_read, places, 0)}
        batch = framed(self.vocab, pieces.ids[:, :room])
        return batch, {"words": words.to_tensor(""), "is_read": is_read, "batch": positions}

    def outputs(self, batch):
        name = f"{self.task.name}_labeled_positions"
        if name not in batch:
            shape = tf.shape(batch["input_ids"])
            batch = {**batch, name: tf.broadcast_to(tf.range(shape[1]), shape)}
        return super().outputs(batch)

    def described(self, batch, outputs, words, is_read):
        missing = tf.where(words == "", "", "O" if self.task.has_spans else "")
        tags = tf.gather(self.task.labels, tf.argmax(outputs["logits"], axis=-1))
        tags = tf.where(is_read, tags, missing)
        return {"words": words, "tags": tags, **outputs}


class Answer(Classify):
    """Scores of the start and the end of an answer, at every token.

    Of strings also where each token stands in the context, in characters, -1 for what is none of
    it. Where the two do not fit, the end of the context is not read.
    """

    texts = ("question", "context")

    def __init__(self, name, model, *arguments):
        super().__init__(name, model, *arguments)
        self.max_query_length = model.hparams.get("max_query_length", 64)

    def features(self, question, context):
        query = self.tokenizer(question).ids[:, : self.max_query_length]
        pieces = self.tokenizer(context)
        room = self.max_seq_length - 3 - query.row_lengths()
        counts = tf.minimum(pieces.ids.row_lengths(), room)
        batch = framed(self.vocab, query, shortened(pieces.ids, counts), always_second=True)
        before = tf.fill([query.nrows(), 2], -1)
        spans = {}
        for name, values in ("starts", pieces.starts), ("ends", pieces.ends):
            parts = [before, tf.zeros_like(query) - 1, shortened(values, counts), before[:, :1]]
            spans[name] = tf.concat(parts, axis=1).to_tensor(-1)  # (B, L)
        return batch, {"spans": spans}

    def outputs(self, batch):
        outputs, head = self.head_outputs(batch), self.network.heads[self.task.name]
        names = families.get_family(self.task.family).outputs(head)
        return {name: outputs[name] for name in names}

    def described(self, batch, outputs, spans):
        return {"tokens": self.tokens_of(batch), **spans, **outputs}


PRETRAINED = {"encode": Encode, "detect": Detect, "fill_mask": FillMask}
FINETUNED = {
    families.CLASSIFICATION: Classify,
    families.MULTILABEL: MultiLabel,
    families.REGRESSION: Regress,
    families.TAGGING: Tag,
    families.QA: Answer,
}


def cut(first, second, max_seq_length):
    """Cuts one text or two to what fits beside [CLS] and [SEP], as featurize_texts does.

    Args:
        first, second: RaggedTensors (B, pieces); second may be None, and have empty rows.
    Returns: (first, second), cut.
    """
    if second is None:
        return first[:, : max_seq_length - 2], None
    room = max_seq_length - 3
    lengths, others = first.row_lengths(), second.row_lengths()
    # The longer text is cut, the second one where both are as long: the first keeps half or more.
    kept = tf.minimum(lengths, tf.maximum(room - others, (room + 1) // 2))
    kept = tf.where(others == 0, tf.minimum(lengths, room + 1), kept)
    return shortened(first, kept), shortened(second, tf.minimum(others, room - kept))


def shortened(rows, lengths):
    """Returns the first of each row of a RaggedTensor, as many as lengths, int64 (B,), says."""
    return tf.RaggedTensor.from_tensor(rows.to_tensor(), lengths=lengths)


def framed(vocab, first, second=None, always_second=False):
    """Returns the batch of [CLS] first [SEP], or [CLS] first [SEP] second [SEP] where a second text
    has pieces, or always: int32 (B, L), padded.

    Args: first, second: RaggedTensors int32 (B, pieces).
    """

    def column(id_):
        return tf.fill([first.nrows(), 1], id_)

    parts = [column(vocab.cls_id), first, column(vocab.sep_id)]
    segments = [tf.zeros_like(part) for part in parts]
    if second is not None:
        has_second = tf.ones_like(second.row_lengths()) if always_second else second.row_lengths()
        ends = tf.RaggedTensor.from_tensor(column(vocab.sep_id), lengths=tf.minimum(has_second, 1))
        parts += [second, ends]
        segments += [tf.ones_like(part) for part in parts[3:]]
    ids = tf.concat(parts, axis=1)
    return {
        "input_ids": ids.to_tensor(vocab.pad_id),
        "input_mask": tf.ones_like(ids).to_tensor(0),
        "segment_ids": tf.concat(segments, axis=1).to_tensor(0),
    }
