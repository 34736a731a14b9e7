"""Heads, losses and fine-tuning trajectories equal those of the official code."""

import numpy as np
import pytest
import tensorflow as tf

from electra.finetune.metrics import classification_scores, regression_scores
from electra.optim.adamw import AdamW
from electra.optim.layerwise import layer_wise_multipliers
from electra.optim.schedule import learning_rate_at
from tests.finetune.reference import (
    FOLDER,
    HEADS,
    SENTENCE_HEADS,
    load_arrays,
    load_model,
    tensors,
    values_of,
)
from tests.shared import needs_fixtures

TENSOR, LOSS, TRAJECTORY = 5e-5, 2e-5, 1e-4  # the tolerances that the values' README states
VARIANTS = {"joint": (), "independent": ("independent",), "no_classifier": ("no_classifier",)}
# The exact gradient of these is 0: theirs is rounding noise, which Adam scales up.
NOISE = ("attention/self/key/bias", "task_specific/squad/dense/bias",
         "task_specific/squad/dense_1/bias")  # fmt: skip


def assert_close(ours, expected, name, tolerance=TENSOR):
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == expected.shape, name
    error = np.abs(ours - expected).max()
    assert error <= tolerance * np.abs(expected).max(), f"{name}: off by {error}"


@needs_fixtures
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variable_has_the_official_name_and_shape(variant):
    values = values_of(f"heads/{variant}.json")
    model = load_model(values["hparams"], values["task_names"], *VARIANTS[variant])
    shapes = {name: list(v.shape) for name, v in model.named_variables().items()}
    assert shapes == values["variables"]


@needs_fixtures
@pytest.mark.parametrize("training", [False, True], ids=["prediction", "training"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_equal_the_official_ones(variant, training):
    values = values_of(f"heads/{variant}.json")
    model = load_model(values["hparams"], values["task_names"], *VARIANTS[variant])
    prefix = "train_" if training else ""
    compared = 0
    for task in values["task_names"]:
        inputs = load_arrays(HEADS / f"{variant}.npz", f"{task}/{prefix}input/")
        expected = load_arrays(HEADS / f"{variant}.npz", f"{task}/{prefix}expected/")
        if not inputs:
            continue
        batch = tensors(inputs)
        outputs = model(batch, tasks=[task], training=training)
        for name, value in expected.items():
            if name == "total_loss":
                ours = model.summed_loss(batch, outputs)
                np.testing.assert_allclose(ours, value, rtol=LOSS)
            elif name == "loss":
                np.testing.assert_allclose(outputs[task][name], value, rtol=LOSS, err_msg=task)
            elif name not in outputs[task]:  # labels passed through, or the unused beams' zeros
                assert f"{task}_{name}" in inputs or not value.any(), name
                continue
            elif value.dtype.kind in "iu":
                np.testing.assert_array_equal(outputs[task][name], value, err_msg=name)
            else:
                assert_close(outputs[task][name], value, f"{task} {name}")
            compared += 1
    assert compared >= 4


@needs_fixtures
@pytest.mark.parametrize("task", SENTENCE_HEADS)
def test_a_whole_sample_has_the_official_losses_and_scores(task):
    """The features were made for shorter texts: rows that were cut for that are left out."""
    values, features = values_of("heads/joint.json"), values_of(f"features/{task}.json")
    examples = features["splits"]["dev"]["examples"]
    rows = [example["features"] for example in examples]
    whole = [
        sum(row["chunk_labels_mask"]) == len(example["words"]) if task == "chunk"
        else len(row["input_ids"]) < features["hparams"]["max_seq_length"]
        for row, example in zip(rows, examples, strict=True)
    ]  # fmt: skip
    assert sum(whole) > len(rows) / 2
    length = values["hparams"]["max_seq_length"]
    batch = {
        name: [row[name] + [0] * (length - len(row[name])) for row in rows]
        if isinstance(rows[0][name], list) else [row[name] for row in rows]
        for name in rows[0]
    }  # fmt: skip
    outputs = load_model(values["hparams"], [task])(tensors(batch))[task]
    expected = np.array(values[task]["loss_of_each_feature"])
    np.testing.assert_allclose(
        outputs["loss"].numpy()[whole], expected[whole], rtol=LOSS, atol=1e-6
    )
    if task == "sts":
        scores = regression_scores(batch["sts_targets"], outputs["predictions"])
    elif task == "cola":
        scores = classification_scores(batch["cola_label_ids"], outputs["predictions"], ["mcc"])
    else:  # scores of the whole sample need the rows that were cut
        return
    expected = {k: v for k, v in values[task]["results"].items() if k != "loss"}
    assert scores == pytest.approx(expected, rel=1e-4)


@needs_fixtures
@pytest.mark.parametrize("task", ["chunk", "squad"])
def test_five_steps_of_training_equal_the_official_ones(task):
    """Layer-wise rates, summed loss, clipping, warm-up: together."""
    values = values_of(f"optimizer/{task}.json")
    hparams = values["hparams"]
    model = load_model(hparams, [task])
    variables = model.named_variables()
    multipliers = layer_wise_multipliers(
        variables, decay=hparams["layerwise_lr_decay"],
        num_layers=hparams["model_hparam_overrides"]["num_hidden_layers"],
    )  # fmt: skip
    optimizer = AdamW(
        variables,
        learning_rate=lambda step: learning_rate_at(
            step, learning_rate=hparams["learning_rate"],
            num_train_steps=hparams["num_train_steps"],
            warmup_proportion=hparams["warmup_proportion"],
        ),
        rate_multipliers=multipliers, weight_decay_rate=hparams["weight_decay_rate"],
        compiled=False,
    )  # fmt: skip
    for step, expected in enumerate(values["steps"]):
        path, prefix = FOLDER / "optimizer" / f"{task}.npz", f"step_{step}/"
        batch = tensors(load_arrays(path, prefix + "input/"))
        with tf.GradientTape() as tape:
            loss = model.summed_loss(batch, model(batch, training=True))
        gradients = tape.gradient(loss, [v.value for v in variables.values()])
        np.testing.assert_allclose(loss, expected["loss"], rtol=LOSS)
        norm = tf.linalg.global_norm([tf.convert_to_tensor(g) for g in gradients])
        np.testing.assert_allclose(norm, expected["gradient_norm_dense"], rtol=TRAJECTORY)
        rate, _ = optimizer.apply(
            gradients, tf.constant(step), norm=expected["gradient_norm_official"]
        )
        for name, value in expected["learning_rate"].items():
            np.testing.assert_allclose(rate * multipliers[name], value, rtol=1e-6, err_msg=name)
        ids = load_arrays(path, prefix + "word_embedding_ids")[""]
        for name, value in load_arrays(path, prefix + "value/").items():
            if not name.endswith(NOISE):
                ours = variables[name].numpy()
                ours = ours[ids] if name.endswith("word_embeddings") else ours[: len(value)]
                assert_close(ours, value, f"step {step}: {name}", TRAJECTORY)
