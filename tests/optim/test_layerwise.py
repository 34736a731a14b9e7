"""Layer-wise factors of the learning rate."""

import pytest

from electra.optim.layerwise import layer_wise_multipliers


def test_factors_of_a_network_with_two_layers():
    assert layer_wise_multipliers(
        [
            "electra/embeddings/LayerNorm/beta",
            "electra/embeddings_project/kernel",
            "electra/encoder/layer_0/output/dense/kernel",
            "electra/encoder/layer_1/output/dense/kernel",
            "task_specific/mnli/logits/kernel",
        ],
        decay=0.5,
        num_layers=2,
    ) == {
        "electra/embeddings/LayerNorm/beta": 0.0625,
        "electra/embeddings_project/kernel": 0.0625,
        "electra/encoder/layer_0/output/dense/kernel": 0.125,
        "electra/encoder/layer_1/output/dense/kernel": 0.25,
        "task_specific/mnli/logits/kernel": 1.0,
    }


def test_layer_1_is_not_layer_11():
    names = [f"electra/encoder/layer_{i}/attention/self/query/bias" for i in (1, 11)]
    factors = layer_wise_multipliers(names, decay=0.8, num_layers=12)
    assert list(factors.values()) == pytest.approx([0.8**12, 0.8**2])


@pytest.mark.parametrize(
    "name", ["generator_predictions/dense/kernel", "electra/encoder/layer_2/x"]
)
def test_a_variable_without_a_place_is_refused(name):
    with pytest.raises(ValueError, match=f"Variable '{name}' has no layer-wise rate"):
        layer_wise_multipliers([name], decay=0.8, num_layers=2)


@pytest.mark.parametrize("decay", [0.0, 1.1, -1.0])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        layer_wise_multipliers([], decay=decay, num_layers=2)
