"""The pre-training model as a Keras object; its numbers are in test_parity.py."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from electra.model.config import encoder_config, generator_config
from electra.pretrain.model import PretrainingModel

IDS = {"cls": 2, "sep": 3, "mask": 4}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
ENCODER = encoder_config("small", vocab_size=50, embedding_size=16, overrides=SIZES)
GENERATOR = generator_config(ENCODER, hidden_size_fraction=0.5, layers_fraction=0.5)


@pytest.mark.parametrize(
    ("generator", "options"),
    [
        (GENERATOR, {"temperature": 2.0, "dtype": "mixed_bfloat16", "name": "other"}),
        (GENERATOR, {"untied_generator_embeddings": True, "disallow_correct": True}),
        (GENERATOR, {"objective": "electric", "two_tower_generator": True, "mask_prob": 0.2}),
        (None, {"uniform_generator": True, "disc_weight": 20.0, "gen_weight": 0.5}),
        (None, {"objective": "mlm"}),
    ],
)
def test_get_config_round_trip(generator, options):
    model = PretrainingModel(ENCODER, generator, IDS, **options)
    described = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    copy = keras.saving.deserialize_keras_object(described)
    assert copy.get_config() == model.get_config()
    assert list(copy.named_variables()) == list(model.named_variables())
    copy.set_weights(model.get_weights())  # refuses other shapes
    for name, value in options.items():
        assert name == "dtype" or getattr(copy, name) == value
    assert copy.compute_dtype == model.compute_dtype


def test_a_keras_file_keeps_the_weights(tmp_path):
    model = PretrainingModel(ENCODER, GENERATOR, IDS)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    for mine, theirs in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "elektra"}, "must be one of .*'elektra'"),
        ({"objective": "electric"}, "needs two_tower_generator"),
        ({"two_tower_generator": True, "generator": None}, "needs the sizes of a generator"),
        ({"generator": dataclasses.replace(GENERATOR, vocab_size=51)}, r"same vocab_size.*51\)"),
        ({"special_ids": {"cls": 2, "mask": 4}}, r"lacks \['sep'\]"),
        ({"mask_prob": 1}, "mask_prob must be above 0 and below 1. Received: 1"),
        ({"temperature": 0.0}, "temperature must be above 0. Received: 0.0"),
    ],
)
def test_impossible_arguments_are_refused(options, message):
    arguments = {"encoder": ENCODER, "generator": GENERATOR, "special_ids": IDS}
    with pytest.raises(ValueError, match=message):
        PretrainingModel(**{**arguments, **options})
