import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from electra.pretrain import metrics, objectives

SPECIAL = {"mask": 4}  # what metrics want of them


def batch_and_outputs(rows=6, length=20, slots=3, seed=0):
    rng = np.random.default_rng(seed)
    mask = (np.arange(length) < rng.integers(8, length + 1, (rows, 1))).astype(np.int32)
    labels = (rng.random((rows, length)) < 0.3) * mask
    logits = (rng.normal(size=(rows, length)) + labels).astype(np.float32)
    ids = rng.integers(5, 9, (rows, slots)).astype(np.int32)
    positions = np.tile(np.arange(1, slots + 1), (rows, 1)).astype(np.int32)
    masked = rng.choice([4, 7], (rows, length)).astype(np.int32)
    batch = {
        "input_mask": mask,
        "masked_lm_ids": ids,
        "masked_lm_positions": positions,
        "masked_lm_weights": (rng.random((rows, slots)) < 0.8).astype(np.float32),
        "masked_input_ids": masked,
    }
    outputs = {
        "mlm_per_position_loss": rng.random((rows, slots)).astype(np.float32),
        "mlm_preds": rng.integers(5, 9, (rows, slots)).astype(np.int32),
        "sampled_ids": rng.integers(5, 9, (rows, slots)).astype(np.int32),
        "disc_logits": logits,
        "disc_per_token_loss": objectives.rtd_loss_per_token(tf.constant(logits), labels).numpy(),
        "is_fake_tokens": labels.astype(np.int32),
    }
    to_tensors = lambda d: {k: tf.constant(v) for k, v in d.items()}  # noqa: E731
    return to_tensors(batch), to_tensors(outputs)


def sums_of(*args, **kwargs):
    return {
        k: v.numpy().astype(np.float64) for k, v in metrics.metric_sums(*args, **kwargs).items()
    }


def test_metrics_equal_scikit_learns():
    batch, outputs = batch_and_outputs()
    ours = metrics.metrics_from_sums(sums_of(batch, outputs, SPECIAL))
    assert list(ours)[: len(metrics.METRICS)] == list(metrics.METRICS)
    real = batch["input_mask"].numpy().astype(bool)
    labels, logits = outputs["is_fake_tokens"].numpy()[real], outputs["disc_logits"].numpy()[real]
    weights = batch["masked_lm_weights"].numpy().ravel()
    ids, preds = batch["masked_lm_ids"].numpy().ravel(), outputs["mlm_preds"].numpy().ravel()
    expected = {
        "disc_accuracy": sklearn.metrics.accuracy_score(labels, logits > 0),
        "disc_precision": sklearn.metrics.precision_score(labels, logits > 0),
        "disc_recall": sklearn.metrics.recall_score(labels, logits > 0),
        "masked_lm_accuracy": sklearn.metrics.accuracy_score(ids, preds, sample_weight=weights),
    }
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name
    # 200 thresholds approximate the exact area.
    exact = sklearn.metrics.roc_auc_score(labels, logits)
    assert ours["disc_auc"] == pytest.approx(exact, abs=0.01)


def test_sums_of_parts_are_the_sums_of_the_whole():
    batch, outputs = batch_and_outputs()
    whole = sums_of(batch, outputs, SPECIAL)
    parts = [
        sums_of(*({k: v[s] for k, v in d.items()} for d in (batch, outputs)), special_ids=SPECIAL)
        for s in (slice(0, 2), slice(2, 6))
    ]
    for name, value in whole.items():
        np.testing.assert_allclose(parts[0][name] + parts[1][name], value, rtol=1e-5)


def test_rows_of_padding_count_for_nothing():
    batch, outputs = batch_and_outputs()
    padded = {k: tf.concat([v, tf.zeros_like(v[:1])], axis=0) for k, v in batch.items()}
    longer = {k: tf.concat([v, v[:1]], axis=0) for k, v in outputs.items()}
    ours, theirs = sums_of(padded, longer, SPECIAL), sums_of(batch, outputs, SPECIAL)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-6, err_msg=name)


def test_losses_on_mask_slots_leave_out_slots_that_show_their_token():
    batch, outputs = batch_and_outputs()
    log_unigram = tf.math.log(tf.constant([1.0, 1, 1, 1, 1, 2, 3, 4, 5]) / 19)
    ours = metrics.metrics_from_sums(sums_of(batch, outputs, SPECIAL, log_unigram))
    shown = (
        np.take_along_axis(
            batch["masked_input_ids"].numpy(), batch["masked_lm_positions"].numpy(), axis=1
        )
        == 4
    )
    chosen = shown & (batch["masked_lm_weights"].numpy() > 0)
    loss = outputs["mlm_per_position_loss"].numpy()
    assert ours["mask_slot_loss"] == pytest.approx(loss[chosen].mean(), rel=1e-5)
    unigram = -log_unigram.numpy()[batch["masked_lm_ids"].numpy()]
    assert ours["unigram_slot_loss"] == pytest.approx(unigram[chosen].mean(), rel=1e-5)


def test_auc_by_hand():
    replaced, original = np.zeros(200), np.zeros(200)
    replaced[150] = original[50] = 1
    assert metrics.auc(replaced, original) == 1.0
    assert metrics.auc(original, replaced) == 0.0
    assert metrics.auc(replaced, replaced) == 0.5
    assert metrics.auc(replaced, np.zeros(200)) == 0.0


def test_losses_equal_a_numpy_reference():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 7)) * 5, rng.integers(0, 2, (3, 7))
    p = 1 / (1 + np.exp(-logits))
    expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    ours = objectives.rtd_loss_per_token(tf.constant(logits, tf.float32), tf.constant(labels))
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    batch = {"input_mask": tf.constant((np.arange(7) < 5)[None].repeat(3, 0).astype(np.int32))}

    def rtd_loss(rows, total=None):
        mine = {"input_mask": batch["input_mask"][rows]}
        return objectives.RTD.mean(mine, {"disc_per_token_loss": ours[rows]}, {}, total).numpy()

    loss = rtd_loss(slice(3))
    assert loss == pytest.approx(expected[:, :5].mean(), rel=1e-5)
    halves = [rtd_loss(rows, 15.0) for rows in (slice(1), slice(1, 3))]
    assert sum(halves) == pytest.approx(loss, rel=1e-6)

    def masked_lm_loss(losses, weights):
        batch = {"masked_lm_weights": tf.constant(weights)}
        outputs = {"mlm_per_position_loss": tf.constant(losses)}
        return objectives.MASKED_LM.mean(batch, outputs, {}).numpy()

    losses = [[2.0, 9.0], [4.0, 6.0]]
    assert masked_lm_loss(losses, [[1.0, 0.0], [1.0, 1.0]]) == pytest.approx(4.0)
    assert masked_lm_loss(losses, [[0.0, 0.0], [0.0, 0.0]]) == 0.0


def test_extreme_logits_give_finite_losses():
    loss = objectives.rtd_loss_per_token(tf.constant([-1e4, 1e4]), tf.constant([1, 1])).numpy()
    np.testing.assert_allclose(loss, [1e4, 0.0])
