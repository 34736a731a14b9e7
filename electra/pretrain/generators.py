"""The generators: what proposes tokens for the masked slots.

Each is called with a masked batch and returns a Proposal. M is B * N, the slots of a batch.
"""

import dataclasses

from keras import ops

from electra.features import MASKED_LM_POSITIONS
from electra.model import vocab_kernels
from electra.model.layers import gather_positions


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Scores over the vocabulary for each masked slot.

    Attributes:
        scores: (M, V) in the compute dtype, without the bias.
        bias: float32 (V,).
        outputs: dict of what the generator gives besides.
    """

    scores: object
    bias: object
    outputs: dict = dataclasses.field(default_factory=dict)


class UniformGenerator:
    """All tokens are as likely; no network."""

    def __init__(self, vocab_size):
        self.vocab_size = vocab_size

    def __call__(self, batch, seed=None):
        slots = batch[MASKED_LM_POSITIONS].shape
        scores = ops.zeros((slots[0] * slots[1], self.vocab_size))
        return Proposal(scores, ops.zeros((self.vocab_size,)))


class MaskedLMGenerator:
    """A masked language model: a network of its own, or the discriminator's (tied).

    Args:
        encoder: ElectraEncoder; lm_head: LMHead on it.
    """

    def __init__(self, encoder, lm_head):
        self.encoder, self.lm_head = encoder, lm_head

    def __call__(self, batch, seed=None):
        masked = dict(batch, input_ids=batch["masked_input_ids"])
        scores = self.scores(masked, batch[MASKED_LM_POSITIONS], seed)
        return Proposal(scores, self.lm_head.bias)

    def scores(self, batch, positions, seed=None):
        """Scores positions, int32 (B, N), of a batch as it stands: (M, V) without the bias."""
        states = gather_positions(self.encoder(batch, seed=seed), positions)  # (B, N, h)
        return self.lm_head(ops.reshape(states, (-1, states.shape[-1])))


class TwoTowerGenerator:
    """Two networks read the unmasked text, one from each side, and predict every token (Electric).

    Kept from the official code: the shift wraps around at both ends.

    Args:
        towers: the left-to-right and the right-to-left ElectraEncoder.
        lm_head: LMHead on both states side by side.
    """

    def __init__(self, towers, lm_head):
        self.towers, self.lm_head = towers, lm_head

    def __call__(self, batch, seed=None):
        scores = self._all_scores(batch, seed)  # (B, L, V)
        outputs = {
            "cloze_scores": scores,
            "cloze_per_token_loss": self.token_losses(scores, batch["input_ids"]),
        }
        scores = gather_positions(scores, batch[MASKED_LM_POSITIONS])
        scores = ops.reshape(scores, (-1, scores.shape[-1]))
        return Proposal(scores, self.lm_head.bias, outputs)

    def scores(self, batch, positions, seed=None):
        """As MaskedLMGenerator.scores; a position's own token is not seen."""
        scores = gather_positions(self._all_scores(batch, seed), positions)
        return ops.reshape(scores, (-1, scores.shape[-1]))

    def token_losses(self, scores, ids):
        """Returns -log probability of each token, (B, L), of scores without the bias."""
        flat = ops.reshape(scores, (-1, scores.shape[-1]))
        losses = vocab_kernels.cross_entropy(flat, self.lm_head.bias, ops.reshape(ids, (-1,)))
        return ops.reshape(losses, ids.shape)

    def _all_scores(self, batch, seed):
        """A position's token from the ltr state before it and the rtl state after it."""
        ltr, rtl = (tower(batch, seed=seed and seed.fold(tower.name)) for tower in self.towers)
        states = ops.concatenate([ops.roll(ltr, 1, axis=1), ops.roll(rtl, -1, axis=1)], axis=-1)
        flat = ops.reshape(states, (-1, states.shape[-1]))
        return ops.reshape(self.lm_head(flat), (*ops.shape(batch["input_ids"]), -1))
