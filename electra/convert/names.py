"""The table of names: each weight of ours beside Hugging Face's and KerasHub's.

Enters: sizes. Leaves: Weights, through which both directions go.
"""

import typing

import numpy as np

# Kinds of modules, and their parts: the ends of our, Hugging Face's and KerasHub's names, and how
# many of the module's sizes the part has, counted from the last.
_KINDS = {
    "dense": (("/kernel", ".weight", "/kernel", 2), ("/bias", ".bias", "/bias", 1)),
    "norm": (("/gamma", ".weight", "/gamma", 1), ("/beta", ".bias", "/beta", 1)),
    "table": (("", ".weight", "", 2),),
    "vector": (("", "", "", 1),),
}
# Rows: our module; Hugging Face's, "" for ours with dots; KerasHub's; kind; letters of the sizes.
_EMBEDDINGS = (
    ("embeddings/word_embeddings", "", "token_embedding/embeddings", "table", "VE"),
    ("embeddings/position_embeddings", "", "position_embedding/embeddings", "table", "PE"),
    ("embeddings/token_type_embeddings", "", "segment_embedding/embeddings", "table", "TE"),
    ("embeddings/LayerNorm", "", "embeddings_layer_norm", "norm", "E"),
)
_PROJECTION = (("embeddings_project", "", "embeddings_projection", "dense", "EH"),)
_LAYER = (
    ("attention/self/query", "", "self_attention_layer/query", "dense", "HH"),
    ("attention/self/key", "", "self_attention_layer/key", "dense", "HH"),
    ("attention/self/value", "", "self_attention_layer/value", "dense", "HH"),
    ("attention/output/dense", "", "self_attention_layer/attention_output", "dense", "HH"),
    ("attention/output/LayerNorm", "", "self_attention_layer_norm", "norm", "H"),
    ("intermediate/dense", "", "feedforward_intermediate_dense", "dense", "HI"),
    ("output/dense", "", "feedforward_output_dense", "dense", "IH"),
    ("output/LayerNorm", "", "feedforward_layer_norm", "norm", "H"),
)
RTD_HEAD = (
    ("discriminator_predictions/dense", "", "", "dense", "HH"),
    ("discriminator_predictions/dense_1", "discriminator_predictions.dense_prediction", "")
    + ("dense", "H1"),
)
LM_HEAD = (
    ("generator_predictions/dense", "", "", "dense", "HE"),
    ("generator_predictions/LayerNorm", "", "", "norm", "E"),
    ("generator_predictions/output_bias", "generator_lm_head.bias", "", "vector", "V"),
)
BERT_LM_HEAD = (
    ("generator_predictions/dense", "cls.predictions.transform.dense", "", "dense", "HE"),
    ("generator_predictions/LayerNorm", "cls.predictions.transform.LayerNorm", "", "norm", "E"),
    ("generator_predictions/output_bias", "cls.predictions.bias", "", "vector", "V"),
)


class Weight(typing.NamedTuple):
    """A weight and its names.

    Attributes:
        ours: official name.
        theirs: Hugging Face's, of an encoder's weight without the prefix of its model.
        keras_hub: the end of its path in KerasHub's backbone; "" of a head.
        shape: ours.
        is_kernel: of a linear layer, which PyTorch has transposed.
    """

    ours: str
    theirs: str
    keras_hub: str
    shape: tuple
    is_kernel: bool = False

    @property
    def torch_shape(self):
        return self.shape[::-1] if self.is_kernel else self.shape

    def turned(self, value):
        """Returns the value as the other side has it, from either side."""
        return np.ascontiguousarray(value.T) if self.is_kernel else value


def encoder_weights(config, scope="electra", tables="electra"):
    """Lists the weights of an encoder.

    Args:
        config: EncoderConfig. Layers that share weights have one name of ours.
        scope: of our names; tables: that of its tables.
    Returns: list of Weight.
    """
    found = _weights(_EMBEDDINGS, config, f"{tables}/")
    if config.embedding_size != config.hidden_size:
        found += _weights(_PROJECTION, config, f"{scope}/")
    for i in range(config.num_hidden_layers):
        group = i
        if config.shares_layers:
            group = i * config.num_layer_groups // config.num_hidden_layers
        places = (f"encoder/layer_{group}/", f"encoder.layer.{i}.", f"transformer_layer_{i}/")
        for weight in _weights(_LAYER, config):
            ours, theirs, hub = (a + b for a, b in zip(places, weight[:3], strict=True))
            found.append(weight._replace(ours=f"{scope}/{ours}", theirs=theirs, keras_hub=hub))
    return found


def head_weights(rows, config):
    """Lists the weights of a head: RTD_HEAD, LM_HEAD or BERT_LM_HEAD on an encoder's states."""
    return _weights(rows, config)


def read_ours(weight, checkpoint):
    """Returns the value of a Weight in a checkpoint of ours.

    Raises:
        ValueError: it is missing or of another shape.
    """
    shape = checkpoint.tensors.shapes().get(weight.ours)
    if shape != weight.shape:
        found = "is missing" if shape is None else f"has shape {shape}"
        raise ValueError(
            f"{checkpoint.path}: {weight.ours} {found}, by its hparams of shape {weight.shape}. "
            "Give the hparams that it was trained with"
        )
    return checkpoint.tensors[weight.ours]


def _weights(rows, config, scope=""):
    sizes = {
        "V": config.vocab_size,
        "P": config.max_position_embeddings,
        "T": config.type_vocab_size,
        "E": config.embedding_size,
        "H": config.hidden_size,
        "I": config.intermediate_size,
        "1": 1,
    }
    found = []
    for ours, theirs, hub, kind, letters in rows:
        shape = tuple(sizes[letter] for letter in letters)
        theirs = theirs or ours.replace("/", ".")
        for our_end, their_end, hub_end, rank in _KINDS[kind]:
            names = (f"{scope}{ours}{our_end}", theirs + their_end, hub and hub + hub_end)
            found.append(Weight(*names, shape[-rank:], our_end == "/kernel"))
    return found
