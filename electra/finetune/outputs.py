"""What a fine-tuning run writes besides its scores: predictions and plots.

Enters: splits, and a predictor with its weights loaded. Leaves: submissions of the test files,
predictions of a user's own files, and of the dev files what the best trial says: SQuAD's files and
plots.
"""

import collections
import copy
import dataclasses
import functools
import math
import os

from absl import logging

from electra.finetune import plots, predictions, trials
from electra.finetune.families import get_family
from electra.finetune.readers import find_file
from electra.finetune.run_data import TaskSplit
from electra.finetune.tasks import TASKS
from electra.saving import checkpoints
from electra.storage import file_digest
from electra.train.lines import EVAL_LOG, TRAIN_LOG
from electra.train.tensorboard import write_summaries

PLOTS = "_plots"  # ends the name of the folder beside the results


def read_tests(data):
    """Reads the test files of a run's tasks, and of tasks that are predicted with their models.

    Args:
        data: FinetuningData.
    Returns: list of TaskSplit; a test file that is missing is logged and left out.
    Raises:
        FileNotFoundError: there is none at all. ValueError: one cannot be read.
    """
    tests, missing = [], []
    for task in data.tasks:
        for row in [task, *(row for row in TASKS.values() if row.model_of == task.name)]:
            asked = dataclasses.replace(row, name=task.name, labels=task.labels)
            for split in [name for name in row.sources if name.startswith("test")]:
                sources = [_unlabelled(source) for source in row.sources[split]]
                try:
                    name = f"{row.name}{split[4:]}"
                    tests.append(_read(data.splits, name, asked, split, sources))
                except FileNotFoundError as error:
                    missing.append(str(error))
    if not tests:
        raise FileNotFoundError(
            f"write_test_outputs: no test file. {' '.join(missing) or 'The tasks name none'}"
        )
    for error in missing:
        logging.warning("%s. It is not predicted", error)
    return tests


def read_files(data, predict_files):
    """Reads the files to predict.

    Args:
        data: FinetuningData.
        predict_files: dict task name -> list of paths. A file that is named like one of the
            task's own has its layout, another that of its test file, or else of its dev file.
    Returns: list of TaskSplit; the names are those of the predictions.
    Raises: as readers.read_examples.
    """
    splits = copy.copy(data.splits)
    splits.cache_folder = None
    language, files = splits.reading["language"], {}
    for task in data.tasks:
        order = sorted(task.sources, key=lambda split: (not split.startswith("test"), split))
        known = [source for split in order for source in task.sources[split]]
        for path in predict_files.get(task.name, ()):
            file = os.path.basename(path).removesuffix(".gz")
            names = [os.path.basename(s.path.replace("{language}", language)) for s in known]
            source = _unlabelled(known[names.index(file) if file in names else 0], "language")
            source = dataclasses.replace(source, path=os.path.abspath(path))
            name = f"{task.name}_{os.path.splitext(file)[0]}"
            if name in files:
                raise ValueError(f"predict_files: {path} is the second {file}. Rename one")
            files[name] = _read(splits, name, task, "test", [source])
    return list(files.values())


class Submissions:
    """What is predicted of a run's test files, as their leaderboards want it, or as JSON lines.

    Args:
        config: FinetuningConfig.
        splits: Splits, which find the files.
        tests: list of TaskSplit; empty where nothing is to be predicted.
    """

    def __init__(self, config, splits, tests):
        self.config, self.splits, self.tests = config, splits, tests

    def are_due(self, trial, written):
        """Whether a trial has to predict the test files.

        Args:
            trial: Trial; written: its test_outputs, or None to write them anew.
        """
        is_asked = not trial.is_retry and int(trial.name) <= self.config.n_writes_test
        if not is_asked or not self.tests or self.are_written(f"trial_{trial.name}", written):
            return False
        has_model = checkpoints.latest(trial.folder) is not None
        if not has_model:
            logging.warning("%s holds no model to predict the test files with", trial.folder)
        return has_model

    def are_written(self, name, written):
        """Whether what `write` returned says that the files, as they are, were predicted."""
        described = self._described(name)
        return written == described and os.path.isdir(described["folder"])

    def predict(self, predictor):
        """Yields what the weights of a TaskPredictor predict for each test file."""
        for test in self.tests:
            yield predictor.predict(*test.inputs, self.config.predict_batch_size)[0]

    def write(self, name, predicted):
        """Writes predictions.

        Args:
            name: of the folder in test_predictions.
            predicted: iterable, the predictions of each test file.
        Returns: what a result says of them as test_outputs: folder, and dict files of what is
            predicted -> its SHA-256.
        """
        described = self._described(name)
        for test, values in zip(self.tests, predicted, strict=True):
            self._write(described["folder"], test, values)
        logging.info("Predictions of the test files: %s", described["folder"])
        return described

    def _write(self, folder, test, predicted):
        task, name = test.task, test.task.leaderboard.get(test.split, "")
        family, threshold = get_family(task.family), self.config.qa_na_threshold
        if not name:
            stem = os.path.join(folder, test.name)
            family.write_predictions(stem, task, test.examples, predicted, threshold)
            rows = family.rows(task, test.examples, predicted, threshold)
            _write_table(stem, test, self.splits.find(task, test.split), rows)
            return
        values = family.labels_of(task, test.examples, predicted)
        if name.endswith(".tsv"):
            missing = predictions.write_glue(folder, task, test.split, values) or "nothing"
            logging.info("%s of %s; it lacks: %s", predictions.GLUE_ZIP, folder, missing)
        else:
            ids = [example.id for example in test.examples]
            predictions.write_clue(folder, task, test.split, values, ids)

    def _described(self, name):
        files = {
            test.name: file_digest(self.splits.find(test.task, test.split)[0])
            for test in self.tests
        }
        return {"folder": os.path.join(self.config.test_predictions, name), "files": files}


def write_files(config, predictor, files):
    """Writes what a TaskPredictor says of the user's files, a row an example, in order; of a table
    also that table with the predictions beside.

    Args:
        config: FinetuningConfig; files: list of TaskSplit.
    """
    for split in files:
        predicted = predictor.predict(*split.inputs, config.predict_batch_size)[0]
        rows = get_family(split.task.family).rows(
            split.task, split.examples, predicted, config.qa_na_threshold
        )
        path = os.path.join(config.test_predictions, f"{split.name}.jsonl")
        predictions.write_rows(path, split.examples, rows)
        stem = path.removesuffix(".jsonl")
        table = _write_table(stem, split, find_file(split.task, split.split, ""), rows)
        logging.info("Predictions: %s", " and ".join(filter(None, (path, table))))


def _write_table(stem, split, found, rows):
    """Writes <stem>_preds.csv or .tsv where a split's file, as it was found, is a table.

    Returns: its path, or None.
    """
    cells = [get_family(split.task.family).cells(row) for row in rows]
    return predictions.write_table(f"{stem}_preds", split.task, *found, cells)


def write_trial(config, devs, trial, result, predicted, before):
    """Writes what a trial predicts of the dev files, if none before was better, and its plots.

    Args:
        config: FinetuningConfig; devs: list of TaskSplit.
        trial: Trial; result: TrialResult, with its scores.
        predicted: dict name of a dev -> its predictions.
        before: TrialResults of the trials before.
    """
    figures = {}
    if devs and not trial.is_retry:
        best = max((earlier.rank(devs) for earlier in before), default=-math.inf)
        if result.rank(devs) > best:
            figures = write_dev(config, devs, result, predicted)
    if devs or config.do_train:
        write_summary(config, devs, trial, result, figures)


def write_dev(config, devs, result, predicted):
    """Writes what the families say of the dev files, such as SQuAD's files.

    Args:
        config: FinetuningConfig; devs: list of TaskSplit.
        result: TrialResult, with its scores.
        predicted: dict name of a dev -> its predictions.
    Returns: dict name -> function that draws a Figure.
    """
    figures = {}
    for dev in devs:
        family, scores = get_family(dev.task.family), result.scores[dev.name]
        family.write_dev(config, dev, predicted[dev.name], scores)
        drawn = family.figures(dev, predicted[dev.name], scores)
        figures |= {f"{dev.name}_{name}": draw for name, draw in drawn.items()}
    return figures


def write_summary(config, devs, trial, result, figures):
    """Shows a trial's scores and plots in TensorBoard, these also as PNGs in PLOTS beside the
    results.

    Args:
        config: FinetuningConfig; devs: list of TaskSplit; trial: Trial; result: TrialResult.
        figures: as write_dev returns them; the learning curves of all trials so far are added.
    """
    folder, images = os.path.splitext(config.results_txt)[0].removesuffix("_results") + PLOTS, {}
    drawn = {
        **figures,
        "learning_curves": functools.partial(_learning_curves, config, devs, result),
    }
    for name, draw in drawn.items():
        path = os.path.join(folder, f"{name}.png")
        try:
            images[name] = plots.write_png(path, draw())
        except Exception as error:  # whatever it is, no plot is worth a run
            logging.warning("%s is not drawn. %s: %s", path, type(error).__name__, error)
    numbers = {
        f"scores/{name}/{metric}": value
        for name, scores in result.scores.items()
        for metric, value in scores.items()
    }
    write_summaries(trial.folder, result.steps or 0, numbers, images)


def _learning_curves(config, devs, result):
    """Draws losses and scores of all trials so far.

    Args: as write_summary; result: of the trial whose scores are not in its folder yet.
    """
    panels = collections.defaultdict(lambda: collections.defaultdict(dict))
    name_of_scores = "mean of the main scores"
    if len(devs) == 1:
        name_of_scores = f"{devs[0].name}: {devs[0].task.main_metric}"
    for trial in trials.planned(config):
        for run in (trial, trial.retry()):
            train, held_out = (os.path.join(run.folder, log) for log in (TRAIN_LOG, EVAL_LOG))
            for task in config.task_names:
                name = f"{task}/loss" if len(config.task_names) > 1 else "loss"
                panels[f"{task}: loss"][run.name]["training"] = plots.curve(train, name)
            found = result if run.name == result.trial else trials.read_result(run)
            for dev in devs:
                curve = plots.curve(held_out, f"{dev.name}/loss")
                last = found and found.scores.get(dev.name, {}).get("loss")
                if not curve[0] and last is not None and found.steps:
                    curve = [found.steps], [last]
                kind = "dev" if dev.name == dev.task.name else dev.name
                panels[f"{dev.task.name}: loss"][run.name][kind] = curve
            for kind, name in (("dev", "score"), ("baseline", "baseline")):
                panels[name_of_scores][run.name][kind] = plots.curve(held_out, name)
    return plots.draw_curves(config.model_name, panels)


def _read(splits, name, task, split, sources):
    """Reads a file to predict; unlike in training no row of it is left out."""
    task = dataclasses.replace(
        task, sources={split: tuple(sources)}, skipped_labels=(), skips_short_rows=False
    )
    examples = splits.examples(task, split)
    return TaskSplit(name, task, split, examples, splits.features(task, split, examples))


def _unlabelled(source, *roles):
    """The source without its columns of labels, and of further roles."""
    left_out = ("label", "tags", *roles)
    columns = {role: column for role, column in source.columns.items() if role not in left_out}
    return dataclasses.replace(source, columns=columns)
