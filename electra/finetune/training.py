"""The training of one trial: from its checkpoint to its last step, with evaluations on the way.

Enters: a Trainer and a trial. Leaves: a checkpoint and logs in the trial's folder, the trained
weights in the network, what the trial's result says of its training.
"""

import dataclasses
import functools
import os
import time

from absl import logging

from electra.finetune.monitor import Monitor
from electra.finetune.trials import TrialInterval, mean_score
from electra.saving import checkpoints
from electra.train.fit import fit
from electra.train.logs import RunLog
from electra.train.tensorboard import tag_of


class Training:
    """Restores or initialises the weights at once.

    Args:
        trainer: Trainer; trial: Trial.
    Attributes:
        step: the step that the training has come to.
        model_step: that of the weights; another where the best evaluation's were taken.
    """

    def __init__(self, trainer, trial):
        self.trainer, self.trial, self.config = trainer, trial, trainer.config
        self.last_step, self.started = trainer.data.num_train_steps, time.monotonic()
        self.interval = TrialInterval(
            self.last_step,
            [task.name for task in trainer.data.tasks],
            functools.partial(trainer.data.loss_counts_at, trial.seed),
        )
        self.monitor = Monitor(
            **self.config.values(
                "load_best_model_at_end", "early_stopping_patience", "early_stopping_min_delta"
            )
        )
        self.step = self.model_step = 0
        if checkpoints.latest(trial.folder) is None:
            trainer.initialize(trial.seed)
        else:
            self._restore()

    @property
    def is_over(self):
        return self.step >= self.last_step or self.monitor.is_over

    def run(self, result):
        """Makes the steps that are left. Returns: TrialResult; as Trainer.train.

        Args:
            result: TrialResult, as it is before.
        """
        config, trial, data = self.config, self.trial, self.trainer.data
        every = config.eval_every_steps
        with RunLog(
            trial.folder, resume_step=self.step, last_step=self.last_step, charts=_charts(data)
        ) as log:
            home = os.path.basename(os.path.abspath(config.output_dir or config.model_name))
            name = f"{','.join(config.task_names)} {trial.name} ({home})"  # no two are alike
            log.hparams(config, name, seed=trial.seed)
            log.aim(self.last_step, f"trial {trial.name}")
            reached = fit(
                self.trainer.loop(trial.seed),
                log,
                self.interval,
                config,
                step=self.step,
                last_step=self.step if self.is_over else self.last_step,
                save=lambda step: self._save(log, step),
                save_seconds=config.save_checkpoints_seconds,
                evaluate=lambda step: self._evaluate(log, step),
                evaluate_every=data.steps_per_epoch if every == "epoch" else every or 0,
                evaluate_first=False,
                warmup="warmup_proportion",
            )
        if reached.stop_signal:
            logging.info("Stopped at step %d; the same command goes on from there", reached.step)
            return dataclasses.replace(result, stop_signal=reached.stop_signal)
        if reached.step > self.step:
            self.step = self.model_step = reached.step
        if self.monitor.keeps_best:
            self._take_best()
        return dataclasses.replace(
            result,
            steps=self.step,
            seconds=round(time.monotonic() - self.started, 1),
            best_step=self.model_step if self.monitor.keeps_best else None,
            **self.interval.losses(),
        )

    def _restore(self):
        checkpoint = self.trainer.restore(self.trial)
        state, self.model_step = checkpoint.state, checkpoint.step
        self.step = int(checkpoint.numbers(state.get("trained_steps", checkpoint.step), ()))
        self.monitor.load(checkpoint)
        self.interval.load(checkpoint)
        self.started -= float(checkpoint.numbers(state.get("seconds", 0), ()))
        if not self.is_over:
            checkpoints.restore_slots(self.trainer.optimizer.slots, checkpoint)
        logging.info(
            "Trial %s goes on from %s, step %d", self.trial.name, checkpoint.path, self.step
        )

    def _evaluate(self, log, step):
        self.trainer.scored = None  # the weights are others
        (scores, _), devs = self.trainer.score(), self.trainer.data.dev
        numbers = {
            f"{name}/{metric}": value
            for name, of_split in scores.items()
            for metric, value in of_split.items()
        }
        score, baselines = mean_score(scores, devs), self.trainer.baselines
        numbers["score"] = score
        if all(dev.name in baselines for dev in devs):
            numbers["baseline"] = mean_score(baselines, devs)
        log.eval(step, numbers)
        verdict = self.monitor.update(step, score)
        if verdict.stop and step < self.last_step:
            logging.info(
                "Step %d of %d: no better score than %.2f of step %d in %d evaluations. The trial "
                "ends here",
                *(step, self.last_step, self.monitor.best_score, self.monitor.best_step),
                self.monitor.waited,
            )
        return verdict

    def _save(self, log, step):
        log.flush()
        is_last = step == self.last_step or self.monitor.is_over
        slots = {} if is_last else self.trainer.optimizer.slots  # they have served
        tensors = {**self.trainer.variables, **slots}
        kept = self.monitor.kept_steps
        checkpoints.save(self.trial.folder, step, tensors, self._state(), keep_max=1, kept=kept)

    def _take_best(self):
        """Makes the best evaluation's weights the trial's: in the network and in its folder."""
        best, folder = self.monitor.best_step, self.trial.folder
        if self.model_step != best:
            self.trainer.restore(self.trial, best)
            state = {**self._state(), "trained_steps": self.step}
            checkpoints.save(folder, best, self.trainer.variables, state)
            self.model_step = best
        checkpoints.remove(folder, kept=[best])
        logging.info(
            "Trial %s: its model is that of step %d of %d, score %.2f",
            *(self.trial.name, best, self.step, self.monitor.best_score),
        )

    def _state(self):
        """Returns what a checkpoint holds besides tensors."""
        return {
            "interval": self.interval.dump(),
            "curve": self.interval.tenths,
            "seconds": round(time.monotonic() - self.started, 1),
            "vocab_sha256": self.trainer.data.tokenizer.vocab.sha256,
            **self.monitor.dump(),
        }


def _charts(data):
    """What TensorBoard draws in one chart: scores and baseline, an only task's losses."""
    charts = {"baseline": ("baseline", tag_of("score"))}
    if len(data.tasks) == 1:
        charts["loss"] = ("train", f"{data.tasks[0].name}/loss")
    return charts
