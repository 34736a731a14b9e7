"""KerasHub's presets of its ElectraBackbone, and its ElectraTokenizer.

Enters: an opened model of ours, or a preset's folder. Leaves: a preset, or the hparams and tensors
of a model of ours. Uses keras-nlp (`keras_nlp`).

The backbone differs from ELECTRA in what weights cannot mend: its GELU is the tanh approximation,
and it has a pooler, ELECTRA none (written as the identity). It has no heads.
"""

import math
import os

import numpy as np

from electra.convert import names
from electra.convert.huggingface import check_table, hparams_of
from electra.model.config import EncoderConfig
from electra.storage import check_shape, read_json_dict
from electra.text.vocab import read_vocab

CLASS = "ElectraBackbone"
_WEIGHTS = "model.weights.h5"
# Names of the backbone's arguments and of ours.
_SIZES = {
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "embedding_dim": "embedding_size",
    "intermediate_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
}


def write(opened, folder):
    """Writes the preset of a model's encoder, which ElectraBackbone.from_preset loads.

    Args: opened: serve.opening.Opened; folder: made if missing.
    Returns: the number of its parameters.
    Raises:
        ValueError: a weight is missing or misshapen.
    """
    import keras_nlp

    config = opened.config.encoder
    backbone, variables = _backbone(config)
    checkpoint, read = opened.checkpoint, {}
    for weight in names.encoder_weights(config):
        if weight.ours not in read:
            read[weight.ours] = names.read_ours(weight, checkpoint)
        variable = variables[weight.keras_hub]
        variable.assign(read[weight.ours].reshape(variable.shape))
    variables["pooled_dense/kernel"].assign(np.eye(config.hidden_size))
    basic, vocab = opened.tokenizer.basic, opened.tokenizer.vocab
    tokenizer = keras_nlp.models.ElectraTokenizer(
        vocabulary=list(vocab.tokens),
        lowercase=basic.do_lower_case,
        strip_accents=basic.strip_accents,
    )
    os.makedirs(folder, exist_ok=True)
    backbone.save_to_preset(folder)
    tokenizer.save_to_preset(folder)
    return backbone.count_params()


def read(folder):
    """Reads a preset's folder; nothing in it is run.

    Returns: (hparams as a dict, tensors as a dict, Vocabulary).
    Raises:
        FileNotFoundError: a file is missing. ValueError: another backbone, a damaged file.
    """
    file = os.path.join(folder, "config.json")
    values = _object(file, CLASS)
    check_shape(values, {**dict.fromkeys(_SIZES, int), "dropout": float}, f"{file}: ", "config")
    try:
        config = EncoderConfig(
            **{ours: values[theirs] for theirs, ours in _SIZES.items()},
            attention_probs_dropout_prob=values["dropout"],
        )
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    path = os.path.join(folder, "assets", "tokenizer", "vocabulary.txt")
    about, vocab = (
        _object(os.path.join(folder, "tokenizer.json"), "ElectraTokenizer"),
        read_vocab(path),
    )
    check_table(vocab, config, folder)
    weights = os.path.join(folder, _WEIGHTS)
    if not os.path.exists(weights):
        raise FileNotFoundError(f"{weights} is missing. Expected: what save_to_preset wrote")
    try:
        needed = 2 * sum(math.prod(weight.shape) for weight in names.encoder_weights(config))
        if os.path.getsize(weights) < needed:  # before memory for them is taken
            raise ValueError(f"it is shorter than {needed} bytes")
        backbone, variables = _backbone(config)
        backbone.load_weights(weights)
    except (ValueError, KeyError, OSError) as error:
        first = str(error).split("\n")[0]
        raise ValueError(
            f"{weights} does not fit {file}, or is damaged: {first:.200}. Copy the preset anew"
        ) from None
    tensors = {
        weight.ours: variables[weight.keras_hub].numpy().reshape(weight.shape)
        for weight in names.encoder_weights(config)
    }
    flags = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
    flags = {ours: about.get(theirs) is True for ours, theirs in flags.items()}
    return {**hparams_of(config), "electra_objective": False, **flags}, tensors, vocab


def _backbone(config):
    """Returns KerasHub's backbone and its variables by the ends of their paths."""
    import keras_nlp

    sizes = {theirs: getattr(config, ours) for theirs, ours in _SIZES.items()}
    backbone = keras_nlp.models.ElectraBackbone(**sizes, dtype="float32")
    return backbone, {variable.path: variable for variable in backbone.variables}


def _object(path, name):
    """Returns the arguments of a serialized object of the class."""
    values = read_json_dict(path, "--model", f"a preset of {name}")
    shape = {"class_name": str, "config": dict}
    check_shape(values, shape, f"{path}: ", "the file")
    if values["class_name"] != name:
        raise ValueError(f"{path} is of a {values['class_name']!r:.60}. Expected: {name}")
    return values["config"]
