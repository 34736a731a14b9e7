"""The head of question answering.

B batch, L length, H hidden, K beam. Source: finetune/qa of the official code.
"""

from keras import ops

from electra.finetune.families.base import Head, cross_entropy
from electra.model import kernels
from electra.model.layers import Dense, float32, gather_positions

QA_HIDDEN_SIZE = 512
NO_ANSWER_PLACE = -1000.0  # added to the scores of positions where no answer may lie


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
            cross_entropy(outputs["start_logits"], self.feature(batch, "start_positions"))
            + cross_entropy(outputs["end_logits"], self.feature(batch, "end_positions"))
        )
        if self.answerable is None:
            return loss
        impossible = ops.cast(self.feature(batch, "is_impossible"), "float32")
        answerable_loss = ops.binary_crossentropy(
            impossible, outputs["answerable_logit"], from_logits=True
        )
        return loss + self.answerable_weight * answerable_loss
