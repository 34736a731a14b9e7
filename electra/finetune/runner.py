"""The runner behind run_finetuning.py: config in, trained trials and their scores out.

It reads and featurises the tasks and runs trial after trial: weights as pre-trained, heads drawn
anew, training, scores. A trial that was killed goes on from its checkpoint; one that has its scores
is not run again.
"""

import dataclasses
import os
from typing import Any

from absl import logging

from electra.cloud import mirror
from electra.cloud.urls import origin
from electra.finetune import outputs, results, trials
from electra.finetune.baselines import baseline_scores, label_priors
from electra.finetune.config import FinetuningConfig
from electra.finetune.ensemble import score_ensemble
from electra.finetune.families import get_family
from electra.finetune.run_data import FinetuningData
from electra.finetune.trainer import Trainer
from electra.saving import checkpoints
from electra.saving.folder import ModelFolder, locked_folder, write_folder
from electra.text.vocab import read_vocab
from electra.train import resume
from electra.train.result import RunResult
from electra.train.strategy import placement_of


@dataclasses.dataclass(frozen=True)
class FinetuningResult(RunResult):
    """What run_finetuning returns.

    Attributes:
        folder: of the best trial, or of the one that was stopped.
        step: of its model.
        scores: dict dev split -> metric -> float, of that trial.
        summary: dict dev split -> metric -> mean, std, median, best and number of all trials.
        baselines: dict dev split -> metric -> float, of predicting the commonest training label,
            the mean, or no answer.
    """

    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)


def run_finetuning(config: FinetuningConfig) -> FinetuningResult:
    """Trains and scores as config says.

    Args:
        config: FinetuningConfig.
    Returns: FinetuningResult; after SIGTERM and Ctrl-C the trial's state is saved, and it says so.
    Raises:
        ValueError, FileNotFoundError: what the user can mend, before the first step where it can
            be known then.
        NonFiniteLossError: the training diverged.
    """
    planned = trials.planned(config)
    others = [*planned[1:], *(trial.retry() for trial in planned)] if config.do_train else []
    written = [os.path.dirname(config.results_txt), config.test_predictions]
    with (
        locked_folder(planned[0].folder, config.do_train),
        mirror.pushed(*(trial.folder for trial in others), shared=written),
    ):
        run = Finetuning(config)
        return run.result(run.run())


class Finetuning:
    """One run: its data, its trainer, its trials.

    Args:
        config: FinetuningConfig.
    Attributes:
        config: as the run goes on with it.
        data: FinetuningData.
        inputs: dict what trials learn from and are scored on -> its SHA-256.
        priors: as baselines.label_priors counts them, or as the first trial's folder has them.
        baselines: dict name of a dev -> metric -> float, of predicting by the priors.
        submissions: outputs.Submissions.
        files: list of TaskSplit, the user's files to predict.
        trainer: Trainer.
    """

    def __init__(self, config):
        config, folder, recorded = _resumed(config)
        self.inputs = _check_pretrained(config)
        self.data = FinetuningData(config, () if config.do_train else recorded["tasks"])
        if recorded:
            described = self.data.described_tasks()
            resume.check_tasks(described, recorded["tasks"], folder, config.do_train)
        self.inputs |= self.data.digests()
        if recorded:
            names = self.inputs
            if not config.do_train:  # held out now, held out then?
                held_out = filter(self.data.splits.holds_out, self.data.tasks)
                names = [f"{task.name} train" for task in held_out]
            inputs = {name: self.inputs[name] for name in names}
            resume.check_inputs(inputs, recorded.get("inputs", {}), folder)
        counted = label_priors(self.data.tasks, self.data.train)
        self.priors = counted or (recorded or {}).get("label_priors", {})
        self.baselines = baseline_scores(self.data.dev, self.priors, config.qa_na_threshold)
        if self.baselines:
            logging.info("Baselines: %s", results.readable(self.baselines))
        tests = outputs.read_tests(self.data) if config.write_test_outputs else []
        self.submissions = outputs.Submissions(config, self.data.splits, tests)
        predict_files = config.predict_files if config.do_predict else {}
        self.files = outputs.read_files(self.data, predict_files)
        placement = placement_of(config)
        if placement.num_workers > 1:
            with placement.peers:  # which read the same
                raise ValueError(
                    "Fine-tuning runs in one process: unset TF_CONFIG, or set strategy to 'one' or "
                    "'mirrored'"
                )
        placement.check_batch_size(config.train_batch_size)
        self.config = config.replace(precision=placement.precision)
        self.trainer = Trainer(self.config, self.data, placement, self.baselines)
        self._stopped, self._results, self._report = None, {}, ""

    def run(self):
        """Runs the trials that are left and writes the results. Returns: the signal that stopped
        it, or None."""
        config, finished, retries = self.config, [], []
        runs_trials = config.do_train or config.do_eval or config.write_test_outputs
        for trial in trials.planned(config) if runs_trials else ():
            result, retry, self._stopped = self._run_trial(trial, finished), None, trial
            if result and result.collapsed and config.retry_collapsed and not result.stop_signal:
                self._stopped = trial.retry()
                retry = self._run_trial(self._stopped, finished)
            for outcome, group in ((result, finished), (retry, retries)):
                if outcome and outcome.stop_signal:
                    return outcome.stop_signal
                group += [outcome] if outcome else []
        self._stopped = None
        if runs_trials and not finished:
            raise FileNotFoundError(
                f"{config.model_dir}_1 holds no model to score. Train first (do_train)"
            )
        devs, ensemble = self.data.dev, None
        if config.ensemble and runs_trials:
            ensemble = score_ensemble(config, devs, self.submissions, finished, self.trainer)
        if config.do_eval:
            self._results, self._report = results.write_results(
                config, devs, finished, retries, ensemble, self.baselines
            )
        if config.do_predict:
            self.trainer.restore(results.best_kept(config))
            outputs.write_files(config, self.trainer.predictor, self.files)
        return None

    def result(self, stop_signal):
        """Returns what `run`, which returned stop_signal, came to: FinetuningResult."""
        trial = self._stopped or results.best_kept(self.config, needs_model=False)
        checkpoint = checkpoints.latest(trial.folder)
        scored = None if stop_signal else trials.read_result(trial)
        return FinetuningResult(
            origin(trial.folder),
            checkpoints.read(checkpoint, verify=False).step if checkpoint else 0,
            scored.scores if scored else {},
            stop_signal,
            self._report,
            summary=self._results.get("summary", {}),
            baselines=self.baselines,
        )

    def _run_trial(self, trial, before):
        """Runs a trial, or takes what an earlier run made of it.

        Args:
            trial: Trial; before: TrialResults of the trials before.
        Returns: TrialResult; None where nothing is to train, and no model or score is there.
        """
        config, devs = self.config, self.data.dev
        result = trials.read_result(trial)
        has_model = checkpoints.latest(trial.folder) is not None
        is_scored = result is not None and result.is_scored(devs)
        if config.do_train and is_scored and not (result.outputs_due and has_model):
            logging.info("Trial %s is finished: %s", trial.name, results.readable(result.scores))
            if self.submissions.are_due(trial, result.test_outputs):
                self.trainer.restore(trial)
                result = self._with_tests(trial, result)
                trials.write_result(trial, result)
            return result
        if not config.do_train and not has_model:
            if result and not is_scored:
                logging.warning("%s lacks the model and some of the scores: left out", trial.folder)
            return result if is_scored else None  # another trial's model was kept
        result = result or trials.TrialResult(trial.name, trial.seed)
        if config.do_train:
            if not has_model:
                described = {"tasks": self.data.described_tasks(), "trial_seed": trial.seed}
                described |= {"inputs": self.inputs, "label_priors": self.priors}
                hparams = {**config.to_json(), **described}
                write_folder(trial.folder, hparams, config.vocab_file)
            result = self.trainer.train(trial, result)
            if result.stop_signal:
                return result
        else:
            self.trainer.restore(trial)
        result, predicted = self._score(result)
        trials.write_result(trial, dataclasses.replace(result, outputs_due=True))
        outputs.write_trial(config, devs, trial, result, predicted, before)
        if self.submissions.are_due(trial, None):
            result = self._with_tests(trial, result)
        trials.write_result(trial, result)
        return result

    def _score(self, result):
        """Scores a trial, whose weights are loaded.

        Returns: (TrialResult with the scores, dict name of a dev -> its predictions).
        """
        found, predicted = self.trainer.score()
        scores, threshold = {**result.scores, **found}, self.config.qa_na_threshold
        constant = [
            dev.name
            for dev in self.data.dev
            if get_family(dev.task.family).is_constant(
                dev.task, dev.examples, predicted[dev.name], threshold
            )
        ]
        collapsed = result.collapsed
        if predicted or not collapsed:  # what was not scored now may have collapsed before
            collapsed = result.why_collapsed(constant)
        if collapsed:
            advice = "Try more num_train_epochs or another learning_rate"
            logging.warning("Trial %s collapsed: %s. %s", result.trial, collapsed, advice)
        logging.info("Trial %s: %s", result.trial, results.readable(scores, self.baselines))
        result = dataclasses.replace(result, scores=scores, collapsed=collapsed, outputs_due=False)
        return result, predicted

    def _with_tests(self, trial, result):
        """Writes what a trial, whose weights are loaded, predicts for the test files."""
        predicted = self.submissions.predict(self.trainer.predictor)
        written = self.submissions.write(f"trial_{trial.name}", predicted)
        return dataclasses.replace(result, test_outputs=written)


def _resumed(config):
    """Returns the config to go on with, and the folder and hparams of the first trial that is
    there, or None."""
    folders = [ModelFolder(trial.folder) for trial in trials.planned(config)]
    runs = [(folder, hparams) for folder in folders if (hparams := folder.recorded("tasks"))]
    if not runs:
        if not config.do_train:
            raise FileNotFoundError(f"{folders[0].path} holds no model. Train first (do_train)")
        return config, None, None
    folder, recorded = runs[0]
    config = resume.resumed(config, recorded, folder.path)
    if not config.do_train and "vocab_file" not in config.given:
        config = config.replace(vocab_file=folder.vocab_file)
    return config, folder.path, recorded


def _check_pretrained(config):
    """Compares the vocabulary with the pre-trained model's. Returns: dict with its digest."""
    opened = None
    if config.do_train and not config.from_scratch:
        opened = checkpoints.read(config.pretrained.path, verify=False)
    if not config.from_scratch and (config.do_train or "vocab_file" in config.given):
        vocab = read_vocab(config.vocab_file)
        resume.check_vocab(vocab, config.vocab_file, config.pretrained.folder, opened)
    return {"pre-trained weights": opened.digest} if opened else {}
