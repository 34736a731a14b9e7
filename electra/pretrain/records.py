"""The records that a run reads: opened and checked, their words counted.

Enters: a config, the vocabulary. Leaves: Records, and the unigram that losses are compared with.
"""

import numpy as np
from absl import logging

from electra.data import reader
from electra.data.manifest import few_held_out
from electra.data.patterns import find_files

UNIGRAM_RECORDS = 100_000  # training records that the unigram baseline is counted over, at most


def open_records(config, vocab):
    """Returns the training and the held-out Records of a config; either may be None if not needed.

    Raises:
        FileNotFoundError, ValueError: as Records.
    """

    def open_(pattern, kind):
        return reader.Records(
            pattern,
            vocab=vocab,
            kind=kind,
            **config.values("max_seq_length", "do_lower_case", "strip_accents"),
        )

    training = held_out = None
    if "eval_tfrecords" in config.given or find_files(config.eval_tfrecords):
        held_out = open_(config.eval_tfrecords, "held-out")
    if config.do_train or held_out is None:
        training = open_(config.pretrain_tfrecords, "training")
    if held_out is None:
        instead = "nothing is evaluated while training"
        if config.do_eval:
            instead = "evaluating at the end on the training records, as the official code does"
            held_out = training
        logging.warning(
            "No held-out records match %s: %s. build_pretraining_dataset.py --eval_fraction "
            "sets some aside",
            config.eval_tfrecords,
            instead,
        )
    elif problem := few_held_out(len(held_out)):
        logging.warning(problem)
    return training, held_out


def log_unigram_of(records, config, vocab):
    """Returns the log probabilities of the words of some records, float32 (V,)."""
    counts = reader.unigram_counts(records, config.vocab_size, UNIGRAM_RECORDS)
    counts[[vocab.pad_id, vocab.cls_id, vocab.sep_id, vocab.mask_id]] = 0  # never masked
    # One is added to every count, so that no held-out token has probability 0.
    return np.log((counts + 1) / (counts + 1).sum()).astype(np.float32)
