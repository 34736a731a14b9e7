"""Turns a corpus of raw text into pre-training records.

    python build_pretraining_dataset.py --corpus_dir C --vocab_file D/vocab.txt \\
        --output_dir D/pretrain_tfrecords --max_seq_length 128 --num_processes 2

A killed build goes on when the same command is run again.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("electra.data", run_name="__main__", alter_sys=True)
