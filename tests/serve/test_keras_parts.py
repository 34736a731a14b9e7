"""A loaded model's encoder and inputs in a Keras model of one's own."""

import doctest

import keras
import numpy as np
import pytest

import electra
from electra.features import RECORD_FEATURES
from electra.serve.keras_parts import KerasParts
from tests.serve.models import TEXTS, write_pretrained

DOCTEST_TOKENS = "[PAD] [UNK] [CLS] [SEP] [MASK] it rained was the chef who ate ."


@pytest.fixture
def model(tmp_path):
    return electra.load(write_pretrained(tmp_path), precision="float32")


def test_texts_become_padded_inputs(model):
    inputs = model.tokenize(["w5 w6 w7", ("w8", "w9 w9")])
    assert list(inputs) == list(RECORD_FEATURES)
    assert inputs["input_ids"].tolist() == [[2, 5, 6, 7, 3, 0], [2, 8, 3, 9, 9, 3]]
    assert inputs["input_mask"].tolist() == [[1, 1, 1, 1, 1, 0], [1] * 6]
    assert inputs["segment_ids"].tolist() == [[0] * 6, [0, 0, 0, 1, 1, 1]]
    assert all(values.dtype == np.int32 for values in inputs.values())
    assert model.tokenize("w5 w6 w7", max_seq_length=4)["input_ids"].tolist() == [[2, 5, 6, 3]]
    assert model.tokenize([])["input_ids"].shape == (0, 0)


@pytest.mark.parametrize("length", [3, 0, 10_000, "8", True])
def test_an_impossible_length_is_refused(model, length):
    with pytest.raises(ValueError, match="max_seq_length must be 4 to"):
        model.tokenize("w5", max_seq_length=length)


def test_the_encoder_gives_the_states_of_encode(model):
    states = np.asarray(model.encoder(model.tokenize(TEXTS)))
    np.testing.assert_allclose(states[:, 0], model.encode(TEXTS), atol=1e-5)


def test_a_model_of_ones_own_is_fitted_saved_and_loaded(model, tmp_path):
    data = model.tokenize(TEXTS)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in data}
    outputs = keras.layers.Dense(2, activation="softmax")(model.encoder(inputs)[:, 0])
    classifier = keras.Model(inputs, outputs)
    classifier.compile(keras.optimizers.AdamW(0.01), "sparse_categorical_crossentropy")
    before = model.encode(TEXTS)
    losses = classifier.fit(data, np.array([0, 1, 0, 1]), epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    assert np.abs(model.encode(TEXTS) - before).max() > 0.01  # one encoder, not a copy
    classifier.save(tmp_path / "classifier.keras")
    loaded = keras.models.load_model(tmp_path / "classifier.keras")
    np.testing.assert_allclose(
        loaded.predict(data, verbose=0), classifier.predict(data, verbose=0), atol=1e-6
    )


def test_the_examples_of_its_docstrings_are_true(tmp_path):
    tokens = DOCTEST_TOKENS.split() + [f"w{i}" for i in range(27)]
    model = electra.load(write_pretrained(tmp_path, tokens=tokens), precision="float32")
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder()
    for test in finder.find(KerasParts, globs={"model": model}):
        runner.run(test)
    assert runner.summarize() == (0, 3)
