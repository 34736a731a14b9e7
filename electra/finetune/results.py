"""The tables of results: what all trials of a command come to, and which model is the best.

Enters: TrialResults. Leaves: results_txt and the JSON beside it.
"""

import glob
import os

import numpy as np
from absl import logging

from electra.finetune.baselines import PREFIX
from electra.finetune.trials import SCORES, planned
from electra.saving import checkpoints
from electra.storage import read_json, write_json, write_text

ALL_SUMMARIES = "results.json"  # the summaries of all commands on a model
_SHAPE = {"trials": [SCORES], "ensemble?": SCORES}


def best_kept(config, needs_model=True):
    """Returns the Trial that the results call the best, or else the first that has its model.

    Args:
        needs_model: whether a trial without a model is none.
    Raises:
        FileNotFoundError: no trial has a model.
    """
    best = _read_results(config).get("best_trial")
    ranked = sorted(planned(config), key=lambda trial: trial.name != best)
    for trial in ranked:
        if checkpoints.latest(trial.folder) is not None:
            return trial
    if not needs_model:
        return ranked[0]
    raise FileNotFoundError(f"{config.model_dir}_1 holds no model. Train first (do_train)")


def known_ensemble(config, results):
    """Returns the ensemble of an earlier run of this command, if its trials were the same."""
    before = _read_results(config)
    is_same = [trial["scores"] for trial in before["trials"]] == [r.scores for r in results]
    return before.get("ensemble") if is_same else None


def readable(scores, baselines=None):
    """Returns the scores of a trial, and of the baselines, as one line.

    >>> readable({"cola": {"mcc": 56.789, "loss": 0.4}}, {"cola": {"mcc": 0.0}})
    'cola: mcc: 56.79 - loss: 0.40 - baseline_mcc: 0.00'
    """
    return "  ".join(_lines(scores, baselines or {}))


def _lines(scores, baselines):
    """A line a task. Kept from the official code: their form."""
    lines = []
    for name, of_task in scores.items():
        beside = {PREFIX + metric: value for metric, value in baselines.get(name, {}).items()}
        shown = (f"{metric}: {value:.2f}" for metric, value in {**of_task, **beside}.items())
        lines.append(f"{name}: " + " - ".join(shown))
    return lines


def summary(results):
    """Returns dict task -> metric -> mean, deviation (of a sample), median, best of all trials."""
    statistics = {}
    for name, scores in results[0].scores.items():
        statistics[name] = {}
        for metric in scores:
            values = [
                result.scores[name][metric]
                for result in results
                if metric in result.scores.get(name, ())
            ]
            statistics[name][metric] = {
                "mean": float(np.mean(values)),
                "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
                "median": float(np.median(values)),
                "best": float(np.min(values) if metric in ("loss", "mse") else np.max(values)),
                "trials": len(values),
            }
    return statistics


def write_results(config, devs, results, retries, ensemble, baselines=None):
    """Writes results_txt, a line a trial and task, and beside it the JSON with all there is;
    ALL_SUMMARIES there holds the summaries of all commands on this model.

    Args:
        config: FinetuningConfig; devs: list of TaskSplit.
        results, retries: lists of TrialResult; ensemble: None, or of ensemble.py.
        baselines: dict as baseline_scores returns it.
    Returns: (what the JSON holds, results_txt's lines).
    """
    mains = {dev.name: dev.task.main_metric for dev in devs}
    best = max(results, key=lambda result: result.rank(devs)).trial  # the first of equals
    about = {
        "model_name": config.model_name,
        "task_names": config.task_names,
        "main_metrics": mains,
        "summary": summary(results),
        "best_trial": best,
        "trials": [result.to_json() for result in results],
        "retries": [result.to_json() for result in retries],
    }
    if baselines:
        about["baselines"] = baselines
    if ensemble:
        about["ensemble"] = ensemble
    lines = [line for result in results for line in _lines(result.scores, baselines or {})]
    write_text(config.results_txt, "\n".join(lines) + "\n")
    path = _results_json(config)
    write_json(path, about)
    if os.path.basename(path) != ALL_SUMMARIES:
        _write_all_summaries(os.path.dirname(path))
    for name, main in mains.items():
        shown = "%s %s: mean %.2f, deviation %.2f, median %.2f, best %.2f of %d trials"
        numbers = about["summary"][name][main].values()
        baseline = (baselines or {}).get(name, {}).get(main)
        beside = "" if baseline is None else f"; baseline {baseline:.2f}"
        logging.info(shown + "%s", name, main, *numbers, beside)
    if not config.keep_all_models:
        _keep_only(config, best, {result.trial for result in results + retries})
    return about, "\n".join(lines)


def _results_json(config):
    return os.path.splitext(config.results_txt)[0] + ".json"


def _read_results(config):
    path = _results_json(config)
    return read_json(path, "Remove it", _SHAPE) if os.path.exists(path) else {"trials": []}


def _write_all_summaries(folder):
    summaries = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*_results.json"))):
        results = read_json(path, "Remove it")
        if "summary" in results:
            summaries[os.path.basename(path).removesuffix("_results.json")] = results["summary"]
    write_json(os.path.join(folder, ALL_SUMMARIES), summaries)


def _keep_only(config, best, names):
    """Removes the checkpoints of the trials with these names, but for the best's."""
    for trial in planned(config):
        for run in (trial, trial.retry()):
            if run.name in names - {best} and os.path.isdir(run.folder):
                checkpoints.remove(run.folder)
