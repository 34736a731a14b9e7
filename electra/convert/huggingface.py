"""Pre-trained models in Hugging Face's layout: ElectraForPreTraining and ElectraForMaskedLM.

Enters: an opened model of ours, or a folder of theirs (ElectraModel, BertModel and such too).
Leaves: Exports to write, or the hparams and tensors of a model of ours.
"""

import dataclasses
import functools
import os

from absl import logging

from electra.convert import names
from electra.convert.tensors import open_tensors, read_weights
from electra.convert.tokenizer import read_tokenizer, write_tokenizer
from electra.model.config import MODEL_SIZES, EncoderConfig, encoder_config, generator_config
from electra.saving.tensors import write_safetensors
from electra.storage import check_shape, excerpt, published, read_json_dict, write_json

LAYER_NORM_EPSILON = 1e-12
# Of config.json: needed sizes, and those that have a default.
_SIZES = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    "intermediate_size",
)
_OTHERS = (
    *("hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob"),
    *("max_position_embeddings", "type_vocab_size", "initializer_range"),
)
_TEXTS = {"position_embedding_type?": str, "layer_norm_eps?": float}


@dataclasses.dataclass(frozen=True)
class Export:
    """A model in their layout.

    Attributes:
        architecture: their class.
        config: EncoderConfig.
        tensors: dict their name -> float32 array.
        about: dict of what config.json says besides the sizes, such as id2label.
    """

    architecture: str
    config: EncoderConfig
    tensors: dict
    about: dict = dataclasses.field(default_factory=dict)

    def write(self, folder, tokenizer, max_seq_length):
        """Writes config.json, model.safetensors and the tokenizer's files.

        Args:
            folder: made if missing; tokenizer: WordPieceTokenizer; max_seq_length: of a text.
        """
        config = self.config
        values = {
            "architectures": [self.architecture],
            "model_type": "electra",
            "embedding_size": config.embedding_size,
            **{name: getattr(config, name) for name in _SIZES + _OTHERS},
            "layer_norm_eps": LAYER_NORM_EPSILON,
            "pad_token_id": tokenizer.vocab.pad_id,
            "position_embedding_type": "absolute",
            **self.about,
        }
        write_tokenizer(folder, tokenizer, max_seq_length)
        with published(os.path.join(folder, "model.safetensors")) as file:
            write_safetensors(file, self.tensors, {"format": "pt"})
        write_json(os.path.join(folder, "config.json"), values)


@dataclasses.dataclass(frozen=True)
class Incoming:
    """A folder of theirs.

    Attributes:
        folder, path: of it, of its weights.
        config: EncoderConfig.
        values: dict, its config.json.
        tensors: Tensors by their names.
        prefix: of the encoder's names.
        used: set of the names that were read.
    """

    folder: str
    path: str
    config: EncoderConfig
    values: dict
    tensors: object
    prefix: str
    used: set = dataclasses.field(default_factory=set)

    @property
    def is_bert(self):
        return self.values["model_type"] == "bert"

    def has(self, rows):
        """Whether the file has a head's weights."""
        return names.head_weights(rows, self.config)[0].theirs in self.tensors

    def read(self, weights):
        """Reads weights; as tensors.read_weights."""
        self.used.update(weight.theirs for weight in weights)
        return read_weights(weights, self.tensors, self.path)

    def unused(self):
        """Returns the names that were not read, buffers left out."""
        return [n for n in self.tensors if n not in self.used and not n.endswith("_ids")]

    def read_encoder(self, scope="electra", tables=None):
        """Reads the encoder's weights under names of ours."""
        weights = names.encoder_weights(self.config, scope, tables or scope)
        return self.read([w._replace(theirs=self.prefix + w.theirs) for w in weights])


# ---- out ------------------------------------------------------------------------------------


def discriminator(opened):
    """Returns the Export of a pre-trained model's discriminator.

    Args: opened: serve.opening.Opened.
    Raises:
        ValueError: there is none, or ElectraForPreTraining computes something else.
    """
    why = {"mlm": "it is a masked LM", "electric": "Electric's scores add those of its two towers"}
    why = "it is fine-tuned" if opened.tasks else why.get(opened.config.objective)
    if why:
        raise ValueError(
            f"{opened.path} has no discriminator that ElectraForPreTraining could hold: {why}. "
            "Expected: a model pre-trained with electra_objective"
        )
    return export(opened, "ElectraForPreTraining", opened.config.encoder, names.RTD_HEAD)


def generator(opened):
    """Returns the Export of a pre-trained model's generator, or of a masked LM.

    Raises:
        ValueError: there is none, or ElectraForMaskedLM computes something else.
    """
    config = opened.config
    if (
        opened.tasks
        or config.uniform_generator
        or config.two_tower_generator
        or not opened.has_heads
    ):
        why = "its two towers read from one side each" if config.two_tower_generator else "none"
        raise ValueError(
            f"{opened.path} has no generator that ElectraForMaskedLM could hold: {why}. Expected: "
            "a model with one generator network, or a masked LM"
        )
    encoder, scope, tables = config.generator, "generator", "electra"
    if encoder is None:  # the discriminator's network, or the only one
        encoder, scope = config.encoder, "electra"
    elif config.untied_generator_embeddings:
        encoder, tables = dataclasses.replace(encoder, embedding_size=encoder.hidden_size), scope
    return export(opened, "ElectraForMaskedLM", encoder, names.LM_HEAD, scope, tables)


def encoder(opened):
    """Returns the Export of a model's encoder without heads."""
    return export(opened, "ElectraModel", opened.config.encoder, prefix="")


def export(
    opened, architecture, config, head=(), scope="electra", tables="electra", prefix="electra."
):
    """Returns the Export of an encoder with a head's rows."""
    weights = [
        weight._replace(theirs=prefix + weight.theirs)
        for weight in names.encoder_weights(config, scope, tables)
    ]
    weights += names.head_weights(head, config)
    read = functools.partial(names.read_ours, checkpoint=opened.checkpoint)
    return Export(architecture, config, {w.theirs: w.turned(read(w)) for w in weights})


# ---- in -------------------------------------------------------------------------------------


def open_folder(folder):
    """Opens a folder of theirs.

    Returns: Incoming.
    Raises:
        FileNotFoundError: no config.json, no weights.
        ValueError: another kind of model, a damaged file, an impossible size.
    """
    file = os.path.join(folder, "config.json")
    values = read_json_dict(file, "--model", "config.json of an ELECTRA or BERT model")
    kind = values.get("model_type")
    if kind not in ("electra", "bert"):
        raise ValueError(
            f"{file}: model_type is {excerpt(kind)}, expected 'electra' or 'bert'. Other networks "
            "compute something else"
        )
    check_shape(values, {**dict.fromkeys(_SIZES, int), **_TEXTS}, f"{file}: ", "the config")
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError(f"{file}: position_embedding_type must be 'absolute'")
    if values.get("layer_norm_eps", LAYER_NORM_EPSILON) != LAYER_NORM_EPSILON:
        logging.warning(
            "%s: layer_norm_eps is %s, here %s: numbers differ a little",
            *(file, values["layer_norm_eps"], LAYER_NORM_EPSILON),
        )
    sizes = {name: values[name] for name in _SIZES + _OTHERS if name in values}
    width = values["hidden_size"] if kind == "bert" else values.get("embedding_size", 128)
    try:
        config = EncoderConfig(embedding_size=width, **sizes)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    path, tensors = open_tensors(folder)
    prefix = next(
        (p for p in (f"{kind}.", "") if f"{p}embeddings.word_embeddings.weight" in tensors), None
    )
    if prefix is None:
        raise ValueError(
            f"{path} lacks {kind}.embeddings.word_embeddings.weight: it is no {kind} model. "
            f"Its first tensor: {next(iter(tensors), None)}. Name another folder"
        )
    return Incoming(os.fspath(folder), path, config, values, tensors, prefix)


def pretrained(main, other=None, part=None):
    """Makes a pre-trained model of ours of their folder, or of a pair of folders.

    Args:
        main: Incoming: a discriminator; or a masked LM or an encoder alone, then without `other`.
        other: Incoming of its generator, or None.
        part: "encoder" leaves heads out, "discriminator" and "generator" want theirs; None takes
            what is there.
    Returns: (hparams as a dict, tensors as a dict).
    Raises:
        ValueError: weights are missing or misshapen, or the two are no pair.
    """
    tensors, config = main.read_encoder(), main.config
    hparams, heads = hparams_of(config), {"discriminator": names.RTD_HEAD}
    heads["generator"] = names.BERT_LM_HEAD if main.is_bert else names.LM_HEAD
    found = next((name for name, rows in heads.items() if main.has(rows)), None)
    if part in heads and part != found:
        raise ValueError(f"{main.path} holds no {part}. Found: {found or 'an encoder alone'}")
    if found and part != "encoder":
        tensors |= main.read(names.head_weights(heads[found], config))
    is_discriminator = found == "discriminator" and part != "encoder"
    hparams["uniform_generator" if is_discriminator else "electra_objective"] = is_discriminator
    if other is not None:
        if not is_discriminator or not other.has(names.LM_HEAD):
            raise ValueError(
                f"{main.path} and {other.path} are no pair: expected the discriminator's "
                "discriminator_predictions in the first and the generator's in the second"
            )
        hparams |= {"uniform_generator": False, **_add_generator(tensors, main, other)}
    return hparams, tensors


def hparams_of(config):
    """Returns the hparams that say an encoder's sizes, as a dict."""
    widths = {
        name: own["hidden_size"]
        for name, own in MODEL_SIZES.items()
        if name != "mini" and own["hidden_size"] <= config.hidden_size
    }
    size = max(widths, key=widths.get, default="small")
    tables = {"vocab_size": config.vocab_size, "embedding_size": config.embedding_size}
    sizes = {"hidden_size": config.hidden_size, "num_hidden_layers": config.num_hidden_layers}
    usual = encoder_config(size, **tables, overrides=sizes)
    overrides = {name: value for name, value in sizes.items() if value != MODEL_SIZES[size][name]}
    for name, value in dataclasses.asdict(config).items():
        if value != getattr(usual, name):
            overrides[name] = value
    return {
        "model_size": size,
        "model_hparam_overrides": overrides,
        **tables,
        "max_seq_length": config.max_position_embeddings,
    }


def _add_generator(tensors, main, other):
    """Adds the generator's weights. Returns: its hparams."""
    config, own = main.config, other.config
    ratio = {
        "generator_hidden_size": own.hidden_size / config.hidden_size,
        "generator_layers": own.num_hidden_layers / config.num_hidden_layers,
    }
    expected = dataclasses.asdict(
        generator_config(
            config,
            hidden_size_fraction=ratio["generator_hidden_size"],
            layers_fraction=ratio["generator_layers"],
        )
    )
    if own.embedding_size == own.hidden_size:
        expected["embedding_size"] = own.embedding_size
    for name in (*_SIZES, "embedding_size", "max_position_embeddings", "type_vocab_size"):
        if getattr(own, name) != expected[name]:
            raise ValueError(
                f"{other.folder}: {name} is {getattr(own, name)}, but of a generator for "
                f"{main.folder} it is {expected[name]} here. Convert the discriminator alone"
            )
    found = other.read_encoder("generator")
    tables = [name for name in found if name.startswith("generator/embeddings/")]
    shared = {name: tensors[name.replace("generator", "electra", 1)] for name in tables}
    is_shared = all(_equal(found[name], shared[name]) for name in tables)
    if not is_shared and own.embedding_size != own.hidden_size:
        raise ValueError(
            f"{main.folder} and {other.folder} are no pair: their embeddings differ. Expected: the "
            "generator and the discriminator of one pre-training. Convert the discriminator alone"
        )
    tensors |= {name: v for name, v in found.items() if not (is_shared and name in tables)}
    tensors |= other.read(names.head_weights(names.LM_HEAD, own))
    return {**ratio, "untied_generator_embeddings": not is_shared}


def _equal(a, b):
    return a.shape == b.shape and bool((a == b).all())


def tokenizer_hparams(folder, config):
    """Reads the tokenizer of a folder and compares it with the word table.

    Returns: (Vocabulary, dict of the hparams of case and accents).
    Raises:
        ValueError: the vocabulary is larger than the table.
    """
    vocab, lower, accents = read_tokenizer(folder)
    check_table(vocab, config, folder)
    return vocab, {"do_lower_case": lower, "strip_accents": accents}


def check_table(vocab, config, folder):
    """Raises a ValueError where a Vocabulary is larger than the EncoderConfig's word table; warns
    where it is smaller."""
    if len(vocab) > config.vocab_size:
        raise ValueError(
            f"The vocabulary in {folder} holds {len(vocab)} tokens, the word table of the model "
            f"{config.vocab_size} rows. Put the vocabulary there that the model was trained with"
        )
    if unused := config.vocab_size - len(vocab):
        logging.warning("%s: %d rows of the word table have no token", folder, unused)
