"""How long `python run_pretraining.py` takes from its start to the end of the first step.

    python benchmarks/start_up.py

Each round starts the command anew (ELECTRA-small, batch 32, the processor's own precision) and
waits for the first line of its log. The first round, which warms the file cache, is left out.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

import input_pipeline
import pretraining_step
from side_by_side import ROOT, parser_of, record, spread

from electra.features import SPECIAL_TOKENS

SIZES = {"model_size": "small", "train_batch_size": 32}


def main():
    args = parser_of(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_data(folder, 1000, 128)
        seconds = [first_step(folder, f"{folder}/run{i}") for i in range(args.rounds + 1)][1:]
    record(f"{spread(seconds, 1)} s to the end of the first step")


def write_data(folder, count, length):
    """Writes a vocabulary of w0, w1, ... and records of random tokens, laid out for a run."""
    words = [*SPECIAL_TOKENS, *(f"w{i}" for i in range(pretraining_step.VOCAB_SIZE - 5))]
    os.makedirs(f"{folder}/pretrain_tfrecords")
    with open(f"{folder}/vocab.txt", "w", encoding="utf-8") as file:
        file.writelines(f"{word}\n" for word in words)
    input_pipeline.write_records(f"{folder}/pretrain_tfrecords", count, length)


def first_step(data_dir, model_dir, **hparams):
    """Starts a run, waits for its first log line and stops it. Returns: seconds."""
    log = f"{model_dir}/train_log.jsonl"
    rhythm = {"log_every_steps": 1, "iterations_per_loop": 1, "eval_every_steps": 0}
    hparams = {**SIZES, **rhythm, "model_dir": str(model_dir), **hparams}
    command = [sys.executable, ROOT / "run_pretraining.py", "--data_dir", data_dir]
    command += ["--model_name", "unused", "--hparams", json.dumps(hparams)]
    started, nowhere = time.monotonic(), subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere)
    while not (os.path.exists(log) and os.path.getsize(log)):
        if process.poll() is not None:
            sys.exit(f"the command ended with status {process.returncode}")
        time.sleep(0.02)
    seconds = time.monotonic() - started
    process.kill()
    process.wait()
    print(f"{seconds:.1f} s", flush=True)
    return seconds


if __name__ == "__main__":
    main()
