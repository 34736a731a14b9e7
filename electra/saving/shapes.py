"""What a checkpoint tells without hparams: the sizes of its network, from its tensors' shapes."""

import re

from electra.storage import check_shape

LAYERS = "num_hidden_layers"  # in a checkpoint's state, where layers share weights
_LAYER = re.compile(r"electra/encoder/layer_(\d{1,4})/attention/self/query/kernel")


def layers_of(**encoders):
    """Returns what shapes do not tell of networks whose layers share weights, for a checkpoint's
    state; {} where none does.

    Args: encoders: scope, electra or generator -> EncoderConfig, or None for none.
    """
    known = {scope: encoder for scope, encoder in encoders.items() if encoder}
    if not any(encoder.shares_layers for encoder in known.values()):
        return {}
    return {LAYERS: {scope: encoder.num_hidden_layers for scope, encoder in known.items()}}


def infer_hparams(shapes, state):
    """Finds the hparams of pre-training that say a network's sizes and objective.

    Args:
        shapes: dict official name -> shape.
        state: of the checkpoint, perhaps with what layers_of returned.
    Returns: dict; of the number of heads and of the case of the text nothing is known.
    Raises:
        KeyError, IndexError: a tensor is missing or misshapen. ValueError: the state is damaged.
    """
    layers = [match for name in shapes if (match := _LAYER.fullmatch(name))]
    words = shapes["electra/embeddings/word_embeddings"]
    hidden_size = shapes[layers[0].group()][0]
    hparams = {
        "vocab_size": words[0],
        "embedding_size": words[1],
        "electra_objective": "discriminator_predictions/dense/kernel" in shapes,
        # Two towers could be ELECTRA's too, but nobody trains that.
        "electric_objective": "generator_ltr/encoder/layer_0/intermediate/dense/kernel" in shapes,
        "model_hparam_overrides": {
            "hidden_size": hidden_size,
            "num_hidden_layers": 1 + max(int(match[1]) for match in layers),
            "intermediate_size": shapes["electra/encoder/layer_0/intermediate/dense/kernel"][1],
            "max_position_embeddings": shapes["electra/embeddings/position_embeddings"][0],
            "type_vocab_size": shapes["electra/embeddings/token_type_embeddings"][0],
        },
        "max_seq_length": shapes["electra/embeddings/position_embeddings"][0],
    }
    fractions = infer_generator_fractions(shapes)
    if fractions:
        hparams["generator_hidden_size"], hparams["generator_layers"] = map(float, fractions)
    elif hparams["electra_objective"]:
        has_head = any(name.startswith("generator_predictions/") for name in shapes)
        hparams["untied_generator" if has_head else "uniform_generator"] = not has_head
    hparams["untied_generator_embeddings"] = any(
        "generator" in name and "word_embeddings" in name for name in shapes
    )
    if LAYERS in state:
        counts = {"electra": int, "generator?": int}
        check_shape(state, {LAYERS: counts}, part="the checkpoint's state")
        _share_layers(hparams, state[LAYERS])
    return hparams


def _share_layers(hparams, counts):
    """Sets the layers to `counts`, a dict scope -> layers, and the groups to what shapes told."""
    overrides = hparams["model_hparam_overrides"]
    groups, layers = overrides["num_hidden_layers"], counts["electra"]
    overrides |= {"num_hidden_layers": layers, "num_layer_groups": groups}
    if "generator_layers" in hparams:
        hparams["generator_layer_groups"] = round(hparams["generator_layers"] * groups)
        hparams["generator_layers"] = counts["generator"] / max(1, layers)


def infer_generator_fractions(shapes):
    """Finds the generator's sizes, as fractions of the discriminator's, in tensor shapes.

    Args:
        shapes: dict official name -> shape.
    Returns: (hidden size fraction, layers fraction), or None without a generator of its own.
    """
    kernel = r"(electra|generator(?:_ltr)?)/encoder/layer_(\d{1,4})/attention/self/query/kernel"
    sizes = {}
    for name, shape in shapes.items():
        match = re.fullmatch(kernel, name)
        if match and len(shape) == 2 and shape[0] == shape[1] > 0:
            scope = "electra" if match[1] == "electra" else "generator"
            layers = sizes.get(scope, (0, 0))[1]
            sizes[scope] = (shape[0], max(layers, int(match[2]) + 1))
    if len(sizes) < 2:
        return None
    (width, layers), (own_width, own_layers) = sizes["electra"], sizes["generator"]
    return own_width / width, own_layers / layers
