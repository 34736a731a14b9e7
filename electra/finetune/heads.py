"""The fine-tuning heads: what a task puts on the encoder's hidden states, and its loss.

Enters: hidden states (B, L, H) and a batch whose task features are named <task>_<feature>, as in
the official records. Leaves: a dict of outputs; "loss" (B,) where the batch has the labels.
W words (or other labelled positions), K beam. Heads compute in float32, whatever the encoder does.
"""

from keras import ops

from electra.model import kernels
from electra.model.layers import Dense, Layer, float32, gather_positions

CLASSIFIER_DROPOUT = 0.1
QA_HIDDEN_SIZE = 512
NO_ANSWER_PLACE = -1000.0  # added to the scores of positions where no answer may lie


class Head(Layer):
    """What every head has.

    Args:
        task: name of the task; scope of the variables and prefix of its features.
        num_labels: outputs of its one linear layer; None for a head that has others.
    """

    def __init__(self, task, num_labels=None, **kwargs):
        super().__init__(name=task, **kwargs)
        self.dense = Dense(num_labels, name="dense") if num_labels else None

    def build(self, input_shape):
        self.dense.build(input_shape)

    def feature(self, batch, name):
        """Returns the task's feature of a batch, or None where the batch lacks it."""
        return batch.get(f"{self.name}_{name}")


class ClassificationHead(Head):
    """Dropout and a linear layer on the last [CLS] vector.

    Features: label_ids int32 (B,).
    Source: ClassificationTask in finetune/classification of the official code.
    """

    def call(self, states, batch, seed=None, training=False):
        """Returns logits (B, C) and predictions (B,)."""
        logits = self.dense(_cls_state(states, seed))
        outputs = {"logits": logits, "predictions": ops.argmax(logits, axis=-1)}
        labels = self.feature(batch, "label_ids")
        if labels is not None:
            outputs["loss"] = _cross_entropy(logits, labels)
        return outputs


class RegressionHead(Head):
    """Dropout and one linear output on the last [CLS] vector, squared error.

    Features: targets float32 (B,), scaled to 0..1.
    Source: RegressionTask in finetune/classification of the official code.
    """

    def __init__(self, task, **kwargs):
        super().__init__(task, 1, **kwargs)

    def call(self, states, batch, seed=None, training=False):
        """Returns predictions (B,)."""
        predictions = self.dense(_cls_state(states, seed))[:, 0]
        outputs = {"predictions": predictions}
        targets = self.feature(batch, "targets")
        if targets is not None:
            outputs["loss"] = ops.square(predictions - targets)
        return outputs


class TaggingHead(Head):
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
            losses = _cross_entropy(logits, labels)
            outputs["loss"] = ops.sum(losses * self.feature(batch, "labels_mask"), axis=-1)
        return outputs


class QAHead(Head):
    """Start and end of an answer, and whether there is one.

    Joint: the end is scored given the start, by a hidden layer over both tokens' states; training
    takes the gold start, prediction the best K starts, each with its best K ends. Otherwise start
    and end are linear and independent. An answer may lie at context tokens (segment 1) and, as
    "no answer", at position 0.

    Args:
        joint_prediction: joint or linear.
        answerable_classifier: score "impossible" from the [CLS] state.
        answerable_uses_start_logits: and from the states weighted by the start probabilities.
        answerable_weight: of that score's loss.
        beam_size: K.
    Features: start_positions, end_positions, is_impossible int32 (B,).
    Source: QATask in finetune/qa of the official code.
    """

    def __init__(
        self,
        task,
        *,
        joint_prediction=True,
        answerable_classifier=True,
        answerable_uses_start_logits=True,
        answerable_weight=0.5,
        beam_size=20,
        **kwargs,
    ):
        super().__init__(task, **kwargs)
        self.joint_prediction = joint_prediction
        self.answerable_weight, self.beam_size = answerable_weight, beam_size
        # The official names number the unnamed layers in the order of their making.
        self.start = Dense(1, name="dense")
        self.qa_hidden = Dense(QA_HIDDEN_SIZE, name="qa_hidden") if joint_prediction else None
        self.end = Dense(1, name="dense_1")
        self.answerable_hidden = self.answerable = None
        if answerable_classifier and answerable_uses_start_logits:
            self.answerable_hidden = Dense(QA_HIDDEN_SIZE, name="dense_2")
            self.answerable = Dense(1, name="dense_3")
        elif answerable_classifier:
            self.answerable = Dense(1, name="dense_2")

    def build(self, input_shape):
        width = input_shape[-1]
        self.start.build((None, width))
        if self.qa_hidden is not None:
            self.qa_hidden.build((None, 2 * width))
        self.end.build((None, QA_HIDDEN_SIZE if self.joint_prediction else width))
        if self.answerable_hidden is not None:
            self.answerable_hidden.build((None, 2 * width))
        if self.answerable is not None:
            self.answerable.build((None, QA_HIDDEN_SIZE if self.answerable_hidden else width))

    def call(self, states, batch, seed=None, training=False):
        """Scores a batch.

        Args:
            training: take the gold start (joint prediction).
        Returns: start_logits, end_logits (B, L); answerable_logit (B,), positive for impossible;
            in joint prediction start_top_index, start_top_log_probs (B, K) and end_top_index,
            end_top_log_probs (B, K, K), where K is at most L. Kept from the official code: there
            end_logits, and its part of the loss, is that of all zeros.
        """
        states = ops.cast(states, "float32")
        gold_start = self.feature(batch, "start_positions")
        answers = ops.cast(batch["input_mask"] * batch["segment_ids"], "float32")  # (B, L)
        is_first = ops.arange(ops.shape(answers)[1]) == 0
        answers = ops.maximum(answers, ops.cast(is_first, "float32"))
        forbidden = (1.0 - answers) * NO_ANSWER_PLACE
        start_logits = self.start(states)[..., 0] + forbidden
        outputs = {"start_logits": start_logits}
        if not self.joint_prediction:
            outputs["end_logits"] = self.end(states)[..., 0] + forbidden
        elif training:
            start = gather_positions(states, gold_start[:, None])[:, 0]
            outputs["end_logits"] = self._end_scorer(states, forbidden)(start)
        else:
            outputs.update(self._beams(states, start_logits, forbidden))
            outputs["end_logits"] = ops.zeros_like(start_logits)
        outputs["answerable_logit"] = self._answerable_logit(states, start_logits)
        if gold_start is not None:
            outputs["loss"] = self._loss(batch, outputs)
        return outputs

    def _end_scorer(self, states, forbidden):
        """Returns the function from start states (B, H) to end logits (B, L)."""
        # The states' half of the product is the same for every start.
        from_start, from_token = ops.split(float32(self.qa_hidden.kernel), 2, axis=0)
        tokens = ops.matmul(states, from_token)  # (B, L, hidden)

        def end_logits(start):
            x = tokens + ops.matmul(start, from_start)[:, None]
            hidden = kernels.bias_gelu(x, float32(self.qa_hidden.bias))
            return self.end(hidden)[..., 0] + forbidden

        return end_logits

    def _beams(self, states, start_logits, forbidden):
        length = ops.shape(start_logits)[1]
        beam = (min if isinstance(length, int) else ops.minimum)(self.beam_size, length)
        start_log_probs, starts = ops.top_k(ops.log_softmax(start_logits), beam)  # (B, K)
        start_states = ops.transpose(gather_positions(states, starts), (1, 0, 2))  # (K, B, H)
        # One start after the other: all at once would take K times the memory.
        end_logits = ops.map(self._end_scorer(states, forbidden), start_states)  # (K, B, L)
        end_log_probs = ops.log_softmax(ops.transpose(end_logits, (1, 0, 2)))
        end_log_probs, ends = ops.top_k(end_log_probs, beam)  # (B, K, K)
        return {
            "start_top_index": starts,
            "start_top_log_probs": start_log_probs,
            "end_top_index": ends,
            "end_top_log_probs": end_log_probs,
        }

    def _answerable_logit(self, states, start_logits):
        if self.answerable is None:
            return ops.zeros_like(start_logits[:, 0])
        x = states[:, 0]
        if self.answerable_hidden is not None:
            start = ops.matmul(ops.softmax(start_logits)[:, None], states)[:, 0]  # (B, H)
            x = self.answerable_hidden.project(ops.concatenate([x, start], axis=-1))
            x = kernels.bias_gelu(x, float32(self.answerable_hidden.bias))
        return self.answerable(x)[:, 0]

    def _loss(self, batch, outputs):
        loss = 0.5 * (
            _cross_entropy(outputs["start_logits"], self.feature(batch, "start_positions"))
            + _cross_entropy(outputs["end_logits"], self.feature(batch, "end_positions"))
        )
        if self.answerable is None:
            return loss
        impossible = ops.cast(self.feature(batch, "is_impossible"), "float32")
        answerable_loss = ops.binary_crossentropy(
            impossible, outputs["answerable_logit"], from_logits=True
        )
        return loss + self.answerable_weight * answerable_loss


# What a head is called in a model's config.
HEADS = {
    "classification": ClassificationHead,
    "regression": RegressionHead,
    "tagging": TaggingHead,
    "qa": QAHead,
}


def _cls_state(states, seed):
    return kernels.dropout(ops.cast(states[:, 0], "float32"), CLASSIFIER_DROPOUT, seed)


def _cross_entropy(logits, ids):
    """logits (..., C), ids (...): -log softmax(logits)[ids], (...)."""
    log_probs = ops.log_softmax(logits, axis=-1)
    return -ops.take_along_axis(log_probs, ids[..., None], axis=-1)[..., 0]
