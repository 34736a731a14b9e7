"""The fast bfloat16 path learns like the plain float32 path, on real text."""

import contextlib
import shutil

import numpy as np
import pytest

from electra.data.build import build
from electra.model import kernels
from electra.pretrain.config import PretrainingConfig
from electra.pretrain.runner import run_pretraining
from electra.text.vocab import train_vocab, write_vocab
from electra.train.lines import TRAIN_LOG
from tests.pretrain import runs
from tests.shared import DATA, needs_data

STEPS, LAST = 300, 50
HPARAMS = {
    "model_hparam_overrides": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.05,
    },
    "generator_hidden_size": 0.5,
    "embedding_size": 64,
    "vocab_size": 2000,
    "max_seq_length": 32,
    "train_batch_size": 16,
    "num_train_steps": STEPS,
    "num_warmup_steps": 30,
    "learning_rate": 1e-3,
    "log_every_steps": 10,
    "do_eval": False,
    "eval_every_steps": 0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learning")
    (folder / "corpus").mkdir()
    text = DATA / "corpus" / "en" / "state_of_the_union.txt"
    shutil.copy(text, folder / "corpus")
    lines = text.read_text(encoding="utf-8").splitlines()
    tokens = train_vocab(lambda: iter(lines), vocab_size=2000)
    write_vocab(folder / "vocab.txt", tokens)
    build(
        str(folder / "corpus"),
        str(folder / "vocab.txt"),
        str(folder / "pretrain_tfrecords"),
        max_seq_length=32,
    )
    return folder


def losses(data, model_name, **hparams):
    """Returns (masked language model, replaced token detection): losses of 10 steps each."""
    config = PretrainingConfig(model_name, str(data), **HPARAMS, **hparams)
    assert run_pretraining(config).exit_status == 0
    lines = runs.entries(data / "models" / model_name / TRAIN_LOG)
    return np.array([[line["masked_lm_loss"], line["disc_loss"]] for line in lines])


@needs_data
def test_bfloat16_islands_learn_like_plain_float32(data, monkeypatch):
    fast = losses(data, "fast", precision="bfloat16")
    monkeypatch.setattr(kernels, "use_islands", lambda enabled: contextlib.nullcontext())
    plain = losses(data, "plain", precision="float32")
    assert plain[0, 0] - plain[-1, 0] >= 1.0
    assert not np.array_equal(fast, plain)
    last = LAST // 10
    np.testing.assert_allclose(fast[-last:].mean(0), plain[-last:].mean(0), rtol=0.02)
