import json

import numpy as np
import tensorflow as tf

from electra import random
from electra.model import layers, vocab_kernels
from electra.pretrain import masking
from electra.pretrain.config import PretrainingConfig
from electra.text.vocab import read_vocab
from tests.shared import (
    FIXTURES,
    assert_close,
    assert_same_frequencies,
    assert_within_standard_error,
    needs_fixtures,
)

IDS = {"cls": 2, "sep": 3, "mask": 4}
SEED = random.Seed(0)


def batch_of(rows):
    length = max(map(len, rows))
    ids = np.array([row + [0] * (length - len(row)) for row in rows], np.int32)
    return {
        "input_ids": tf.constant(ids),
        "input_mask": tf.constant((ids > 0).astype(np.int32)),
        "row": tf.range(len(rows)),
    }


def mask(batch, num_slots=3, mask_prob=0.25, seed=SEED, num_rows=None):
    return masking.mask_tokens(
        batch,
        seed=seed,
        num_rows=num_rows or len(batch["row"]),
        special_ids=IDS,
        mask_prob=mask_prob,
        num_slots=num_slots,
    )


def num_slots_of(mask_prob, length):
    config = PretrainingConfig("M", "D", mask_prob=mask_prob, max_seq_length=length)
    return config.max_predictions_per_seq


def test_masked_slots_hold_what_was_there():
    batch = batch_of([[2, 9, 8, 7, 6, 3, 10, 11, 3]] * 200)
    masked = mask(batch)
    ids, new = batch["input_ids"].numpy(), masked["masked_input_ids"].numpy()
    positions, weights = (masked[f"masked_lm_{n}"].numpy() for n in ("positions", "weights"))
    assert weights.tolist() == [[1.0, 1.0, 0.0]] * 200  # 9 tokens * 0.25 = 2.25
    assert (positions[:, 2] == 0).all() and (masked["masked_lm_ids"].numpy()[:, 2] == 0).all()
    np.testing.assert_array_equal(
        masked["masked_lm_ids"][:, :2], np.take_along_axis(ids, positions[:, :2], axis=1)
    )
    assert (positions[:, 0] != positions[:, 1]).all()
    changed = new != ids
    assert (new[changed] == IDS["mask"]).all()
    chosen = np.zeros_like(changed)
    np.put_along_axis(chosen, positions[:, :2], True, axis=1)
    assert not (changed & ~chosen).any()


def test_padding_and_special_tokens_are_never_masked():
    batch = batch_of([[2, 9, 4, 8, 3, 1, 7, 3], [2, 9, 3]] * 300)
    positions = mask(batch, num_slots=4, mask_prob=0.9)["masked_lm_positions"].numpy()
    weights = mask(batch, num_slots=4, mask_prob=0.9)["masked_lm_weights"].numpy()
    assert set(positions[0::2][weights[0::2] > 0]) == {1, 3, 5, 6}  # [UNK] = 1 may be chosen
    assert set(positions[1::2][weights[1::2] > 0]) == {1}
    assert (weights[1::2].sum(1) == 1).all()  # one candidate, though 3 tokens * 0.9 = 2.7


def test_an_example_of_padding_has_no_slots():
    batch = batch_of([[0, 0, 0, 0, 0]])
    assert mask(batch)["masked_lm_weights"].numpy().sum() == 0


def test_masks_depend_on_the_row_not_on_the_share():
    rows = [[2, *range(5, 25), 3]] * 8
    whole = mask(batch_of(rows), num_slots=4, mask_prob=0.2)
    part = {k: v[4:] for k, v in batch_of(rows).items()}
    part = mask(part, num_slots=4, mask_prob=0.2, num_rows=8)
    np.testing.assert_array_equal(whole["masked_input_ids"][4:], part["masked_input_ids"])
    assert len({tuple(r) for r in whole["masked_input_ids"].numpy()}) > 4


def test_masks_change_with_the_step():
    batch = batch_of([[2, *range(5, 25), 3]] * 4)
    first, second = (mask(batch, seed=SEED.at(step))["masked_input_ids"].numpy() for step in (0, 1))
    assert (first != second).any()


def test_85_percent_of_the_chosen_tokens_show_the_mask():
    batch = batch_of([[2, *range(5, 45), 3]] * 2000)
    masked = mask(batch, num_slots=6, mask_prob=0.15)
    shown = (
        np.take_along_axis(
            masked["masked_input_ids"].numpy(), masked["masked_lm_positions"].numpy(), axis=1
        )
        == IDS["mask"]
    )
    assert_within_standard_error(shown.mean(), 0.85, np.sqrt(0.85 * 0.15 / shown.size))


def test_every_candidate_is_chosen_equally_often():
    batch = batch_of([[2, *range(5, 17), 3]] * 5000)
    masked = mask(batch, num_slots=2, mask_prob=0.15)
    counts = np.bincount(masked["masked_lm_positions"].numpy().ravel(), minlength=14)
    assert counts[0] == counts[13] == 0
    assert_same_frequencies(counts[1:13])


def test_scatter_takes_the_integer_mean_of_repeated_positions():
    sequence = tf.constant([[1, 2, 3, 4, 5]])
    updated, written = masking.scatter_update(
        sequence, tf.constant([[10, 21, 7, 9]]), tf.constant([[2, 2, 0, 4]])
    )
    assert updated.numpy().tolist() == [[1, 2, 15, 4, 9]]
    assert written.numpy().tolist() == [[0, 0, 1, 0, 1]]


def _cases(kind):
    """Returns the arrays of the cases whose name holds `kind`: case -> name -> array."""
    with np.load(FIXTURES / "masking" / "masking.npz") as values:
        cases = {}
        for key in values.files:
            *case, name = key.split("/")
            if kind in key:
                cases.setdefault("/".join(case), {})[name] = values[key]
        return cases


@needs_fixtures
def test_number_of_masked_tokens_equals_the_official_one():
    facts = json.loads((FIXTURES / "masking" / "masking.json").read_text())
    for row in facts["max_predictions_per_seq"]:
        ours = num_slots_of(row["mask_prob"], row["max_seq_length"])
        assert ours == max(1, row["max_predictions_per_seq"]), row
    (entries,) = (facts[key] for key in facts if key.startswith("num_to_predict_for_1_to_"))
    for mask_prob, expected in entries.items():
        slots = num_slots_of(float(mask_prob), len(expected))
        lengths = tf.constant(np.tri(len(expected), dtype=np.int32))
        ours = masking.num_to_predict(lengths, float(mask_prob), slots)
        assert ours.numpy().tolist() == expected


@needs_fixtures
def test_scatter_and_gather_equal_the_official_ones():
    cases = _cases("scatter")
    assert cases
    for name, case in cases.items():
        sequence, positions, updates = (
            tf.constant(case[name]) for name in ("sequence", "positions", "updates")
        )
        updated, written = masking.scatter_update(sequence, updates, positions)
        np.testing.assert_array_equal(updated, case["expected"])
        np.testing.assert_array_equal(written, case["expected_mask"])
        ours = layers.gather_positions(tf.constant(case["float_sequence"]), positions)
        gathered = _cases("gather")[name.replace("scatter", "gather")]
        np.testing.assert_array_equal(ours, gathered["expected"])


@needs_fixtures
def test_samples_are_drawn_like_the_official_ones():
    cases = _cases("sampling")
    assert cases
    for case in cases.values():
        logits = case["logits"]
        for name in (name for name in case if name.startswith("counts_of_")):
            draws = int(case[name].sum())
            top = np.full(draws, logits.argmax(), np.int32)
            disallowed = top if name.endswith("argmax_disallowed") else None
            drawn = vocab_kernels.sample(
                tf.constant(logits[None].repeat(draws, 0)),
                tf.zeros(len(logits)),
                random.uniform(SEED.fold(name), (draws,)),
                disallowed=disallowed,
            )
            counts = np.bincount(drawn, minlength=len(logits))
            assert disallowed is None or counts[logits.argmax()] == case[name][logits.argmax()] == 0
            assert_same_frequencies(counts, case[name], name)


@needs_fixtures
def test_masked_positions_are_drawn_like_the_official_ones_but_without_repeats():
    """Of the official draws (with repeats) each candidate gets an equal share; so it is here."""
    facts = json.loads((FIXTURES / "masking" / "masking.json").read_text())["cases"]
    vocab = read_vocab(FIXTURES / "pretrain" / "vocab.txt")
    special = {"cls": vocab.cls_id, "sep": vocab.sep_id, "mask": vocab.mask_id}
    draws = 4000  # ours; the official ones are as many as the file says
    for name, fact in facts.items():
        case, mask_prob = _cases(name)[name], fact["mask_prob"]
        slots = num_slots_of(mask_prob, len(case["input_ids"]))
        assert slots == fact["max_predictions_per_seq"]
        batch = {
            k: tf.constant(case[k][None].repeat(draws, 0).astype(np.int32))
            for k in ("input_ids", "input_mask")
        }
        batch["row"] = tf.range(draws)
        masked = masking.mask_tokens(
            batch,
            seed=SEED,
            num_rows=draws,
            special_ids=special,
            mask_prob=mask_prob,
            num_slots=slots,
        )
        weights = masked["masked_lm_weights"].numpy() > 0
        candidate = case["candidate"].astype(bool)
        (official,) = fact["num_to_predict"]
        assert (weights.sum(1) == min(official, candidate.sum())).all(), name
        counts = np.bincount(
            masked["masked_lm_positions"].numpy()[weights], minlength=len(candidate)
        )
        assert not counts[~candidate].any(), name
        if candidate.sum() > weights[0].sum():  # else every candidate is always chosen
            assert_same_frequencies(counts[candidate], case["times_drawn"][candidate], name)
        shown = (masked["masked_input_ids"].numpy() != case["input_ids"]).sum() / weights.sum()
        error = np.sqrt(shown * (1 - shown) / weights.sum())
        assert_within_standard_error(shown, *_official_share(case, fact), error, name=name)


def _official_share(case, fact):
    """Returns the share of the official draws that are shown as [MASK], and its standard error.

    Of n draws among c candidates each shows a given one with chance p / c, so that
    c * (1 - (1 - p / c) ** n) positions are shown on average.
    """
    (n,), c = fact["num_to_predict"], fact["candidates"]
    histogram = case["histogram_of_mask_tokens"]
    mean = np.average(np.arange(len(histogram)), weights=histogram)
    assert_close(mean, fact["mean_mask_tokens"], 1e-6)
    variance = np.average((np.arange(len(histogram)) - mean) ** 2, weights=histogram)
    hidden = 1 - mean / c
    slope = hidden ** (1 / n - 1) / n
    return c * (1 - hidden ** (1 / n)), slope * np.sqrt(variance / fact["draws"])
