"""The logs of a run that programs read: one JSON dict a line, each with a whole "step"."""

import json
import os

from absl import logging

from electra.storage import refuse_link, write_text

TRAIN_LOG, EVAL_LOG = "train_log.jsonl", "eval_log.jsonl"
THROUGHPUT = (  # what may differ between equal runs
    "examples_per_sec",
    "tokens_per_sec",
    "model_flops_per_sec",
    "share_of_peak",
    "data_wait_share",
)


def read_lines(path):
    """Returns the entries of a .jsonl log up to where it is torn (by a kill) or damaged."""
    if not os.path.exists(path):
        return []
    entries = []
    with open(path, "rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):  # no JSON, no UTF-8, nested too deep
                break
            if type(entry) is not dict or type(entry.get("step")) is not int:
                break
            entries.append(entry)
    return entries


def cut_back_lines(path, step):
    """Removes a log's entries of later steps, atomically; warns where others are lost."""
    refuse_link(path)
    if not os.path.exists(path):
        return
    entries = read_lines(path)
    with open(path, "rb") as file:
        lost = sum(line.endswith(b"\n") for line in file) - len(entries)
    if lost > 0:  # not only a line torn by a kill
        logging.warning(
            "%s is damaged at line %d: that and all behind it, %d lines, are dropped",
            path,
            len(entries) + 1,
            lost,
        )
    kept = [json.dumps(entry) + "\n" for entry in entries if entry["step"] <= step]
    write_text(path, "".join(kept))
