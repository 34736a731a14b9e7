"""Outputs, losses and metrics equal those of the official code, for every folder of values."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from electra.model import kernels
from electra.model.layers import gather_positions
from electra.pretrain.metrics import metric_sums, metrics_from_sums
from tests.pretrain.reference import FOLDERS, config_of, load_batches, load_model
from tests.shared import LOSS, METRIC, TENSOR, assert_close, needs_fixtures

by_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


@needs_fixtures
@by_folder
def test_every_variable_loads_by_name(folder):
    model, report = load_model(folder)
    config = config_of(folder)
    shapes = {name: list(v.shape) for name, v in model.named_variables().items()}
    assert shapes == config["variables"]
    assert sorted(report.matched) == sorted(shapes)
    assert not report.missing
    assert all("adam_" in name or name == "global_step" for name in report.unused)


@needs_fixtures
@by_folder
def test_sizes_resolve_as_in_the_official_code(folder):
    model, _ = load_model(folder)
    config = config_of(folder)
    ours = {"disc": model.electra.config}
    if model.towers:
        ours["gen"] = model.towers[0].config
    for name, key in (("disc", "resolved_transformer"), ("gen", "resolved_generator_transformer")):
        for field, value in config.get(key, {}).items():
            assert getattr(ours[name], field) == value, field


@needs_fixtures
@by_folder
@pytest.mark.parametrize("islands", [False, True], ids=["plain", "islands"])
def test_outputs_equal_the_official_ones(folder, islands):
    model, _ = load_model(folder)
    losses = json.loads((folder / "losses.json").read_text())
    names = 0
    for index, (inputs, expected) in enumerate(load_batches(folder)):
        with kernels.use_islands(islands):
            outputs = model(inputs, sampled_ids=inputs["sampled_tokids"])
        outputs = dict(outputs, **other_outputs(model, inputs, outputs, expected))
        for name, value in expected.items():
            if name in ("mlm_loss", "disc_loss", "total_loss", "cloze_loss"):
                assert_close(outputs[name], value, LOSS, each=True, name=name)
            elif value.dtype.kind in "iu" and name != "is_fake_tokens":
                np.testing.assert_array_equal(outputs[name], value, err_msg=name)
            else:
                assert_close(outputs[name], value, TENSOR, name=name)
            names += 1
        for name, value in losses[f"batch_{index}"].items():
            assert_close(outputs[name], value, LOSS, each=True, name=name)
    assert names > 3


def other_outputs(model, inputs, outputs, expected):
    """What the values hold beyond PretrainingModel's own outputs."""
    values = {}
    encoders = {"disc": (model.electra, outputs["corrupted_input_ids"])}
    if model.two_tower_generator:
        encoders["ltr"] = (model.towers[0], inputs["input_ids"])
        encoders["rtl"] = (model.towers[1], inputs["input_ids"])
    elif model.towers:
        encoders["gen"] = (model.towers[0], inputs["masked_input_ids"])
    for name, (encoder, ids) in encoders.items():
        x = encoder.embed(dict(inputs, input_ids=ids))
        layers = encoder.encode(x, inputs)
        values[f"{name}_embedding_output"] = x
        values[f"{name}_sequence_output"] = layers[-1]
        values[f"{name}_cls_output"] = layers[-1][:, 0]
        values[f"{name}_all_layers"] = np.stack(layers)
        for wanted in expected:
            found = re.fullmatch(rf"{name}_attention_probs_layer_(\d+)_example_(\d+)", wanted)
            if found:
                layer, example = map(int, found.groups())
                states = layers[layer - 1] if layer else x
                bias = encoder._mask_bias(inputs)
                probs = attention_probs(encoder.layers, layer, states, bias)
                values[wanted] = probs[example]
    if "gen_sequence_output" in values:
        values["gen_output_at_masked"] = gather_positions(
            values["gen_sequence_output"], inputs["masked_lm_positions"]
        )
    if "disc_logits" in outputs:
        logits, mask = outputs["disc_logits"].numpy(), inputs["input_mask"].numpy()
        values["disc_probs"] = 1 / (1 + np.exp(-logits))
        values["disc_preds"] = (np.sign(logits) + 1) // 2
        loss = outputs["disc_per_token_loss"].numpy() * mask
        values["disc_per_example_loss"] = loss.sum(1) / (1e-6 + mask.sum(1))
    if "log_q" in outputs:
        values["cloze_logits"] = outputs["cloze_scores"] + model.lm_head.bias
        p = model.mask_prob
        values["disc_logits_before_log_q"] = (
            outputs["disc_logits"] - outputs["log_q"] - np.log(p / (1 - p))
        )
        special = list(model.special_ids.values())
        ids = inputs["input_ids"].numpy()
        values["cloze_weights"] = inputs["input_mask"].numpy() * ~np.isin(ids, special)
    return values


def attention_probs(layers, number, states, mask_bias):
    """Attention of one layer, (B, A, L, L)."""
    heads = layers.config.num_attention_heads
    shape = (*states.shape[:2], heads, -1)
    weights = layers.compute_weights()
    query, key, _ = (
        tf.transpose(tf.reshape(part, shape), (0, 2, 1, 3))
        for part in tf.split(
            states @ weights.attention[number] + weights.attention_bias[number], 3, -1
        )
    )
    scores = tf.matmul(query, key, transpose_b=True)
    return kernels.masked_softmax(scores, mask_bias, query.shape[-1] ** -0.5, 0.0, None)


@needs_fixtures
@by_folder
def test_metrics_equal_the_official_ones(folder):
    """The official AUC counts padding as correct negatives; the switch restores that."""
    model, _ = load_model(folder)
    losses = json.loads((folder / "losses.json").read_text())
    total = {}
    for index, (inputs, _) in enumerate(load_batches(folder)):
        outputs = model(inputs, sampled_ids=inputs["sampled_tokids"])
        sums = metric_sums(inputs, outputs, model.special_ids, auc_counts_padding=True)
        for name, value in sums.items():
            total[name] = total.get(name, 0.0) + value.numpy().astype(np.float64)
        metrics = metrics_from_sums(total)
        for name, value in losses[f"metrics_after_batch_{index}"].items():
            assert_close(metrics[name], value, METRIC, each=True, name=name)
