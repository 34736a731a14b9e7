"""The counts of floating-point operations, against the official figures and a count by hand."""

import pytest

from electra.model.config import encoder_config, generator_config
from electra.pretrain.flops import official_training_flops, training_flops
from electra.pretrain.model import PretrainingModel

SPECIAL_IDS = {"cls": 1, "sep": 2, "mask": 3}
TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def tiny(**arguments):
    config = encoder_config("small", vocab_size=50, embedding_size=4, overrides=TINY)
    generator = arguments.pop("generator", None)
    return PretrainingModel(config, generator, SPECIAL_IDS, **arguments)


def test_small_at_length_128_counts_as_the_official_script():
    config = encoder_config("small", vocab_size=30522)
    generator = generator_config(config, hidden_size_fraction=0.25, layers_fraction=1.0)
    model = PretrainingModel(config, generator, SPECIAL_IDS)
    # Source: get_electra_train_flops of flops_computation.py, for one example of one step.
    assert official_training_flops(model, 128, 20) == 10_107_373_424
    assert training_flops(model, 128, 20) == pytest.approx(9.0e9, rel=0.01)


def test_matrix_products_by_hand():
    length, slots = 16, 3
    project = 16 * 4 * 8
    attention = 4 * 16 * 8 * 8 + 2 * 16 * 16 * 8
    feed_forward = 2 * 16 * 8 * 32
    encoder = project + attention + feed_forward
    lm_head = slots * (8 * 4 + 4 * 50)
    rtd_head = 16 * (8 * 8 + 8)
    masked = tiny(objective="mlm")
    assert training_flops(masked, length, slots) == 3 * 2 * (encoder + lm_head)
    tied = tiny()
    assert training_flops(tied, length, slots) == 3 * 2 * (2 * encoder + lm_head + rtd_head)
    uniform = tiny(uniform_generator=True)
    assert training_flops(uniform, length, slots) == 3 * 2 * (encoder + rtd_head)
    generator = masked.encoder_config
    towers = tiny(objective="electric", two_tower_generator=True, generator=generator)
    cloze = 16 * (16 * 4 + 4 * 50)
    assert training_flops(towers, length, slots) == 3 * 2 * (3 * encoder + cloze + rtd_head)
