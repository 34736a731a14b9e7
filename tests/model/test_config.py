import pytest

from electra.model.config import encoder_config, generator_config
from electra.model.encoder import ElectraEncoder
from electra.pretrain.model import PretrainingModel

IDS = {"cls": 2, "sep": 3, "mask": 4}


def test_heads_and_feed_forward_follow_the_hidden_size():
    config = encoder_config("small", vocab_size=100, overrides={"hidden_size": 128})
    assert (config.num_attention_heads, config.intermediate_size) == (2, 512)
    assert config.embedding_size == 128


def test_medium_is_selectras():
    config = encoder_config("medium", vocab_size=50000)
    assert (config.num_hidden_layers, config.num_attention_heads) == (12, 6)
    assert (config.hidden_size, config.embedding_size) == (384, 384)


def test_generator_sizes_are_rounded_half_to_even():
    config = encoder_config(
        "small",
        vocab_size=9,
        overrides={"hidden_size": 50, "num_attention_heads": 2, "num_hidden_layers": 5},
    )
    generator = generator_config(config, hidden_size_fraction=0.25, layers_fraction=0.5)
    assert (generator.hidden_size, generator.num_hidden_layers) == (12, 2)
    assert (generator.intermediate_size, generator.num_attention_heads) == (48, 1)


# Facts of the published models: discriminator encoder, RTD head, what the generator adds.
COUNTS = [
    ("small", 0.25, 13_483_008, 66_049, 647_162),
    ("small", 1.0, 13_483_008, 66_049, 9_573_818),
    ("base", 1 / 3, 108_891_648, 591_361, 9_903_418),
    ("large", 0.25, 334_092_288, 1_050_625, 19_512_378),
]


@pytest.mark.parametrize(("size", "fraction", "encoder", "head", "generator"), COUNTS)
def test_parameter_counts_are_the_published_ones(
    size, fraction, encoder, head, generator, monkeypatch
):
    for module in ("encoder", "heads"):  # zeros: quick to make
        monkeypatch.setattr(f"electra.model.{module}.truncated_normal", lambda stddev: "zeros")
    config = encoder_config(size, vocab_size=30522)
    small = generator_config(config, hidden_size_fraction=fraction, layers_fraction=1.0)
    model = PretrainingModel(config, small, IDS)
    counts = {"electra": 0, "discriminator_predictions": 0, "rest": 0}
    for name, variable in model.named_variables().items():
        scope = name.split("/")[0]
        size = 1
        for dimension in variable.shape:
            size *= dimension
        counts[scope if scope in counts else "rest"] += size
    assert counts == {"electra": encoder, "discriminator_predictions": head, "rest": generator}


@pytest.mark.parametrize(
    ("overrides", "parameters"),
    [
        ({"embedding_size": 256}, 17_422_848),  # 17M: ELECTRA-Small-OWT in the layout of BERT
        ({"num_layer_groups": 1}, 4_795_648),  # 4M: ALECTRA-Small-OWT, layers shared as in ALBERT
    ],
)
def test_sizes_of_other_layouts_are_the_published_ones(overrides, parameters):
    """Source: the cards of the models shoarora/electra-small-owt and alectra-small-owt."""
    encoder = ElectraEncoder(encoder_config("small", vocab_size=30522, overrides=overrides))
    encoder.build()
    assert encoder.count_params() == parameters
    has_projection = encoder.embeddings_project is not None
    assert has_projection == (encoder.config.embedding_size != 256)


def test_the_generator_shares_layers_as_the_discriminator_does():
    fractions = {"hidden_size_fraction": 0.25, "layers_fraction": 0.5}
    for groups, wanted, expected in (
        (None, None, 6),
        (None, 2, 2),
        (1, None, 1),
        (8, None, 6),
        (1, 6, 6),
    ):
        overrides = {} if groups is None else {"num_layer_groups": groups}
        config = encoder_config("small", vocab_size=9, overrides=overrides)
        generator = generator_config(config, num_layer_groups=wanted, **fractions)
        assert generator.num_layer_groups == expected


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_layer_groups": 0}, "num_layer_groups must be a whole number"),
        ({"num_layer_groups": 13}, "at most num_hidden_layers 12. Received: 13"),
        ({"hidden_size": 250}, "multiple of num_attention_heads"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a whole number"),
        ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob must lie in"),
        ({"hidden_act": "relu"}, "must be 'gelu'"),
        ({"hidden_dropout_prob": "x"}, "must be a finite number"),
        ({"initializer_range": None}, "must be a finite number"),
        ({"type_vocab_size": 1}, "at least 2"),
        ({"hidden_size": "big"}, "hidden_size must be a whole number"),
        ({"hidden_size": 10**30}, "hidden_size must be .* at most 1048576"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers must be .* at most 1000"),
        ({"initializer_range": 10**400}, "initializer_range must be a finite number"),
        ({"hidden_dropout_prob": 10**400}, "hidden_dropout_prob must be a finite number"),
        ({"hiden_size": 8}, r"names of \['vocab_size', .*'hiden_size'"),
        ([1], r"must be a dict with names of .* Received: \[1\]"),
    ],
)
def test_impossible_sizes_are_refused(overrides, message):
    if overrides == {"hidden_size": 250}:
        overrides = {"hidden_size": 250, "num_attention_heads": 4}
    with pytest.raises(ValueError, match=message):
        encoder_config("small", vocab_size=100, overrides=overrides)


def test_unknown_size_names_the_known_ones():
    with pytest.raises(ValueError, match=r"medium.*Received: 'huge'"):
        encoder_config("huge", vocab_size=100)


@pytest.mark.parametrize(
    ("width", "layers", "message"),
    [(0.25, 0.01, "num_hidden_layers"), (1e308, 1, "infinity"), (0.75, 1, "hidden_size 200, num")],
)
def test_an_impossible_generator_is_named(width, layers, message):
    overrides = {"hidden_size": 266, "num_attention_heads": 2}
    config = encoder_config("small", vocab_size=100, overrides=overrides)
    with pytest.raises(ValueError, match=f"^The generator, of .*{message}"):
        generator_config(config, hidden_size_fraction=width, layers_fraction=layers)
