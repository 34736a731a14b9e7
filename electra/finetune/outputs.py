"""What a fine-tuning run writes besides its scores: predictions and plots.

Enters: a run with its weights loaded. Leaves: submissions of the test files, predictions of a
user's own files, and of the dev files what the best trial says: SQuAD's files and plots.
"""

import copy
import dataclasses
import functools
import math
import os

from absl import logging

from electra.finetune import plots, trials
from electra.finetune import predictions as writers
from electra.finetune.families import family
from electra.finetune.run_data import Dev
from electra.finetune.tasks import TASKS
from electra.saving import checkpoints
from electra.storage import file_digest
from electra.train.logs import write_summaries


def read_tests(data):
    """Reads the test files of a run's tasks, and of tasks that are predicted with their models.

    Args:
        data: FinetuningData.
    Returns: list of Dev; a test file that is missing is logged and left out.
    Raises:
        FileNotFoundError: there is none at all. ValueError: one cannot be read.
    """
    found, missing = [], []
    for task in data.tasks:
        for row in [task, *(row for row in TASKS.values() if row.model_of == task.name)]:
            asked = dataclasses.replace(row, name=task.name, labels=task.labels)
            for split in [each for each in row.sources if each.startswith("test")]:
                sources = [_unlabelled(source) for source in row.sources[split]]
                try:
                    each = _read(data.splits, f"{row.name}{split[4:]}", asked, split, sources)
                    found.append(each)
                except FileNotFoundError as error:
                    missing.append(str(error))
    if not found:
        raise FileNotFoundError(
            f"write_test_outputs: no test file. {' '.join(missing) or 'The tasks name none'}"
        )
    for error in missing:
        logging.warning("%s. It is not predicted", error)
    return found


def read_files(data, predict_files):
    """Reads the files to predict.

    Args:
        data: FinetuningData.
        predict_files: dict task name -> list of paths. A file that is named like one of the
            task's own has its layout, another that of its test file, or else of its dev file.
    Returns: list of Dev; the names are those of the predictions.
    Raises: as readers.read_examples.
    """
    splits = copy.copy(data.splits)
    splits.cache_folder = None
    language, found = splits.reading["language"], {}
    for task in data.tasks:
        order = sorted(task.sources, key=lambda split: (not split.startswith("test"), split))
        known = [source for split in order for source in task.sources[split]]
        for path in predict_files.get(task.name, ()):
            file = os.path.basename(path).removesuffix(".gz")
            names = [os.path.basename(each.path.replace("{language}", language)) for each in known]
            source = _unlabelled(known[names.index(file) if file in names else 0], "language")
            source = dataclasses.replace(source, path=os.path.abspath(path))
            name = f"{task.name}_{os.path.splitext(file)[0]}"
            if name in found:
                raise ValueError(f"predict_files: {path} is the second {file}. Rename one")
            found[name] = _read(splits, name, task, "test", [source])
    return list(found.values())


def write_trial(run, trial, record, predictions, finished):
    """Writes all that a trial, whose weights are loaded, predicts and draws.

    Args:
        run: Finetuning; trial: Trial.
        record: of it, with its scores; gets its test_outputs.
        predictions: dict name of a Dev -> its predictions, written if no trial before was better.
        finished: records of the trials before.
    """
    devs, figures = run.data.dev, {}
    if devs and not trial.is_retry:
        ranks = [trials.rank(each, devs) for each in finished]
        if trials.rank(record, devs) > max(ranks, default=-math.inf):
            figures = write_dev(run, record, predictions)
    if devs or run.config.do_train:
        write_summary(run, trial, record, figures)
    if lacks_tests(run, trial, {}):
        write_tests_of(run, trial, record)


def lacks_tests(run, trial, record):
    """Whether a trial has to predict the test files, and its record does not say that it did."""
    is_asked = run.tests and not trial.is_retry and int(trial.name) <= run.config.n_writes_test
    if not is_asked or has_tests(run, f"trial_{trial.name}", record):
        return False
    has_model = checkpoints.latest(trial.folder) is not None
    if not has_model:
        logging.warning("%s holds no model to predict the test files with", trial.folder)
    return has_model


def write_tests_of(run, trial, record):
    """Writes what a trial, whose weights are loaded, predicts for the test files; records it."""
    predicted = (predict(run, test) for test in run.tests)
    record["test_outputs"] = write_tests(run, f"trial_{trial.name}", predicted)


def has_tests(run, name, record):
    """Whether a record says that the test files, as they are, were predicted, and where."""
    described = _described_tests(run, name)
    return record.get("test_outputs") == described and os.path.isdir(described["folder"])


def write_tests(run, name, predicted):
    """Writes predictions of the test files, each as its leaderboard wants it, or as JSON lines.

    Args:
        run: Finetuning.
        name: of the folder in test_predictions.
        predicted: iterable, the predictions of run.tests.
    Returns: what a record says of them as "test_outputs": folder, and dict files of what is
        predicted -> its SHA-256.
    """
    described = _described_tests(run, name)
    folder = described["folder"]
    threshold = run.config.qa_na_threshold
    for test, predictions in zip(run.tests, predicted, strict=True):
        task, name = test.task, test.task.leaderboard.get(test.split, "")
        of_family = family(task.family)
        if not name:
            stem = os.path.join(folder, test.name)
            of_family.write_predictions(stem, task, test.examples, predictions, threshold)
            continue
        values = of_family.labels_of(task, test.examples, predictions)
        if name.endswith(".tsv"):
            missing = writers.write_glue(folder, task, test.split, values)
            logging.info("%s of %s; it lacks: %s", writers.GLUE_ZIP, folder, missing or "nothing")
        else:
            writers.write_clue(folder, task, test.split, values, [e.id for e in test.examples])
    logging.info("Predictions of the test files: %s", folder)
    return described


def write_files(run):
    """Writes what the weights of a run predict for the user's files, a row an example, in order."""
    for each in run.files:
        predictions = predict(run, each)
        rows = family(each.task.family).rows(
            each.task, each.examples, predictions, run.config.qa_na_threshold
        )
        path = os.path.join(run.config.test_predictions, f"{each.name}.jsonl")
        writers.write_rows(path, each.examples, rows)
        logging.info("Predictions: %s", path)


def write_dev(run, record, predictions):
    """Writes what the families say of the dev files, such as SQuAD's files.

    Args:
        run: Finetuning.
        record: of the trial, with its scores.
        predictions: dict name of a Dev -> its predictions.
    Returns: dict name -> function that draws a Figure.
    """
    figures = {}
    for dev in run.data.dev:
        of_family, scores = family(dev.task.family), record["scores"][dev.name]
        of_family.write_dev(run.config, dev, predictions[dev.name], scores)
        drawn = of_family.figures(dev, predictions[dev.name], scores)
        figures |= {f"{dev.name}_{name}": draw for name, draw in drawn.items()}
    return figures


def write_summary(run, trial, record, figures):
    """Shows a trial's scores and plots in TensorBoard, these also as PNGs beside the results.

    Args:
        run: Finetuning; trial: Trial; record: of it.
        figures: as write_dev returns them; the learning curves of all trials so far are added.
    """
    stem, images = os.path.splitext(run.config.results_txt)[0].removesuffix("_results"), {}
    drawn = {**figures, "learning_curves": functools.partial(_learning_curves, run.config)}
    for name, draw in drawn.items():
        path = f"{stem}_{name}.png"
        try:
            images[name] = plots.write_png(path, draw())
        except Exception as error:  # whatever it is, no plot is worth a run
            logging.warning("%s is not drawn. %s: %s", path, type(error).__name__, error)
    numbers = {
        f"scores/{name}/{metric}": value
        for name, scores in record["scores"].items()
        for metric, value in scores.items()
    }
    write_summaries(trial.folder, record.get("steps", 0), numbers, images)


def predict(run, each):
    """Returns what the weights of a run predict for a Dev of its test files or the user's."""
    return run.predict(each.task, each.examples, each.features, run.config.predict_batch_size)[0]


def _learning_curves(config):
    curves = {
        each.name: plots.learning_curve(each.folder)
        for trial in trials.planned(config)
        for each in (trial, trial.retry())
    }
    curves = {name: curve for name, curve in curves.items() if curve[0]}
    return plots.draw_curves(", ".join(config.task_names), curves)


def _described_tests(run, name):
    find = run.data.splits.find
    files = {test.name: file_digest(find(test.task, test.split)[0]) for test in run.tests}
    return {"folder": os.path.join(run.config.test_predictions, name), "files": files}


def _read(splits, name, task, split, sources):
    """Reads a file to predict; unlike in training no row of it is left out."""
    task = dataclasses.replace(
        task, sources={split: tuple(sources)}, skipped_labels=(), skips_short_rows=False
    )
    examples = splits.examples(task, split)
    return Dev(name, task, split, examples, splits.features(task, split, examples))


def _unlabelled(source, *roles):
    """The source without its columns of labels, and of further roles."""
    left_out = ("label", "tags", *roles)
    columns = {role: each for role, each in source.columns.items() if role not in left_out}
    return dataclasses.replace(source, columns=columns)
