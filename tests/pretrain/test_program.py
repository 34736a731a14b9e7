"""The size of the program that XLA compiles of a step; it is counted, not compiled."""

import math
import re
import types

import pytest
import tensorflow as tf

from electra.pretrain import assembly
from electra.pretrain.config import PretrainingConfig
from electra.train.strategy import choose_placement

MOST_INSTRUCTIONS = 9000  # before optimisation
LARGEST_CONSTANT = 100_000  # elements
VOCAB = types.SimpleNamespace(cls_id=101, sep_id=102, mask_id=103)


@pytest.mark.parametrize("size", ["small", "base"])
def test_the_whole_step_is_a_small_program(size, monkeypatch):
    for module in ("encoder", "heads"):  # zeros: quick to make
        monkeypatch.setattr(f"electra.model.{module}.truncated_normal", lambda stddev: "zeros")
    config = PretrainingConfig("x", "", model_size=size, xla=True, train_batch_size=8)
    placement = choose_placement("one", precision="bfloat16", xla=True)
    with placement.strategy.scope():
        model = assembly.build_model(config, VOCAB, placement.dtype)
        optimizer = assembly.build_optimizer(config, model, compiled=False)
    step = assembly.build_step(config, model, optimizer, placement)
    assert len(model.trainable_variables) < 50 < len(model.named_variables())
    shapes = dict.fromkeys(("input_ids", "input_mask", "segment_ids"), (8, config.max_seq_length))
    batch = {k: tf.zeros(shape, tf.int32) for k, shape in {**shapes, "row": (8,)}.items()}
    number = tf.constant(0, tf.int64)
    run = tf.function(lambda *args: placement.strategy.run(step, args), autograph=False)
    run.get_concrete_function(batch, number)
    (program,) = step._compiled.values()
    hlo = program.experimental_get_compiler_ir(batch, number)(stage="hlo")
    assert hlo.count(" = ") <= MOST_INSTRUCTIONS
    length = config.max_seq_length
    for loop in re.findall(r"= \((.*)\) while\(", hlo):  # of layers, forward and backward
        assert len(re.findall(rf"\[\d+,8,\d+,{length},{length}\]", loop)) == 1  # of attention
    constants = re.findall(r"= \w+\[([\d,]+)\]\S* constant\(", hlo)
    assert constants
    assert max(math.prod(map(int, shape.split(","))) for shape in constants) < LARGEST_CONSTANT
