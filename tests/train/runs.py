"""A tiny data folder, and runs on it: through the door in a process of its own, or in this one."""

import json
import os
import subprocess
import sys

import numpy as np
import tensorflow as tf

from configure_pretraining import PretrainingConfig
from electra.data.manifest import write_manifest
from electra.data.records import encode_examples
from electra.text.vocab import read_vocab
from electra.train.pretraining import run_pretraining
from tests.shared import ROOT

LENGTH, VOCAB = 16, 40
EXAMPLES = {"pretrain_data": 60, "eval_data": 10}
TINY = {
    "model_hparam_overrides": {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "initializer_range": 0.1,
    },
    "generator_hidden_size": 0.5, "embedding_size": 8, "vocab_size": VOCAB,
    "max_seq_length": LENGTH, "train_batch_size": 8, "eval_batch_size": 4, "num_train_steps": 12,
    "num_warmup_steps": 2, "learning_rate": 1e-3, "save_checkpoints_steps": 4,
    "iterations_per_loop": 3, "log_every_steps": 2, "precision": "float32",
}  # fmt: skip


def make_data(folder, *, eval_data=True, manifest=True, length=LENGTH, vocab_size=VOCAB):
    """Writes vocab.txt and records of random ids, the later half of each file's examples short.

    Returns: folder.
    """
    os.makedirs(folder / "pretrain_tfrecords")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"w{i}" for i in range(len(words), VOCAB)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    rng = np.random.default_rng(0)
    for name, count in EXAMPLES.items():
        if name == "eval_data" and not eval_data:
            continue
        ids = rng.integers(5, vocab_size, (count, length)).astype(np.int32)
        ids[:, 0] = 2
        lengths = np.where(np.arange(count) % 8 < 4, length, rng.integers(5, 9, count))
        ids *= np.arange(length) < lengths[:, None]
        path = folder / "pretrain_tfrecords" / f"{name}.tfrecord-0-of-1"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in encode_examples(ids, lengths.astype(np.int32), lengths // 2):
                writer.write(record)
    if manifest:
        vocab = read_vocab(folder / "vocab.txt")
        about = {"max_seq_length": length, "vocab_sha256": vocab.sha256, "vocab_size": VOCAB}
        about |= {"do_lower_case": True, "strip_accents": True}
        write_manifest(folder / "pretrain_tfrecords", about)
    return folder


def train(data, model_name="m", **hparams):
    """Runs in this process. Returns the exit status."""
    return run_pretraining(PretrainingConfig(model_name, str(data), **TINY | hparams))


def start(data, model_name="m", *, environment=None, hparams=TINY, arguments=()):
    """Starts the door as a process; stderr is joined to stdout, text."""
    command = [sys.executable, str(ROOT / "run_pretraining.py"), "--data-dir", str(data),
               "--model-name", model_name, "--hparams", json.dumps(hparams), *arguments]  # fmt: skip
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"} | (environment or {})
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd=data,
    )  # fmt: skip


def finish(process, status=0, seconds=120):
    """Waits for a process and checks its exit status. Returns what it printed."""
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == status, output
    return output
