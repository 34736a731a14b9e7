"""What a loaded network computes of a batch: states, scores of tokens, guesses for masks.

Enters: the network, a batch of features and the weights of its tokens, as electra.predictor gives
them. Leaves: dict of tensors.
"""

from keras import ops


def encode(network, batch, weights, output):
    """Returns the last hidden states.

    Args: output: "states" (B, L, H), "cls" (B, H) or "mean" (B, H), which names them in the dict.
    """
    states = ops.cast(network.electra(batch, weights=weights), "float32")
    return {output: pooled(states, batch, output)}


def pooled(states, batch, output):
    """Returns the states themselves, or one vector a row; see encode."""
    if output == "cls":
        return states[:, 0]
    if output == "mean":
        mask = ops.cast(batch["input_mask"], "float32")[..., None]  # (B, L, 1)
        # Padding has no meaning where texts share rows, not even a finite one.
        return ops.sum(ops.where(mask > 0, states, 0.0), axis=1) / ops.sum(mask, axis=1)
    return states


def detect(network, batch, weights):
    """Returns the probability of each token, (B, L), that it is a replacement."""
    return {"scores": ops.sigmoid(network.rtd_head(network.electra(batch, weights=weights)))}


def fill_mask(network, batch, weights, top_k):
    """Returns the probabilities and ids, (B, K), of the best guesses for a [MASK] a row."""
    logits = network.lm_logits(batch, batch["_masked_place"][:, None])[:, 0]  # (B, V)
    probabilities, ids = ops.top_k(ops.softmax(logits), top_k)
    return {"probabilities": probabilities, "ids": ids}
