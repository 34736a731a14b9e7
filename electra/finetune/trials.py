"""Trials: their seeds and folders, and what comes out of each.

A trial's folder holds its model and scores.json, which says outputs_due until all that the trial
predicts and draws is written too.
"""

import dataclasses
import itertools
import os

import numpy as np

from electra.cloud import mirror
from electra.storage import read_json, write_json
from electra.train.interval import Interval

_RETRY_SEED = 2**30  # seeds of hparams end below
# Shapes of read_json, of a trial's scores.json.
SCORES = {"scores": {str: {str: float}}}
_RECORD = {
    **SCORES,
    "trial": str,
    "seed": int,
    "collapsed": str,
    "steps?": int,
    "seconds?": float,
    "outputs_due?": bool,
    "test_outputs?": {"folder": str, "files": {str: str}},
    "first_loss?": float,
    "last_loss?": float,
    "best_step?": int,
}


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


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """What came out of a trial; scores.json holds it, without what is None or False.

    Attributes:
        trial, seed: its name and seed.
        collapsed: sentences why it has learnt nothing; "" where there are none.
        scores: dict name of a split -> metric -> float.
        steps, seconds, first_loss, last_loss: of its training; None before. last_loss is None
            too where it was stopped early.
        best_step: whose weights the model has, where that was asked for; else None.
        outputs_due: whether what it predicts and draws is not written yet.
        test_outputs: as Submissions.write returns it, or None.
        stop_signal: the signal that stopped it, or None; never written.
    """

    trial: str
    seed: int
    collapsed: str = ""
    scores: dict = dataclasses.field(default_factory=dict)
    steps: int | None = None
    seconds: float | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    best_step: int | None = None
    outputs_due: bool = False
    test_outputs: dict | None = None
    stop_signal: int | None = None

    def is_scored(self, devs):
        """Whether it has the scores of the devs that trials are compared by."""
        return all(dev.task.main_metric in self.scores.get(dev.name, {}) for dev in devs)

    def rank(self, devs):
        """Returns the number by which trials are compared, as mean_score."""
        return mean_score(self.scores, devs)

    def why_collapsed(self, constant):
        """Returns what `collapsed` is to say; constant: names of what got one label throughout."""
        first, last, reasons = self.first_loss, self.last_loss, []
        if (self.steps or 0) > 1 and None not in (first, last) and last >= first:
            reasons.append(f"loss {last:.4g} at the end, {first:.4g} at the start")
        return "; ".join(reasons + [f"{name}: one label for everything" for name in constant])

    def to_json(self):
        """Returns a dict of JSON values."""
        values = {**vars(self), "outputs_due": self.outputs_due or None, "stop_signal": None}
        return {name: value for name, value in values.items() if value is not None}


def mean_score(scores, devs):
    """Returns the number by which trials and their steps are compared: the mean of main scores.

    Args:
        scores: dict name of a dev -> metric -> float; devs: list of TaskSplit.
    """
    return float(np.mean([scores[dev.name][dev.task.main_metric] for dev in devs]))


class TrialInterval(Interval):
    """The numbers of a trial's log lines, and of the first and the last tenth of its steps.

    Losses are means as those of dev splits are, in tagging of words; with several tasks each has
    its own beside the mean of all.

    Args:
        last_step: at which the trial ends.
        tasks: names of the tasks, T of them.
        counts_at: function from a step to how many losses it sums of each task, float (T,).
    Attributes:
        tenths: [loss, their number] of the first tenth and of the last, as JSON values.
    """

    def __init__(self, last_step, tasks, counts_at):
        super().__init__()
        self.tasks, self.counts_at = tasks, counts_at
        self.last_step, self.tenth = last_step, -(-last_step // 10)
        self.tenths = [[0.0, 0.0], [0.0, 0.0]]

    def load(self, checkpoint):
        super().load(checkpoint)
        if self.sums:  # of an earlier version: means of examples
            self.sums.setdefault("losses", np.array([self.sums["examples"]]))
        curve = checkpoint.state.get("curve", self.tenths)
        self.tenths = checkpoint.numbers(curve, (2, 2)).tolist()

    def add(self, steps):
        super().add(steps)
        for i in range(len(steps)):
            step = steps.first + i
            counts = self.counts_at(step)
            self.sums["losses"] = self.sums.get("losses", 0.0) + counts
            for part, is_in in enumerate((step < self.tenth, step >= self.last_step - self.tenth)):
                if is_in:
                    self.tenths[part][0] += float(steps.values["loss"][i])
                    self.tenths[part][1] += float(counts.sum())

    def numbers(self):
        """Returns the mean loss; with several tasks also each task's that had some."""
        losses, counts = self.sums.get("task_losses", ()), self.sums["losses"]
        of_tasks = {
            f"{task}/loss": float(loss / count)
            for task, loss, count in zip(self.tasks, losses, counts, strict=False)
            if count
        }
        return {"loss": float(self.sums["loss"] / counts.sum()), **of_tasks}

    def losses(self):
        """Returns the mean loss at the start and at the end, None where it did not
        come there."""
        first, last = (loss / count if count else None for loss, count in self.tenths)
        return {"first_loss": first, "last_loss": last}


def planned(config):
    """Returns the first num_trials Trials, and those after them that an earlier run finished."""
    every = (
        Trial(str(i), config.seed + i - 1, f"{config.model_dir}_{i}") for i in itertools.count(1)
    )
    return list(
        itertools.takewhile(
            lambda trial: int(trial.name) <= config.num_trials or read_result(trial), every
        )
    )


def read_result(trial):
    """Returns the TrialResult that a trial's folder holds; None where it is not scored.

    Raises:
        ValueError: it is damaged, or another trial's.
    """
    path, advice = os.path.join(trial.folder, "scores.json"), "Remove it to score the trial again"
    if not os.path.exists(path):
        return None
    record = read_json(path, advice, _RECORD)
    if record["trial"] != trial.name:
        raise ValueError(f"{path} is of trial {record['trial']!r:.80}, not {trial.name}. {advice}")
    names = {field.name for field in dataclasses.fields(TrialResult)} - {"stop_signal"}
    return TrialResult(**{name: value for name, value in record.items() if name in names})


def write_result(trial, result):
    write_json(os.path.join(trial.folder, "scores.json"), result.to_json())
    mirror.push(trial.folder)
