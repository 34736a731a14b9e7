"""Masking: which tokens the generator has to guess. Done per batch, never stored.

Enters: input_ids, input_mask (B, L). Leaves: the masked input_ids (B, L), and
masked_lm_positions, masked_lm_ids, masked_lm_weights (B, N).
"""

from keras import ops

from electra import random
from electra.features import MASKED_LM_IDS, MASKED_LM_POSITIONS, MASKED_LM_WEIGHTS, ROW

MASK_TOKEN_PROB = 0.85  # the rest of the chosen tokens stays as it is


def mask_tokens(batch, *, seed, num_rows, special_ids, mask_prob, num_slots):
    """Chooses tokens to predict and shows [MASK] in place of most of them.

    Args:
        batch: dict with int32 (B, L) input_ids, input_mask and int32 (B,) row.
        seed: random.Seed of this step.
        num_rows: size of the global batch.
        special_ids: dict with the ids "cls", "sep", "mask".
        mask_prob: share of the tokens, [CLS] and [SEP] counted, that is chosen.
        num_slots: N, at most this many; see max_predictions_per_seq of PretrainingConfig.
    Returns: a dict, the batch with masked_input_ids (B, L), masked_lm_positions, masked_lm_ids
        (B, N) int32 and masked_lm_weights (B, N) float32 added. Unused slots hold position 0,
        id 0, weight 0; position 0 is never changed.
    Source: pretrain_helpers.mask of the official code.
    Differs from source: positions are drawn without replacement.

    With ids [2, 9, 8, 7, 3, 0], N = 2 and position 3 chosen: masked ids [2, 9, 8, 4, 3, 0],
    positions [3, 0], ids [7, 0], weights [1, 0].
    """
    input_ids, input_mask = batch["input_ids"], batch["input_mask"]
    length = input_ids.shape[1]

    def draw(name, size):
        return random.uniform_rows(seed.fold(name), batch[ROW], num_rows, (size,))

    candidates = candidate_positions(input_ids, input_mask, special_ids)
    wanted = num_to_predict(input_mask, mask_prob, num_slots)  # (B,)
    wanted = ops.minimum(wanted, ops.sum(ops.cast(candidates, "int32"), axis=1))
    scores = ops.where(candidates, draw("positions", length), -1.0)
    positions = ops.cast(ops.top_k(scores, num_slots)[1], "int32")  # (B, N)
    used = ops.arange(num_slots, dtype="int32")[None] < wanted[:, None]
    positions = ops.where(used, positions, 0)
    ids = ops.where(used, ops.take_along_axis(input_ids, positions, axis=1), 0)
    shown = used & (draw("shown", num_slots) < MASK_TOKEN_PROB)
    masked, _ = scatter_update(
        input_ids, ops.full_like(ids, special_ids["mask"]), ops.where(shown, positions, 0)
    )
    return dict(
        batch,
        masked_input_ids=masked,
        **{
            MASKED_LM_POSITIONS: positions,
            MASKED_LM_IDS: ids,
            MASKED_LM_WEIGHTS: ops.cast(used, "float32"),
        },
    )


def candidate_positions(input_ids, input_mask, special_ids):
    """Returns where a token may be chosen: not [CLS], [SEP], [MASK] nor padding; bool (B, L)."""
    candidates = input_mask > 0
    for name in ("cls", "sep", "mask"):
        candidates = candidates & (input_ids != special_ids[name])
    return candidates


def num_to_predict(input_mask, mask_prob, num_slots):
    """Returns max(1, min(N, round(mask_prob * tokens))), half to even; int32 (B,)."""
    tokens = ops.cast(ops.sum(input_mask, axis=1), "float32")
    return ops.cast(ops.clip(ops.round(tokens * mask_prob), 1, num_slots), "int32")


def scatter_update(sequence, updates, positions):
    """Puts `updates` at `positions`, except at position 0.

    Args:
        sequence: int32 (B, L); updates, positions: int32 (B, N).
    Returns: the changed sequence and where it was written (1 or 0), both int32 (B, L).
    Kept from the official code: several updates of one position give their integer mean.
    """
    length = sequence.shape[1]
    at = ops.cast(positions[:, :, None] == ops.arange(length, dtype="int32"), "int32")  # (B, N, L)
    count = ops.sum(at, axis=1)
    total = ops.sum(at * updates[:, :, None], axis=1)
    written = (count > 0) & (ops.arange(length) > 0)
    mean = ops.floor_divide(total, ops.maximum(count, 1))
    return ops.where(written, mean, sequence), ops.cast(written, "int32")
