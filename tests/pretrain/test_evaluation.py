"""Evaluation: however it is cut into batches and replicas, the metrics are those of the records."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from electra.data import reader
from electra.pretrain import corrupted
from electra.pretrain.assembly import build_model
from electra.pretrain.config import PretrainingConfig
from electra.pretrain.evaluation import Evaluator, write_results
from electra.pretrain.metrics import METRICS, metric_sums
from electra.pretrain.objectives import loss_from_sums
from electra.text.vocab import read_vocab
from electra.train.strategy import choose_placement
from tests.pretrain import runs
from tests.pretrain.reference import FOLDERS, load_batches, load_model
from tests.shared import LOSS, assert_close, needs_fixtures


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("evaluation") / "data")


def make_evaluator(data, strategy="one"):
    config = PretrainingConfig("m", str(data), **runs.TINY)
    vocab = read_vocab(data / "vocab.txt")
    placement = choose_placement(strategy, precision="float32")
    keras.utils.set_random_seed(1)
    with placement.strategy.scope():
        model = build_model(config, vocab)
    records = reader.Records(config.eval_tfrecords, vocab=vocab)
    return Evaluator(
        model,
        placement,
        lambda: reader.eval_batches(records, 7, 100),
        num_slots=2,
        seed=0,
        log_unigram=np.full(runs.VOCAB, -np.log(runs.VOCAB), np.float32),
    )


@pytest.fixture(scope="module")
def evaluator(data):
    return make_evaluator(data)


@pytest.fixture(scope="module")
def results(evaluator):
    return evaluator.run()


def test_all_official_metrics_are_there(results):
    assert set(results) == {*METRICS, "mask_slot_loss", "unigram_slot_loss", "loss"}
    assert results["unigram_slot_loss"] == pytest.approx(np.log(runs.VOCAB))
    expected = results["masked_lm_loss"] + 50 * results["disc_loss"]
    assert results["loss"] == pytest.approx(expected, rel=0.05)  # over tokens, not over examples


@needs_fixtures
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_loss_is_the_official_total(folder):
    """Two towers are trained on all candidates, not on the masked slots alone."""
    model, _ = load_model(folder)
    losses = json.loads((folder / "losses.json").read_text())
    for index, (inputs, _) in enumerate(load_batches(folder)):
        outputs = model(inputs, sampled_ids=inputs["sampled_tokids"])
        sums = metric_sums(inputs, outputs, model.special_ids)
        expected = losses[f"batch_{index}"]["total_loss"]
        assert_close(loss_from_sums(model.loss_terms, sums), expected, LOSS)


def test_it_repeats(evaluator, results):
    assert evaluator.run() == results


def test_what_fills_up_the_last_batch_counts_for_nothing(evaluator):
    """10 records in batches of 7: the second one is filled up with 4 rows."""
    batches = list(evaluator.batches())
    assert [batch["input_mask"].shape for batch in batches] == [(7, runs.LENGTH)] * 2
    sums = [evaluator._run_batch(batch, i)["sums"] for i, batch in enumerate(batches)]
    assert [float(each["examples"]) for each in sums] == [7, 3]
    assert float(sums[1]["tokens"]) == batches[1]["input_mask"].sum()


def test_two_replicas_compute_what_one_computes(data, results):
    """Of a batch of 7, one gets 4 rows and the other 3."""
    assert make_evaluator(data, "mirrored").run() == pytest.approx(results, rel=1e-5)


def test_corrupted_examples_show_each_replaced_token_with_its_original(evaluator):
    examples = evaluator.corrupted_examples(runs.TOKENS, count=3)
    assert len(examples) == 3
    assert all(example[0]["token"] == "[CLS]" for example in examples)
    batch = next(evaluator.batches())
    shown = evaluator._run_batch(batch, 0)["shown"]
    replaced = int(tf.reduce_sum(shown["is_fake_tokens"][:3]))
    rows = [row for example in examples for row in example]
    assert sum("original" in row for row in rows) == replaced > 0
    assert len(rows) == batch["input_mask"][:3].sum()
    assert all(row["token"] != row.get("original") for row in rows)
    logits = np.concatenate(
        [shown["disc_logits"][i][: len(example)] for i, example in enumerate(examples)]
    )
    found = [row["probability"] for row in rows]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-4)
    legend, *lines = corrupted.as_markdown(examples).split("\n\n")
    assert legend == corrupted.LEGEND and len(lines) == 3
    assert all(line.startswith("\\[CLS] ") for line in lines)
    assert sum(line.count("** (was w") for line in lines) == replaced


def test_colours_say_what_the_discriminator_got_right():
    rows = [
        {"token": "a", "probability": 0.1},
        {"token": "<b>", "probability": 0.9},
        {"token": "c", "original": "*d*", "probability": 0.9},
        {"token": "e", "original": "f", "probability": 0.5},
    ]
    line = corrupted.as_markdown([rows]).split("\n\n")[1]
    assert line == "a 🟨 \\<b> 🟩 **c** (was \\*d\\*) 🟥 **e** (was f)"


def test_ids_without_a_token_are_shown_as_numbers(evaluator):
    """The word table may have more rows than the vocabulary has tokens."""
    examples = evaluator.corrupted_examples(runs.TOKENS[:5])
    originals = [row["original"] for rows in examples for row in rows if "original" in row]
    assert originals and all(original.startswith("#") for original in originals)


def test_results_are_written_as_text_and_as_json(tmp_path):
    path = tmp_path / "results" / "unsup_results.txt"
    lines = write_results(str(path), {"disc_auc": 0.75, "a": 1})
    assert path.read_text() == "a = 1\ndisc_auc = 0.75\n"
    assert lines == "a = 1\ndisc_auc = 0.75"
    written = json.loads(path.with_suffix(".json").read_text())
    assert written == {"disc_auc": 0.75, "a": 1}
