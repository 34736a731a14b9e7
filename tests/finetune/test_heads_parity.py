"""Heads, losses and fine-tuning trajectories equal those of the official code."""

import numpy as np
import pytest
import tensorflow as tf

from electra.finetune.families import CLASSIFICATION, FAMILIES, QA, REGRESSION, TAGGING
from electra.finetune.featurize import featurize
from electra.finetune.metrics import classification_scores, entity_scores, regression_scores
from electra.finetune.readers import read_examples, resolve_labels
from electra.finetune.tasks import get_task
from electra.optim.adamw import AdamW
from electra.optim.layerwise import layer_wise_multipliers
from electra.optim.schedule import learning_rate_at
from electra.text.vocab import read_vocab
from electra.text.wordpiece import WordPieceTokenizer
from tests.finetune.reference import (
    FOLDER,
    HEADS,
    VARIANTS,
    heads_of,
    load_arrays,
    load_model,
    padded,
    pick,
    tasks_of,
    tensors,
    values_of,
)
from tests.shared import (
    FIXTURES,
    LOSS,
    METRIC,
    TENSOR,
    TINY,
    TRAJECTORY,
    assert_close,
    needs_fixtures,
)

IMPOSSIBLE = -500  # positions where no answer may lie get -1000, beside which no error shows


def compare(ours, expected, name):
    """Compares a tensor, impossible positions and the others each by their own largest."""
    ours, expected = np.asarray(ours), np.asarray(expected)
    for part in (expected < IMPOSSIBLE, expected >= IMPOSSIBLE):
        assert_close(ours[part], expected[part], TENSOR, name=name)


@needs_fixtures
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variable_has_the_official_name_and_shape(variant):
    values = values_of(f"heads/{variant}.json")
    model = load_model(values["hparams"], values["task_names"], variant)
    shapes = {name: list(v.shape) for name, v in model.named_variables().items()}
    assert shapes == values["variables"]


@needs_fixtures
@pytest.mark.parametrize("training", [False, True], ids=["prediction", "training"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_equal_the_official_ones(variant, training):
    values = values_of(f"heads/{variant}.json")
    model = load_model(values["hparams"], values["task_names"], variant)
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
                assert_close(sum(model.task_losses(batch, outputs)), value, LOSS)
            elif name == "loss":
                assert_close(outputs[task][name], value, LOSS, each=True, name=task)
            elif name not in outputs[task]:  # labels passed through, or the unused beams' zeros
                assert f"{task}_{name}" in inputs or not value.any(), name
                continue
            elif value.dtype.kind in "iu":
                np.testing.assert_array_equal(outputs[task][name], value, err_msg=name)
            else:
                compare(outputs[task][name], value, f"{task} {name}")
            compared += 1
    assert compared >= 4


@needs_fixtures
@pytest.mark.parametrize(("variant", "task"), heads_of(CLASSIFICATION, REGRESSION, TAGGING))
def test_a_whole_sample_has_the_official_losses_and_scores(variant, task):
    """Long sentences are cut differently: of these, losses are compared where neither cuts."""
    values, row = values_of(f"heads/{variant}.json"), get_task(task)
    hparams, expected = values["hparams"], values[task]
    length = hparams["max_seq_length"]
    row = resolve_labels(row, FOLDER / "finetuning_data")
    examples = read_examples(row, "dev", FOLDER / "finetuning_data")[: expected["n_features"]]
    tokenizer = WordPieceTokenizer(read_vocab(FIXTURES / "tokenizer" / "vocab.txt"))
    rows = list(featurize(row, examples, tokenizer, max_seq_length=length, is_training=False))
    batch = padded(rows, length, task)
    is_whole = np.full(len(rows), True)
    if row.family == TAGGING:
        batch["segment_ids"] = batch["input_mask"]  # the official ones; ours are 0
        is_whole = [  # officially the words' number counts beside that of their pieces
            len(example.words) + len(each["input_ids"]) < length
            for example, each in zip(examples, rows, strict=True)
        ]
    outputs = load_model(hparams, [task], variant)(tensors(batch))[task]
    outputs = {name: value.numpy() for name, value in outputs.items()}
    losses = np.array(expected["loss_of_each_feature"])
    assert any(is_whole)
    assert_close(outputs["loss"][is_whole], losses[is_whole], LOSS, each=True)
    if all(is_whole):
        scores = {name: value for name, value in expected["results"].items() if name != "loss"}
        assert_close(scores_of(row, examples, outputs, list(scores)), scores, METRIC, each=True)


def scores_of(row, examples, outputs, names):
    found = outputs["predictions"]
    if row.family == REGRESSION:
        return regression_scores([each.label for each in examples], found)
    if row.family == CLASSIFICATION:
        gold = [row.labels.index(each.label) for each in examples]
        return classification_scores(gold, found, names, len(row.labels))
    tags = [[row.labels[i] for i in ids] for ids in found]
    return entity_scores(
        [list(each.tags) for each in examples],
        [each[: len(example.tags)] for each, example in zip(tags, examples, strict=True)],
    )


@needs_fixtures
@pytest.mark.parametrize("task", tasks_of(*FAMILIES, folder="optimizer"))
def test_steps_of_training_equal_the_official_ones(task):
    """Layer-wise rates, summed loss, clipping, warm-up: together."""
    values = values_of(f"optimizer/{task}.json")
    hparams = values["hparams"]
    model = load_model(hparams, [task])
    variables, named = model.variables_by_path(), model.named_variables()
    multipliers = layer_wise_multipliers(
        named,
        decay=hparams["layerwise_lr_decay"],
        num_layers=model.electra.config.num_hidden_layers,
    )
    optimizer = AdamW(
        variables,
        learning_rate=lambda step: learning_rate_at(
            step,
            **pick(
                hparams, "learning_rate", "num_train_steps", "warmup_proportion", "lr_decay_power"
            ),
        ),
        rate_multipliers=multipliers,
        weight_decay_rate=hparams["weight_decay_rate"],
        compiled=False,
    )
    # The exact gradient of these is 0: theirs is rounding noise, which Adam scales up.
    noise = ("attention/self/key/bias",)
    if get_task(task).family == QA:
        noise += tuple(f"task_specific/{task}/{name}/bias" for name in ("dense", "dense_1"))
    for step, expected in enumerate(values["steps"]):
        path, prefix = FOLDER / "optimizer" / f"{task}.npz", f"step_{step}/"
        batch = tensors(load_arrays(path, prefix + "input/"))
        with tf.GradientTape() as tape:
            loss = sum(model.task_losses(batch, model(batch, training=True)))
        gradients = tape.gradient(loss, [v.value for v in variables.values()])
        assert_close(loss, expected["loss"], LOSS)
        norm = tf.linalg.global_norm([tf.convert_to_tensor(g) for g in gradients])
        assert_close(norm, expected["gradient_norm_dense"], TRAJECTORY)
        rate, _ = optimizer.apply(
            gradients,
            tf.constant(expected["global_step_before"]),
            norm=expected["gradient_norm_official"],
        )
        rates = {name: rate * multipliers[name] for name in expected["learning_rate"]}
        assert_close(rates, expected["learning_rate"], 1e-6, atol=TINY, each=True)
        ids = load_arrays(path, prefix + "word_embedding_ids")[""]
        for name, value in load_arrays(path, prefix + "value/").items():
            if not name.endswith(noise):
                ours = named[name].numpy()
                ours = ours[ids] if name.endswith("word_embeddings") else ours[: len(value)]
                assert_close(ours, value, TRAJECTORY, name=f"step {step}: {name}")
