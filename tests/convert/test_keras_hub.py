"""KerasHub's presets: its own backbone loads ours, and ours start from it."""

import json
import re

import keras
import keras_nlp
import numpy as np
import pytest

import electra
from electra.publish.formats import convert
from tests.convert.models import SIZES
from tests.serve.models import write_pretrained

TEXT = "w5 w6 w7"
IDS = np.array([[2, 5, 6, 7, 3]])


@pytest.fixture
def ours(tmp_path):
    overrides = {**SIZES, "num_hidden_layers": 3, "num_layer_groups": 2, "initializer_range": 0.2}
    return write_pretrained(tmp_path, model_hparam_overrides=overrides)


def states_of(backbone):
    inputs = {"token_ids": IDS, "segment_ids": 0 * IDS, "padding_mask": 0 * IDS + 1}
    return {name: np.asarray(value)[0] for name, value in backbone(inputs).items()}


def vectors_of(folder):
    return electra.load(folder, precision="float32").encode(TEXT, per_token=True).vectors


def test_their_backbone_gives_our_states_up_to_its_gelu(ours, tmp_path, caplog):
    convert(ours, "keras_hub", tmp_path / "k")
    assert "GELU by tanh" in caplog.text
    backbone = keras_nlp.models.ElectraBackbone.from_preset(str(tmp_path / "k"))
    expected = vectors_of(ours)
    assert 1e-5 < np.abs(states_of(backbone)["sequence_output"] - expected).max() < 5e-3
    for layer in backbone.transformer_layers:
        layer._feedforward_intermediate_dense.activation = lambda x: keras.activations.gelu(
            x, approximate=False
        )
    found = states_of(backbone)
    np.testing.assert_allclose(found["sequence_output"], expected, atol=1e-4)
    np.testing.assert_allclose(found["pooled_output"], np.tanh(expected[0]), atol=1e-4)


def test_their_tokenizer_gives_our_ids(tmp_path):
    tokens = "[PAD] [UNK] [CLS] [SEP] [MASK] elan Élan ##s ,".split()
    tokens += [f"w{i}" for i in range(31)]
    for lower in (True, False):
        folder = tmp_path / str(lower)
        folder.mkdir()
        model = write_pretrained(folder, tokens=tokens, do_lower_case=lower)
        convert(model, "keras_hub", folder / "k")
        theirs = keras_nlp.models.ElectraTokenizer.from_preset(str(folder / "k"))
        expected = electra.load(model).tokenizer.encode("Élans, w3")
        assert list(theirs("Élans, w3")) == expected


def test_the_cards_example_runs(ours, tmp_path, monkeypatch):
    convert(ours, "keras_hub", tmp_path / "k")
    card = (tmp_path / "k" / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", card, re.S)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(compile(example, "README.md", "exec"), found)
    assert list(found["tokenizer"]("w5 w6")) == [5, 6]
    assert found["backbone"].hidden_dim == 16


def test_a_preset_comes_in(ours, tmp_path):
    convert(ours, "keras_hub", tmp_path / "k")
    convert(tmp_path / "k", "electra", tmp_path / "back")
    np.testing.assert_array_equal(vectors_of(tmp_path / "back"), vectors_of(ours))
    recorded = json.loads((tmp_path / "back" / "hparams.json").read_text())
    assert recorded["do_lower_case"] is True and recorded["strip_accents"] is True


def test_a_preset_of_theirs_comes_in(tmp_path):
    keras.utils.set_random_seed(0)
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 40}
    backbone = keras_nlp.models.ElectraBackbone(
        vocab_size=40, embedding_dim=16, max_sequence_length=32, **sizes
    )
    backbone.save_to_preset(tmp_path / "k")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, 40))]
    keras_nlp.models.ElectraTokenizer(tokens, lowercase=True).save_to_preset(tmp_path / "k")
    convert(tmp_path / "k", "electra", tmp_path / "o")
    found = states_of(backbone)["sequence_output"]
    np.testing.assert_allclose(vectors_of(tmp_path / "o"), found, atol=5e-3)
    recorded = json.loads((tmp_path / "o" / "hparams.json").read_text())
    assert recorded["do_lower_case"] is True and recorded["strip_accents"] is False
    assert recorded["model_hparam_overrides"]["intermediate_size"] == 40


def test_damaged_presets_are_named(ours, tmp_path):
    convert(ours, "keras_hub", tmp_path / "k")
    weights, config = tmp_path / "k" / "model.weights.h5", tmp_path / "k" / "config.json"
    whole, values = weights.read_bytes(), json.loads(config.read_text())
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="model.weights.h5 does not fit .* or is damaged"):
        convert(tmp_path / "k", "electra", tmp_path / "o")
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="model.weights.h5 is missing"):
        convert(tmp_path / "k", "electra", tmp_path / "o")
    weights.write_bytes(whole)
    for change, message in (
        ({"hidden_dim": 24}, "does not fit|must be a multiple"),
        ({"hidden_dim": 2**20, "intermediate_dim": 2**20}, "is damaged: it is shorter than"),
        ({"num_heads": 0}, "num_attention_heads must be a whole number"),
        ({"num_layers": "3"}, "'num_layers' of config is '3', expected a whole number"),
        ({"vocab_size": 30}, "holds 40 tokens, the word table of the model 30 rows"),
    ):
        config.write_text(json.dumps({**values, "config": {**values["config"], **change}}))
        with pytest.raises(ValueError, match=message):
            convert(tmp_path / "k", "electra", tmp_path / "o")
    config.write_text(json.dumps({**values, "class_name": "BertBackbone"}))
    with pytest.raises(ValueError, match="is of a 'BertBackbone'. Expected: ElectraBackbone"):
        convert(tmp_path / "k", "electra", tmp_path / "o")
    assert not (tmp_path / "o").exists()
