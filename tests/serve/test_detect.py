"""Scores of replaced tokens, against the reference values and for every bad folder."""

import json
import subprocess
import sys

import numpy as np
import pytest

from electra.serve import detect
from electra.text.vocab import Vocabulary, read_vocab
from tests.shared import FIXTURES, ROOT, TENSOR, assert_close, needs_fixtures

VOCAB = Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sat"])
HPARAMS = {
    "model_size": "small",
    "vocab_size": 9,
    "embedding_size": 8,
    "max_seq_length": 6,
    "do_lower_case": True,
    "model_hparam_overrides": {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
}


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB.tokens))
    (tmp_path / "hparams.json").write_text(json.dumps(HPARAMS))
    return tmp_path


def test_windows_are_packed_between_cls_and_sep():
    batch = detect.pack([[5, 6, 7], [8]], VOCAB, 6)
    assert batch["input_ids"].tolist() == [[2, 5, 6, 7, 3, 0], [2, 8, 3, 0, 0, 0]]
    assert batch["input_mask"].tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]]
    assert not batch["segment_ids"].any()


def test_a_long_text_is_cut_into_windows_and_no_token_is_lost(run_folder, monkeypatch):
    def probabilities(model_dir, config, vocab, windows, length):
        assert windows == [[5, 6, 7, 8], [5, 6], [8]]
        return np.arange(18, dtype=np.float32).reshape(3, 6)

    monkeypatch.setattr(detect, "_probabilities", probabilities)
    assert detect.replaced_token_scores(run_folder, ["The cats sat the cat", "sat"]) == [
        [("the", 1), ("cat", 2), ("##s", 3), ("sat", 4), ("the", 7), ("cat", 8)],
        [("sat", 13)],
    ]


def test_scores_are_printed_with_a_bar():
    assert detect.format_scores([("the", 0.1), ("was", 0.5), ("##s", 0.0)]) == (
        f"  the  0.100  {'#' * 3}\n  was  0.500  {'#' * 15}\n  ##s  0.000"
    )


def test_a_folder_without_hparams_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="hparams.json does not exist"):
        detect.replaced_token_scores(tmp_path, ["the"])


def test_a_folder_without_checkpoint_is_refused(run_folder):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        detect.replaced_token_scores(run_folder, ["the"])


def test_a_text_without_tokens_is_refused(run_folder):
    with pytest.raises(ValueError, match="Text 1 has no tokens"):
        detect.replaced_token_scores(run_folder, ["the", "  "])


@pytest.mark.parametrize(
    "objective, kind",
    [({"electric_objective": True}, "Electric"), ({"electra_objective": False}, "a masked LM")],
)
def test_objectives_without_a_discriminator_are_refused(run_folder, objective, kind):
    (run_folder / "hparams.json").write_text(json.dumps({**HPARAMS, **objective}))
    with pytest.raises(ValueError, match=f"holds {kind}"):
        detect.replaced_token_scores(run_folder, ["the"])


def official_electra():
    """The first folder of a run with a discriminator."""
    for path in sorted(FIXTURES.glob("pretrain/*/config.json")):
        if json.loads(path.read_text())["hparams"].get("electra_objective", True):
            return path.parent
    pytest.skip("no run with a discriminator")


def folder_of_fixture(case, folder):
    """Lays an official checkpoint out as the folder of a run."""
    config = json.loads((case / "config.json").read_text())
    sizes = config["resolved_transformer"]
    hparams = {**config["hparams"], "vocab_size": sizes["vocab_size"]}
    # What the case did not pass on, and does not record, has the official default.
    hparams.setdefault("model_size", "small")
    hparams.setdefault("max_seq_length", 128)
    hparams.setdefault("do_lower_case", True)
    (folder / "hparams.json").write_text(json.dumps(hparams))
    for file in [*case.glob("model.ckpt*"), case / "checkpoint", case.parent / "vocab.txt"]:
        (folder / file.name).symlink_to(file)
    return hparams


@needs_fixtures
def test_the_discriminator_is_the_official_one(tmp_path, monkeypatch):
    case = official_electra()
    folder_of_fixture(case, tmp_path)
    batch = np.load(case / "batch_0.npz")
    inputs = {name: batch[name] for name in ("input_mask", "segment_ids")}
    inputs["input_ids"] = batch["expected/corrupted_input_ids"]
    monkeypatch.setattr(detect, "pack", lambda *arguments: inputs)
    vocab = read_vocab(tmp_path / "vocab.txt")
    _, config = detect._read_hparams(tmp_path)
    probs = detect._probabilities(tmp_path, config, vocab, [[]], inputs["input_ids"].shape[1])
    assert_close(probs, batch["expected/disc_probs"], TENSOR)


@needs_fixtures
def test_a_checkpoint_of_another_size_is_refused(tmp_path):
    hparams = folder_of_fixture(official_electra(), tmp_path)
    other = {**hparams, "vocab_size": hparams["vocab_size"] + 1}
    (tmp_path / "hparams.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="word_embeddings has shape"):
        detect.replaced_token_scores(tmp_path, ["the"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is damaged"), ("3", "is damaged"), ("[]", "is damaged"), ("{}", "lacks")],
)
def test_damaged_hparams_are_named(run_folder, text, message):
    (run_folder / "hparams.json").write_text(text)
    with pytest.raises(ValueError, match=f"hparams.json {message}"):
        detect.replaced_token_scores(run_folder, ["cat"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *[({"max_seq_length": x}, "'max_seq_length' must be") for x in ("16", None, 16.0, 513, 1)],
        *[({"vocab_size": x}, "vocab_size must be a whole number") for x in ("40", None, 10**9)],
        ({"model_size": [1]}, "model_size must be one of"),
        ({"model_hparam_overrides": [1]}, "model_hparam_overrides must be a dict"),
        ({"model_hparam_overrides": {"foo": 1}}, "model_hparam_overrides must be .*'foo'"),
        ({"do_lower_case": "yes"}, "'do_lower_case' must be true or false"),
    ],
)
def test_impossible_hparams_are_named(run_folder, change, message):
    (run_folder / "hparams.json").write_text(json.dumps({**HPARAMS, **change}))
    with pytest.raises(ValueError, match=f"hparams.json: .*{message}"):
        detect.replaced_token_scores(run_folder, ["cat"])


def test_no_text_is_refused(run_folder):
    with pytest.raises(ValueError, match="no text to score. Give one or more with --text"):
        detect.replaced_token_scores(run_folder, [])


def test_output_that_nobody_reads_on_ends_quietly():
    program = (
        "from types import SimpleNamespace as n\nfrom electra.serve import detect\n"
        "detect.flags.FLAGS = n(model_dir='', text=['a'] * 9999)\n"
        "detect.replaced_token_scores = lambda _, texts: [[('a', 0.5)]] * len(texts)\n"
        "detect.main([])"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:  # fmt: skip
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_a_vocabulary_larger_than_the_table_is_refused(run_folder):
    (run_folder / "vocab.txt").write_text("\n".join([*VOCAB.tokens, "dog"]))
    with pytest.raises(ValueError, match="holds 10 tokens"):
        detect.replaced_token_scores(run_folder, ["cat"])
