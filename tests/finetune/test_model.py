"""The fine-tuning model and its heads, without reference values."""

import json

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from electra.data.batches import Batch, packed
from electra.finetune.families.qa.head import QAHead
from electra.finetune.model import FinetuningModel
from electra.model import kernels
from electra.model.config import encoder_config
from electra.optim.layerwise import layer_wise_multipliers
from electra.random import Seed

LENGTH = 12
CONFIG = encoder_config(
    "small",
    vocab_size=50,
    embedding_size=8,
    overrides={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
)
HEADS = {
    "cola": {"kind": "classification", "num_labels": 2},
    "sts": {"kind": "regression"},
    "chunk": {"kind": "tagging", "num_labels": 5},
    "squad": {"kind": "qa", "beam_size": 3},
    "plain": {"kind": "qa", "joint_prediction": False, "answerable_classifier": False},
}


def make_batch(rows=4, length=LENGTH, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 50, (rows, length))
    batch = {
        "input_ids": ids,
        "input_mask": np.arange(length)[None] < rng.integers(6, 12, (rows, 1)),
        "segment_ids": np.tile(np.arange(length) > 3, (rows, 1)),
        "task_id": np.arange(rows) % len(HEADS),
        "cola_label_ids": rng.integers(0, 2, rows),
        "chunk_labeled_positions": np.tile([1, 3, 4], (rows, 1)),
        "chunk_labels": rng.integers(0, 5, (rows, 3)),
    }
    for task in ("squad", "plain"):
        for name in ("start_positions", "end_positions"):
            batch[f"{task}_{name}"] = np.full(rows, 5)
        batch[f"{task}_is_impossible"] = np.zeros(rows)
    batch = {name: np.asarray(value, np.int32) for name, value in batch.items()}
    batch["sts_targets"] = rng.random(rows).astype(np.float32)
    batch["chunk_labels_mask"] = np.float32([[1, 1, 0]] * rows)
    return {name: tf.constant(value) for name, value in batch.items()}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return FinetuningModel(CONFIG, HEADS)


@pytest.mark.parametrize("islands", [False, True])
def test_one_program_takes_any_batch_and_length(model, islands):
    names = ("input_ids", "input_mask", "segment_ids", "chunk_labeled_positions")
    unknown = {name: tf.TensorSpec((None, None), tf.int32) for name in names}

    @tf.function(input_signature=[unknown], autograph=False)
    def predict(batch):
        with kernels.use_islands(islands):
            return model(batch)

    for rows, length in ((4, LENGTH), (2, 7), (2, 2)):
        batch = make_batch(rows, length) if length > 4 else make_batch(rows)
        batch = {name: batch[name][:, :length] for name in names}
        batch["chunk_labeled_positions"] = tf.minimum(batch["chunk_labeled_positions"], length - 1)
        expected = model(batch)
        for task, found in predict(batch).items():
            for name, value in found.items():
                np.testing.assert_allclose(value, expected[task][name], atol=1e-5)


def test_get_config_round_trip(model):
    described = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    copy = keras.saving.deserialize_keras_object(described)
    assert copy.get_config() == model.get_config()
    assert list(copy.named_variables()) == list(model.named_variables())
    copy.set_weights(model.get_weights())  # refuses other shapes
    batch = make_batch()
    np.testing.assert_array_equal(copy(batch)["chunk"]["logits"], model(batch)["chunk"]["logits"])


def test_one_encoder_serves_a_head_for_each_task(model):
    names = list(model.named_variables())
    assert len(names) == len(set(names))
    assert {n.split("/")[1] for n in names if n.startswith("task_specific/")} == set(HEADS)
    assert sum(n == "electra/embeddings/word_embeddings" for n in names) == 1
    multipliers = layer_wise_multipliers(names, decay=0.8, num_layers=1)
    assert multipliers["task_specific/chunk/dense/kernel"] == 1.0
    batch = make_batch()
    outputs = model(batch)
    assert list(outputs) == list(HEADS)
    alone = model(batch, tasks=["chunk"])
    assert list(alone) == ["chunk"]
    np.testing.assert_allclose(alone["chunk"]["logits"], outputs["chunk"]["logits"], rtol=1e-6)


def test_each_row_counts_for_its_own_task_only(model):
    batch = make_batch(rows=6)
    outputs = model(batch, training=True)
    tasks = list(HEADS)
    by_hand = sum(float(outputs[tasks[i % 5]]["loss"][i]) for i in range(6))
    np.testing.assert_allclose(sum(model.task_losses(batch, outputs)), by_hand, rtol=1e-5)
    chunk = model(batch, tasks=["chunk"])
    by_hand = float(chunk["chunk"]["loss"][2])
    np.testing.assert_allclose(sum(model.task_losses(batch, chunk)), by_hand, rtol=1e-5)
    padding = dict(batch, task_id=tf.fill([6], -1))
    assert float(sum(model.task_losses(padding, outputs))) == 0.0


def test_without_labels_there_are_outputs_and_no_loss(model):
    whole = make_batch()
    names = ("input_ids", "input_mask", "segment_ids", "chunk_labeled_positions")
    bare, labelled = model({n: whole[n] for n in names}), model(whole)
    for task, outputs in bare.items():
        assert set(labelled[task]) - set(outputs) == {"loss"}


def test_sequences_that_share_a_row_do_not_see_each_other(model):
    batch = make_batch(length=24)  # at most 11 tokens in each
    lengths = np.sum(batch["input_mask"], axis=1) + np.array([0, 1, 0, 0])  # a place of padding
    plan = Batch(24, np.arange(4), 4, groups=(range(2), range(2, 4)))
    layout = packed(lengths, plan)
    alone = model(batch)
    together = model(batch | layout, weights=model.electra.compute_weights())
    seen = batch["input_mask"].numpy() == 1
    for task, outputs in alone.items():
        for name, values in outputs.items():
            ours, whole = (np.asarray(each) for each in (together[task][name], values))
            if name in ("start_logits", "end_logits"):
                ours, whole = ours[seen], whole[seen]
            np.testing.assert_allclose(ours, whole, rtol=1e-4, atol=1e-5, err_msg=f"{task} {name}")


def test_losses_equal_numpys(model):
    batch = make_batch()
    outputs = {
        t: {k: v.numpy() for k, v in o.items()} for t, o in model(batch, training=True).items()
    }

    def cross_entropy(logits, ids):
        log_probs = logits - np.log(np.exp(np.float64(logits)).sum(-1, keepdims=True))
        return -np.take_along_axis(log_probs, ids.numpy()[..., None], -1)[..., 0]

    cola, sts, chunk, squad = (outputs[t] for t in ("cola", "sts", "chunk", "squad"))
    expected = cross_entropy(cola["logits"], batch["cola_label_ids"])
    np.testing.assert_allclose(cola["loss"], expected, rtol=1e-5)
    np.testing.assert_array_equal(cola["predictions"], cola["logits"].argmax(-1))
    np.testing.assert_allclose(sts["loss"], (sts["predictions"] - batch["sts_targets"]) ** 2)
    words = cross_entropy(chunk["logits"], batch["chunk_labels"])
    np.testing.assert_allclose(chunk["loss"], words[:, :2].sum(-1), rtol=1e-5)  # one is masked
    spans = 0.5 * sum(
        cross_entropy(squad[f"{end}_logits"], batch[f"squad_{end}_positions"])
        for end in ("start", "end")
    )
    answerable = np.log1p(np.exp(squad["answerable_logit"]))  # is_impossible is 0
    np.testing.assert_allclose(squad["loss"], spans + 0.5 * answerable, rtol=1e-5)


def test_the_joint_head_equals_numpys():
    head = QAHead("squad")
    head.build((None, None, 16))
    rng = np.random.default_rng(0)
    for variable in head.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.3)
    states, batch = rng.normal(size=(4, LENGTH, 16)), make_batch()
    batch["segment_ids"] = batch["input_mask"] = tf.ones((4, LENGTH), tf.int32)
    outputs = head(tf.constant(states, tf.float32), batch, training=True)

    def dense(layer, x):
        return x @ layer.kernel.numpy() + layer.bias.numpy()

    def gelu(x):
        return 0.5 * x * (1 + scipy.special.erf(x / np.sqrt(2)))

    start_logits = dense(head.start, states)[..., 0]
    pairs = np.concatenate([np.broadcast_to(states[:, 5:6], states.shape), states], axis=-1)
    end_logits = dense(head.end, gelu(dense(head.qa_hidden, pairs)))[..., 0]
    start_probs = np.exp(start_logits) / np.exp(start_logits).sum(-1, keepdims=True)
    both = np.concatenate([states[:, 0], (start_probs[..., None] * states).sum(1)], axis=-1)
    answerable = dense(head.answerable, gelu(dense(head.answerable_hidden, both)))[:, 0]
    expected = {"start_logits": start_logits, "end_logits": end_logits}
    for name, value in (expected | {"answerable_logit": answerable}).items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_answers_lie_in_the_context_or_at_position_0(model):
    batch = make_batch()
    allowed = (batch["input_mask"] * batch["segment_ids"]).numpy()
    allowed[:, 0] = 1
    for task in ("squad", "plain"):
        logits = model(batch, training=True, tasks=[task])[task]
        for name in ("start_logits", "end_logits"):
            np.testing.assert_array_equal(logits[name].numpy() > -500, allowed)


def test_a_beam_scores_ends_as_training_does_for_that_start(model):
    batch = make_batch()
    beams = {k: v.numpy() for k, v in model(batch, tasks=["squad"])["squad"].items()}
    for k in range(3):
        start = tf.constant(beams["start_top_index"][:, k])
        forced = dict(batch, squad_start_positions=start)
        logits = model(forced, tasks=["squad"], training=True)["squad"]["end_logits"]
        log_probs = tf.nn.log_softmax(logits).numpy()
        ends = beams["end_top_index"][:, k]
        np.testing.assert_allclose(
            np.take_along_axis(log_probs, ends, -1), beams["end_top_log_probs"][:, k], rtol=1e-4
        )
        np.testing.assert_allclose(beams["end_top_log_probs"][:, k, 0], log_probs.max(-1), 1e-4)


def test_a_beam_is_never_wider_than_the_text(model):
    outputs = model(make_batch(length=8), tasks=["squad"])["squad"]
    assert outputs["end_top_index"].shape == (4, 3, 3)
    wide = FinetuningModel(CONFIG, {"squad": {"kind": "qa", "beam_size": 20}})
    outputs = wide(make_batch(length=8), tasks=["squad"])["squad"]
    assert outputs["end_top_index"].shape == (4, 8, 8)


def test_dropout_follows_the_seed(model):
    batch = make_batch()

    def logits(seed):
        return model(batch, tasks=["cola"], seed=seed, training=True)["cola"]["logits"].numpy()

    np.testing.assert_array_equal(logits(Seed(0, 1)), logits(Seed(0, 1)))
    assert not np.array_equal(logits(Seed(0, 1)), logits(Seed(0, 2)))
    assert not np.array_equal(logits(Seed(0, 1)), logits(None))
    head, ones = model.heads["cola"], tf.ones((4, LENGTH, 16))
    dropped = head(ones, batch, seed=Seed(0, 1))["logits"]
    assert not np.array_equal(dropped, head(ones, batch)["logits"])


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_graphs_with_compiled_islands_give_the_eager_outputs(dtype):
    keras.utils.set_random_seed(1)
    tasks = ("cola", "chunk", "squad")  # which hold the operations of all
    model = FinetuningModel(CONFIG, {task: HEADS[task] for task in tasks}, dtype=dtype)
    batch = make_batch()
    eager = model(batch)
    with kernels.use_islands(True):
        graph = tf.function(lambda batch: model(batch))(batch)
    whole = tf.function(lambda batch: model(batch), jit_compile=True)(batch)
    tolerance = 1e-4 if dtype == "float32" else 0.05
    for task in tasks:
        for name, value in eager[task].items():
            if value.dtype.is_floating:
                assert value.dtype == tf.float32
                for other in (graph, whole):
                    np.testing.assert_allclose(
                        other[task][name], value, atol=tolerance, rtol=tolerance
                    )


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ({}, "at least one task"),
        ({"a": {"kind": "tags"}}, "Task 'a': kind must be one of .* Received: 'tags'"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(heads, message):
    with pytest.raises(ValueError, match=message):
        FinetuningModel(CONFIG, heads)
