"""An objective is a list of loss terms.

From them follow the total loss, what each is divided by over the whole global batch, and the sums
that are logged. The totals are those of the global batch, so that the gradients of replicas and
micro-batches add up to the gradient of one batch.
"""

import dataclasses
from collections.abc import Callable

from keras import ops

from electra.features import MASKED_LM_WEIGHTS
from electra.pretrain.masking import candidate_positions


@dataclasses.dataclass(frozen=True)
class LossTerm:
    """A weighted mean of the losses of positions.

    Attributes:
        name: of the mean among the model's outputs.
        losses: name of the output with the loss of each position.
        weights: function (batch, special_ids) -> what each position counts, float32 like `losses`.
        sum, total: names of the sums of losses and weights in logs and checkpoints.
        epsilon: added to the total.
    """

    name: str
    losses: str
    weights: Callable
    sum: str
    total: str
    epsilon: float = 0.0

    def count(self, batch, special_ids):
        """Returns the sum of the weights of a batch."""
        return ops.sum(self.weights(batch, special_ids))

    def sums(self, batch, outputs, special_ids):
        """Returns dict with the sums of losses and weights of a batch."""
        weights = self.weights(batch, special_ids)
        return {
            self.total: ops.sum(weights),
            self.sum: ops.sum(outputs[self.losses] * weights),
        }

    def mean(self, batch, outputs, special_ids, total=None):
        """Returns the loss; `total` is that of the global batch, None where the batch is all."""
        sums = self.sums(batch, outputs, special_ids)
        return sums[self.sum] / ((sums[self.total] if total is None else total) + self.epsilon)


MASKED_LM = LossTerm(
    "mlm_loss",
    "mlm_per_position_loss",
    lambda batch, _: batch[MASKED_LM_WEIGHTS],  # (B, N)
    "masked_lm_loss",
    "masked",
    epsilon=1e-6,  # kept from the official code
)
# Electric's two towers: the loss of every token that could be masked, (B, L).
CLOZE = LossTerm(
    "cloze_loss",
    "cloze_per_token_loss",
    lambda batch, ids: ops.cast(
        candidate_positions(batch["input_ids"], batch["input_mask"], ids), "float32"
    ),
    "cloze_loss",
    "candidates",
    epsilon=1e-6,
)
# Replaced token detection: all tokens that are not padding, [CLS] and [SEP] included, (B, L).
RTD = LossTerm(
    "disc_loss",
    "disc_per_token_loss",
    lambda batch, _: ops.cast(batch["input_mask"], "float32"),
    "token_loss",
    "tokens",
)
TERMS = (MASKED_LM, CLOZE, RTD)


def loss_terms(objective, two_towers, gen_weight, disc_weight):
    """Returns the objective's terms: dict LossTerm -> coefficient.

    ELECTRA is MASKED_LM and RTD, Electric is CLOZE and RTD, a masked LM is MASKED_LM alone.

    Args:
        objective: "electra", "electric" or "mlm".
        two_towers: whether the generator is one of two towers.
        gen_weight, disc_weight: the coefficients.
    """
    terms = {CLOZE if two_towers else MASKED_LM: gen_weight}
    return terms if objective == "mlm" else {**terms, RTD: disc_weight}


def loss_from_sums(terms, sums):
    """Returns the loss from added-up sums of its terms; a term without positions adds nothing."""
    return sum(
        coefficient * float(sums[term.sum] / sums[term.total])
        for term, coefficient in terms.items()
        if sums.get(term.total) and term.sum in sums
    )


def rtd_loss_per_token(logits, labels):
    """Binary cross-entropy of each token; logits float32 (B, L), labels 0 or 1 (B, L)."""
    labels = ops.cast(labels, "float32")
    return ops.relu(logits) - logits * labels + ops.log1p(ops.exp(-ops.abs(logits)))
