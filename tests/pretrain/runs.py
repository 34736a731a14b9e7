"""A tiny data folder, and runs on it: by the command in a process of its own, or in this one."""

import contextlib
import json
import os
import socket
import subprocess
import sys

import numpy as np
import tensorflow as tf

from electra.cli import end_run
from electra.data.manifest import write_manifest
from electra.data.records import encode_examples
from electra.pretrain import runner
from electra.pretrain.config import PretrainingConfig
from electra.text.vocab import read_vocab
from tests.shared import ROOT

LENGTH, VOCAB = 16, 40
TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, VOCAB)))
EXAMPLES = {"pretrain_data": 60, "eval_data": 10}
TINY = {
    "model_hparam_overrides": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "initializer_range": 0.1,
    },
    "generator_hidden_size": 0.5,
    "embedding_size": 8,
    "vocab_size": VOCAB,
    "max_seq_length": LENGTH,
    "train_batch_size": 8,
    "eval_batch_size": 4,
    "num_train_steps": 12,
    "num_warmup_steps": 2,
    "learning_rate": 1e-3,
    "save_checkpoints_steps": 4,
    "iterations_per_loop": 3,
    "log_every_steps": 2,
    "precision": "float32",
}


def make_data(folder, *, tokens=TOKENS, length=LENGTH, largest_id=None, kinds=tuple(EXAMPLES)):
    """Writes vocab.txt, records of random ids with a manifest; half of the examples are short.

    Returns: folder.
    """
    os.makedirs(folder / "pretrain_tfrecords")
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    vocab = read_vocab(folder / "vocab.txt")
    rng = np.random.default_rng(0)
    for kind in kinds:
        count = EXAMPLES[kind]
        ids = rng.integers(5, len(tokens), (count, length)).astype(np.int32)
        ids[:, 0] = vocab.cls_id
        ids[-1, 1] = largest_id or ids[-1, 1]
        lengths = np.where(np.arange(count) % 8 < 4, length, rng.integers(5, 9, count))
        ids *= np.arange(length) < lengths[:, None]
        write_records(records_file(folder, kind), ids, lengths.astype(np.int32))
    about = {"max_seq_length": length, "vocab_sha256": vocab.sha256, "vocab_size": len(vocab)}
    about |= {"do_lower_case": True, "strip_accents": True}
    write_manifest(folder / "pretrain_tfrecords", about)
    return folder


def records_file(folder, kind="pretrain_data"):
    return folder / "pretrain_tfrecords" / f"{kind}.tfrecord-0-of-1"


def write_records(path, ids, lengths):
    examples = [([row[:n]], n // 2, n) for row, n in zip(ids, lengths, strict=True)]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in encode_examples(examples, ids.shape[1])[0]:
            writer.write(record)


def run_pretraining(config):
    """Runs as the command does. Returns the exit status."""
    return end_run(runner.run_pretraining(config))


def train(data, model_name="m", **hparams):
    """Runs in this process. Returns the exit status."""
    return run_pretraining(PretrainingConfig(model_name, str(data), **TINY | hparams))


def entries(path):
    """Returns the dicts of a .jsonl log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def start(data, model_name, hparams, environment=None, under=(), output=subprocess.PIPE):
    """Starts the command as the official README spells it; stderr goes where stdout goes.

    under: a command that runs it, such as `ip netns exec NAME`.
    """
    flags = {"--data-dir": str(data), "--model-name": model_name, "--hparams": json.dumps(hparams)}
    command = [*under, sys.executable, str(ROOT / "run_pretraining.py")]
    return subprocess.Popen(
        [*command, *(word for pair in flags.items() for word in pair)],
        text=True,
        cwd=data if os.path.isdir(data) else None,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"} | (environment or {}),
        stdout=output,
        stderr=subprocess.STDOUT,
    )


def free_ports(count):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def start_workers(data, model_name, hparams, of_second=None, by_slurm=False):
    """Starts both processes; of_second: hparams that the second one has besides; by_slurm: as two
    tasks of srun, else with TF_CONFIG."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    hparams = hparams | {"strategy": "multi_worker"}
    workers = []
    for index in range(2):
        own = hparams | (of_second or {} if index else {})
        environment = {"SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_STEP_TASKS_PER_NODE": "2"}
        environment |= {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NODEID": "0"}
        environment |= dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID"), str(index))
        if not by_slurm:
            task = {"type": "worker", "index": index}
            environment = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
        workers.append(start(data, model_name, own, environment))
    return workers


def finish(process, status=0, seconds=180):
    """Waits for a process and checks its exit status. Returns what it printed."""
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == status, output
    return output
