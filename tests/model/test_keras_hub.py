"""Our encoder beside KerasHub's ElectraBackbone with the same weights."""

import keras
import keras_nlp
import numpy as np

from electra.model.encoder import ElectraEncoder
from electra.stacked import by_official_name
from tests.model.test_encoder import batch, tiny


def test_weights_fit_keras_hubs_backbone_up_to_its_gelu():
    """KerasHub differs in two ways that weights cannot mend:

    its GELU is the tanh approximation (about 3e-4 off), and it adds a pooler that ELECTRA does
    not have. Its sequence output is compared; the pooler's output means nothing.
    """
    keras.utils.set_random_seed(1)
    ours = ElectraEncoder(tiny(initializer_range=0.2))
    ours.build()
    config = ours.config
    theirs = keras_nlp.models.ElectraBackbone(
        vocab_size=config.vocab_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        hidden_dim=config.hidden_size,
        embedding_dim=config.embedding_size,
        intermediate_dim=config.intermediate_size,
        max_sequence_length=config.max_position_embeddings,
    )
    variables = {v.path.removeprefix("electra/"): v for v in ours.variables}
    weights = {name: v.numpy() for name, v in by_official_name(variables).items()}
    for name, value in _keras_hub_weights(weights, config):
        matching = [v for v in theirs.variables if v.path.endswith(name)]
        assert len(matching) == 1, (name, [v.path for v in theirs.variables])
        matching[0].assign(value.reshape(matching[0].shape))

    inputs = batch()
    expected = ours(inputs).numpy()
    output = theirs(
        {
            "token_ids": inputs["input_ids"],
            "padding_mask": inputs["input_mask"],
            "segment_ids": inputs["segment_ids"],
        }
    )["sequence_output"].numpy()
    real = inputs["input_mask"].numpy().astype(bool)
    difference = np.abs(output - expected)[real].max()
    assert 1e-6 < difference < 5e-3, difference


def _keras_hub_weights(weights, config):
    """Yields the end of a KerasHub path and its value, for every weight but the pooler's."""
    yield "token_embedding/embeddings", weights["embeddings/word_embeddings"]
    yield "position_embedding/embeddings", weights["embeddings/position_embeddings"]
    yield "segment_embedding/embeddings", weights["embeddings/token_type_embeddings"]
    for ours in ("gamma", "beta"):
        yield f"embeddings_layer_norm/{ours}", weights[f"embeddings/LayerNorm/{ours}"]
    for ours in ("kernel", "bias"):
        yield f"embeddings_projection/{ours}", weights[f"embeddings_project/{ours}"]
    for i in range(config.num_hidden_layers):
        layer, theirs = f"encoder/layer_{i}", f"transformer_layer_{i}"
        parts = ("query", "key", "value")
        names = {f"attention/self/{part}": f"self_attention_layer/{part}" for part in parts}
        names["attention/output/dense"] = "self_attention_layer/attention_output"
        names["intermediate/dense"] = "feedforward_intermediate_dense"
        names["output/dense"] = "feedforward_output_dense"
        for ours, name in names.items():
            for kind in ("kernel", "bias"):
                yield f"{theirs}/{name}/{kind}", weights[f"{layer}/{ours}/{kind}"]
        for ours, name in {
            "attention/output/LayerNorm": "self_attention_layer_norm",
            "output/LayerNorm": "feedforward_layer_norm",
        }.items():
            for kind in ("gamma", "beta"):
                yield f"{theirs}/{name}/{kind}", weights[f"{layer}/{ours}/{kind}"]
