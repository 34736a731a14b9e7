"""Sizes of an encoder: what a model size means, and the generator's sizes from the discriminator's.

Enters: a model size with overrides. Leaves: an EncoderConfig that has checked itself.
"""

import dataclasses
import sys

# Of the named sizes; heads, feed-forward and embedding sizes follow where they are not given.
MODEL_SIZES = {
    "mini": {  # learns on a laptop; electra/pretrain/defaults.py has its settings of training
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.13,
    },
    "tiny": {  # TinyBERT, CLUE's ELECTRA-tiny
        "hidden_size": 312,
        "num_hidden_layers": 4,
        "num_attention_heads": 12,
        "intermediate_size": 1200,
    },
    "small": {"hidden_size": 256, "num_hidden_layers": 12, "embedding_size": 128},
    "medium": {"hidden_size": 384, "num_hidden_layers": 12},  # SELECTRA
    "base": {"hidden_size": 768, "num_hidden_layers": 12},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24},
}

# Beyond any network, so that a slip of the hand ends at once; in units of each size.
_LARGEST = {"vocab_size": 2**24, "num_hidden_layers": 1000}
_LARGEST_OF_OTHERS = 2**20


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Sizes and rates of one Transformer encoder with its embeddings.

    `num_layer_groups` is the number of sets of weights: neighbouring layers of a group share one.
    None gives each layer its own.

    Raises:
        ValueError: a size below 1 or beyond any network, a rate outside [0, 1), what is no
            number, a hidden size that the heads do not divide, more groups than layers, an
            activation other than "gelu".
    Source: BertConfig of the official code, with embedding_size added; num_layer_groups: ALBERT's
        num_hidden_groups (Lan et al. 2020).
    """

    vocab_size: int
    hidden_size: int
    embedding_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    num_layer_groups: int = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.num_layer_groups is None:
            object.__setattr__(self, "num_layer_groups", self.num_hidden_layers)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            largest = _LARGEST.get(field.name, _LARGEST_OF_OTHERS)
            if field.type is int and (type(value) is not int or not 1 <= value <= largest):
                raise ValueError(
                    f"{field.name} must be a whole number of at least 1 and at most {largest}. "
                    f"Received: {value!r}"
                )
            if field.type is float and (
                type(value) not in (int, float) or not abs(value) <= sys.float_info.max
            ):
                raise ValueError(f"{field.name} must be a finite number. Received: {value!r}")
            if field.name.endswith("_prob") and not 0.0 <= value < 1.0:
                raise ValueError(f"{field.name} must lie in [0, 1). Received: {value!r}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_attention_heads. Received: hidden_size "
                f"{self.hidden_size}, num_attention_heads {self.num_attention_heads}"
            )
        if self.num_layer_groups > self.num_hidden_layers:
            raise ValueError(
                f"num_layer_groups must be at most num_hidden_layers {self.num_hidden_layers}. "
                f"Received: {self.num_layer_groups}"
            )
        if self.type_vocab_size < 2:
            raise ValueError(
                f"type_vocab_size must be at least 2, the segments of an example. Received: "
                f"{self.type_vocab_size}"
            )
        if self.hidden_act != "gelu":
            raise ValueError(f"hidden_act must be 'gelu'. Received: {self.hidden_act!r}")
        if not self.initializer_range > 0:
            raise ValueError(
                f"initializer_range must be positive. Received: {self.initializer_range!r}"
            )

    @property
    def shares_layers(self) -> bool:
        """Whether layers share weights."""
        return self.num_layer_groups < self.num_hidden_layers


def encoder_config(model_size, *, vocab_size, embedding_size=None, overrides=None):
    """Resolves a named size and overrides to an EncoderConfig.

    Args:
        model_size: one of MODEL_SIZES.
        vocab_size: rows of the word table.
        embedding_size: width of the tables; None means the size's own (small: 128) or, for the
            others, the hidden size.
        overrides: dict of EncoderConfig fields, applied last (`model_hparam_overrides`). Heads
            and feed-forward size follow an overridden hidden_size unless they are given too.
    Returns: EncoderConfig.
    Raises:
        ValueError: unknown size or field, or sizes that do not fit together.
    Source: training_utils.get_bert_config of the official code; "medium" is SELECTRA's, "tiny"
        CLUE's and TinyBERT's.
    """
    known = sorted(MODEL_SIZES)
    if model_size not in known:
        raise ValueError(f"model_size must be one of {known}. Received: {model_size!r}")
    overrides = {} if overrides is None else overrides
    known = [field.name for field in dataclasses.fields(EncoderConfig)]
    if type(overrides) is not dict or not set(overrides) <= set(known):
        raise ValueError(
            f"model_hparam_overrides must be a dict with names of {known}. Received: {overrides!r}"
        )
    sizes = dict(MODEL_SIZES[model_size], vocab_size=vocab_size)
    if overrides.get("hidden_size", sizes["hidden_size"]) != sizes["hidden_size"]:
        for name in ("num_attention_heads", "intermediate_size"):
            sizes.pop(name, None)
    if embedding_size is not None:
        sizes["embedding_size"] = embedding_size
    sizes.update(overrides)
    hidden_size = sizes["hidden_size"]
    if type(hidden_size) is not int:
        raise ValueError(f"hidden_size must be a whole number. Received: {hidden_size!r}")
    sizes.setdefault("embedding_size", hidden_size)
    sizes.setdefault("num_attention_heads", max(1, hidden_size // 64))
    sizes.setdefault("intermediate_size", 4 * hidden_size)
    return EncoderConfig(**sizes)


def generator_config(
    discriminator, *, hidden_size_fraction, layers_fraction, num_layer_groups=None
):
    """The generator's sizes, as fractions of the discriminator's.

    Args:
        discriminator: EncoderConfig.
        hidden_size_fraction: of the hidden size; rounded half to even.
        layers_fraction: of the layers; rounded half to even.
        num_layer_groups: of the generator; None: as many as layers, or where the discriminator's
            layers share weights, as many as there but no more than layers.
    Returns: EncoderConfig with max(1, hidden // 64) heads and a feed-forward size of four times
        the hidden size, whatever the discriminator's overrides.
    Raises:
        ValueError: fractions that make an impossible network.
    Source: get_generator_config in run_pretraining.py of the official code.

    >>> small = encoder_config("small", vocab_size=30522)
    >>> generator_config(small, hidden_size_fraction=0.25, layers_fraction=1.0).hidden_size
    64
    """
    try:
        hidden_size = round(discriminator.hidden_size * hidden_size_fraction)
        num_hidden_layers = round(discriminator.num_hidden_layers * layers_fraction)
        if num_layer_groups is None and discriminator.shares_layers:
            num_layer_groups = min(discriminator.num_layer_groups, num_hidden_layers)
        return dataclasses.replace(
            discriminator,
            hidden_size=hidden_size,
            num_hidden_layers=num_hidden_layers,
            intermediate_size=4 * hidden_size,
            num_attention_heads=max(1, hidden_size // 64),
            num_layer_groups=num_layer_groups,
        )
    except (OverflowError, ValueError) as error:
        raise ValueError(
            f"The generator, of generator_hidden_size {hidden_size_fraction}, generator_layers "
            f"{layers_fraction} and a head for each 64 units, cannot be made: {error}. Choose "
            "other shares"
        ) from None
