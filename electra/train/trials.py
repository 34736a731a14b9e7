"""Trials: their seeds and folders, what is recorded of each, the tables of results.

A trial's folder holds its model and, written last, scores.json.
"""

import dataclasses
import glob
import itertools
import os

import numpy as np
from absl import logging

from electra.finetune import scoring
from electra.storage import read_json, write_json, write_text
from electra.train import checkpoints

GATHERED = "results.json"  # the summaries of all commands on a model
_RETRY_SEED = 2**30  # seeds of hparams end below


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

    def collapsed(self):
        """Returns a sentence where the loss is no lower than at the start, else ""."""
        first, last = self.summary().values()
        if self.last < 2 or last < first:
            return ""
        return f"loss {last:.4g} at the end, {first:.4g} at the start"


def planned(config):
    """Returns the first num_trials Trials, and those after them that an earlier run finished."""
    every = (
        Trial(str(i), config.seed + i - 1, f"{config.model_dir}_{i}") for i in itertools.count(1)
    )
    return list(itertools.takewhile(
        lambda trial: int(trial.name) <= config.num_trials or read_record(trial), every
    ))  # fmt: skip


def best_kept(config):
    """Returns the Trial that the results call the best, or else the first that has its model.

    Raises:
        FileNotFoundError: no trial has a model.
    """
    path = _results_json(config)
    best = read_json(path, "Remove it").get("best_trial") if os.path.exists(path) else None
    for trial in sorted(planned(config), key=lambda trial: trial.name != best):
        if checkpoints.latest(trial.folder) is not None:
            return trial
    raise FileNotFoundError(f"{config.model_dir}_1 holds no model. Train first (do_train)")


def rank(record, devs):
    """Returns the number by which trials are compared: the mean of the devs' main scores."""
    return np.mean(
        [record["scores"][dev.name][scoring.main_metric(dev.task)] for dev in devs]
    )


def read_record(trial):
    """Returns what was recorded of a trial: a dict; None where it is not finished."""
    path = os.path.join(trial.folder, "scores.json")
    if not os.path.exists(path):
        return None
    return read_json(path, "Remove it to score the trial again")


def write_record(trial, record):
    write_json(os.path.join(trial.folder, "scores.json"), record)


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
            values = [each["scores"][name][metric] for each in records
                      if metric in each["scores"][name]]  # fmt: skip
            result[name][metric] = {
                "mean": float(np.mean(values)),
                "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
                "median": float(np.median(values)),
                "best": float(np.min(values) if metric in ("loss", "mse") else np.max(values)),
                "trials": len(values),
            }
    return result


def write_results(run, finished, retries):
    """Writes results_txt, a line a trial and task, and beside it the JSON with all there is;
    GATHERED there holds the summaries of all commands on this model.

    Args:
        run: Finetuning; finished, retries: list of records.
    """
    config = run.config
    mains = {dev.name: scoring.main_metric(dev.task) for dev in run.data.dev}
    best = max(finished, key=lambda each: rank(each, run.data.dev))["trial"]  # the first of equals
    results = {
        "model_name": config.model_name, "task_names": config.task_names,
        "main_metrics": mains, "summary": summary(finished), "best_trial": best,
        "trials": finished, "retries": retries,
    }  # fmt: skip
    path = _results_json(config)
    if config.ensemble:
        results["ensemble"] = _known_ensemble(path, results) or _ensemble(run, finished)
    lines = [line for each in finished for line in _lines(each["scores"])]
    write_text(config.results_txt, "\n".join(lines) + "\n")
    write_json(path, results)
    print("\n".join(lines))  # last: perhaps nobody reads on
    if os.path.basename(path) != GATHERED:
        _gather(os.path.dirname(path))
    for name, main in mains.items():
        each = results["summary"][name][main]
        logging.info(
            "%s %s: mean %.2f, deviation %.2f, median %.2f, best %.2f of %d trials",
            name, main, each["mean"], each["std"], each["median"], each["best"], each["trials"],
        )  # fmt: skip
    if not config.keep_all_models:
        _keep_only(run, best, finished + retries)


def _results_json(config):
    return os.path.splitext(config.results_txt)[0] + ".json"


def _gather(folder):
    summaries = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*_results.json"))):
        results = read_json(path, "Remove it")
        if "summary" in results:
            summaries[os.path.basename(path).removesuffix("_results.json")] = results["summary"]
    write_json(os.path.join(folder, GATHERED), summaries)


def _known_ensemble(path, results):
    """Returns the ensemble of an earlier run of this command, if its trials were the same."""
    before = read_json(path, "Remove it") if os.path.exists(path) else {"trials": []}
    old, new = ([each["scores"] for each in known["trials"]] for known in (before, results))
    return before.get("ensemble") if old == new else None


def _ensemble(run, finished):
    """Scores the mean of the predictions of all trials."""
    made = {dev.name: [] for dev in run.data.dev}
    names = [each["trial"] for each in finished]
    for trial in planned(run.config):
        if trial.name not in names:
            continue
        if checkpoints.latest(trial.folder) is None:
            raise ValueError(
                f"ensemble wants the models of all trials, but {trial.folder} has none any more. "
                "Set ensemble to false, or run the trials anew with keep_all_models"
            )
        run.restore(trial)
        for dev in run.data.dev:
            made[dev.name].append(run.predict(dev.task, dev.examples, dev.features)[0])
    scores = {
        dev.name: run.score(dev, scoring.mean(dev.task, made[dev.name])) for dev in run.data.dev
    }
    logging.info("Ensemble of %d trials: %s", len(names), readable(scores))
    return {"trials": names, "scores": scores}


def _keep_only(run, best, records):
    """Removes the checkpoints of all trials but the best."""
    for each in records:
        folder = f"{run.config.model_dir}_{each['trial']}"
        if each["trial"] != best and os.path.isdir(folder):
            checkpoints.remove(folder)
