"""Trials: their seeds and folders, what is recorded of each, the tables of results.

A trial's folder holds its model and scores.json, which says outputs_due until all that the trial
predicts and draws is written too.
"""

import dataclasses
import glob
import itertools
import os

import numpy as np
from absl import logging

from electra.saving import checkpoints
from electra.storage import read_json, write_json, write_text

GATHERED = "results.json"  # the summaries of all commands on a model
_RETRY_SEED = 2**30  # seeds of hparams end below
# Shapes of read_json: of a trial's scores.json, and of a command's results.
_SCORES = {"scores": {str: {str: float}}}
_RECORD = {
    **_SCORES,
    "trial": str,
    "collapsed": str,
    "steps?": int,
    "first_loss?": float,
    "last_loss?": float,
}
_RESULTS = {"trials": [_SCORES], "ensemble?": _SCORES}


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial of a run: `name` is "1", "2", ..., or "2_retry"; `seed` sets heads, order, dropout;
    `folder` holds its model."""

    name: str
    seed: int
    folder: str

    @property
    def is_retry(self):
        return self.name.endswith("_retry")

    def retry(self):
        """Returns the trial that repeats this one with another seed."""
        return Trial(f"{self.name}_retry", self.seed + _RETRY_SEED, f"{self.folder}_retry")


class Curve:
    """Tells whether the loss of a trial came below its start.

    Args:
        last: steps of the trial; the first and the last tenth are compared.
    Attributes:
        sums: [loss, examples] of the first tenth and of the last, as JSON values.
    """

    def __init__(self, last):
        self.last, self.tenth = last, -(-last // 10)
        self.sums = [[0.0, 0.0], [0.0, 0.0]]

    def load(self, checkpoint):
        """Takes `sums` from the state of a Checkpoint, if they are there."""
        found = checkpoint.state.get("curve", self.sums)
        self.sums = checkpoint.numbers(found, (2, 2)).tolist()

    def add(self, steps):
        for i in range(len(steps)):
            step = steps.first + i
            for part in ([0] if step < self.tenth else []) + (
                [1] if step >= self.last - self.tenth else []
            ):
                self.sums[part][0] += float(steps.values["loss"][i])
                self.sums[part][1] += float(steps.values["examples"][i])

    def summary(self):
        """Returns the mean loss of an example at the start and at the end."""
        first, last = (loss / max(examples, 1.0) for loss, examples in self.sums)
        return {"first_loss": first, "last_loss": last}


def planned(config):
    """Returns the first num_trials Trials, and those after them that an earlier run finished."""
    every = (
        Trial(str(i), config.seed + i - 1, f"{config.model_dir}_{i}") for i in itertools.count(1)
    )
    return list(
        itertools.takewhile(
            lambda trial: int(trial.name) <= config.num_trials or read_record(trial), every
        )
    )


def best_kept(config):
    """Returns the Trial that the results call the best, or else the first that has its model.

    Raises:
        FileNotFoundError: no trial has a model.
    """
    best = _read_results(config).get("best_trial")
    for trial in sorted(planned(config), key=lambda trial: trial.name != best):
        if checkpoints.latest(trial.folder) is not None:
            return trial
    raise FileNotFoundError(f"{config.model_dir}_1 holds no model. Train first (do_train)")


def is_scored(record, devs):
    """Whether a record, None for none, has the scores of the devs that trials are compared by."""
    return record is not None and all(
        dev.task.main_metric in record["scores"].get(dev.name, {}) for dev in devs
    )


def collapsed(record, constant):
    """Says why a trial has learnt nothing.

    Args:
        record: of it; constant: names of what got one label throughout.
    Returns: sentences, with "; " between; "" where there are none.
    """
    first, last = record.get("first_loss", 1.0), record.get("last_loss", 0.0)
    reasons = []
    if record.get("steps", 0) > 1 and last >= first:
        reasons.append(f"loss {last:.4g} at the end, {first:.4g} at the start")
    return "; ".join(reasons + [f"{name}: one label for everything" for name in constant])


def rank(record, devs):
    """Returns the number by which trials are compared: the mean of the devs' main scores."""
    return np.mean([record["scores"][dev.name][dev.task.main_metric] for dev in devs])


def new_record(trial):
    """Returns the record of a trial that is not scored."""
    return {"trial": trial.name, "seed": trial.seed, "collapsed": "", "scores": {}}


def read_record(trial):
    """Returns what was recorded of a trial: a dict; None where it is not scored."""
    path, advice = os.path.join(trial.folder, "scores.json"), "Remove it to score the trial again"
    if not os.path.exists(path):
        return None
    record = read_json(path, advice, _RECORD)
    if record["trial"] != trial.name:
        raise ValueError(f"{path} is of trial {record['trial']!r:.80}, not {trial.name}. {advice}")
    return record


def write_record(trial, record):
    write_json(os.path.join(trial.folder, "scores.json"), record)


def known_ensemble(config, finished):
    """Returns the ensemble of an earlier run of this command, if its trials were the same."""
    before = _read_results(config)
    old, new = ([each["scores"] for each in known] for known in (before["trials"], finished))
    return before.get("ensemble") if old == new else None


def readable(scores):
    """Returns the scores of a trial as one line.

    >>> readable({"cola": {"mcc": 56.789, "loss": 0.4}})
    'cola: mcc: 56.79 - loss: 0.40'
    """
    return "  ".join(_lines(scores))


def _lines(scores):
    """A line a task. Kept from the official code: their form."""
    return [
        f"{name}: " + " - ".join(f"{metric}: {value:.2f}" for metric, value in each.items())
        for name, each in scores.items()
    ]


def summary(records):
    """Returns dict task -> metric -> mean, deviation (of a sample), median, best of all trials."""
    result = {}
    for name, scores in records[0]["scores"].items():
        result[name] = {}
        for metric in scores:
            values = [
                each["scores"][name][metric]
                for each in records
                if metric in each["scores"].get(name, ())
            ]
            result[name][metric] = {
                "mean": float(np.mean(values)),
                "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
                "median": float(np.median(values)),
                "best": float(np.min(values) if metric in ("loss", "mse") else np.max(values)),
                "trials": len(values),
            }
    return result


def write_results(run, finished, retries, ensemble):
    """Writes results_txt, a line a trial and task, and beside it the JSON with all there is;
    GATHERED there holds the summaries of all commands on this model.

    Args:
        run: Finetuning; finished, retries: list of records; ensemble: None, or of ensemble.py.
    """
    config = run.config
    mains = {dev.name: dev.task.main_metric for dev in run.data.dev}
    best = max(finished, key=lambda each: rank(each, run.data.dev))["trial"]  # the first of equals
    results = {
        "model_name": config.model_name,
        "task_names": config.task_names,
        "main_metrics": mains,
        "summary": summary(finished),
        "best_trial": best,
        "trials": finished,
        "retries": retries,
    }
    if ensemble:
        results["ensemble"] = ensemble
    lines = [line for each in finished for line in _lines(each["scores"])]
    write_text(config.results_txt, "\n".join(lines) + "\n")
    path = _results_json(config)
    write_json(path, results)
    print("\n".join(lines))  # last: perhaps nobody reads on
    if os.path.basename(path) != GATHERED:
        _gather(os.path.dirname(path))
    for name, main in mains.items():
        each = results["summary"][name][main]
        logging.info(
            "%s %s: mean %.2f, deviation %.2f, median %.2f, best %.2f of %d trials",
            name,
            main,
            each["mean"],
            each["std"],
            each["median"],
            each["best"],
            each["trials"],
        )
    if not config.keep_all_models:
        _keep_only(config, best, {each["trial"] for each in finished + retries})


def _results_json(config):
    return os.path.splitext(config.results_txt)[0] + ".json"


def _read_results(config):
    path = _results_json(config)
    return read_json(path, "Remove it", _RESULTS) if os.path.exists(path) else {"trials": []}


def _gather(folder):
    summaries = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*_results.json"))):
        results = read_json(path, "Remove it")
        if "summary" in results:
            summaries[os.path.basename(path).removesuffix("_results.json")] = results["summary"]
    write_json(os.path.join(folder, GATHERED), summaries)


def _keep_only(config, best, names):
    """Removes the checkpoints of the trials with these names, but for the best's."""
    for trial in planned(config):
        for each in (trial, trial.retry()):
            if each.name in names - {best} and os.path.isdir(each.folder):
                checkpoints.remove(each.folder)
