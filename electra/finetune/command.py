"""What the commands classification, squad and tagging share: flags, and the way to the runner.

Enters: a user's own files as flags. Leaves: a task file beside the results, as run_finetuning.py
takes it, and the run that it would do with it.
"""

import os

from absl import flags, logging

from electra import next_steps
from electra.cloud import mirror
from electra.cloud.files import fetched
from electra.cloud.urls import working_copy
from electra.finetune.config import FinetuningConfig
from electra.finetune.families import FAMILIES
from electra.finetune.task_files import make_task
from electra.hparams import load_hparams
from electra.storage import write_json

_DEV_FRACTION = FinetuningConfig.fields["dev_fraction"]
flags.disclaim_key_flags()  # --help shows them with the command that calls define_flags

_TEXTS = {
    "train_file": (None, "Examples to train on."),
    "dev_file": (None, "Examples to score. Without it: see --dev_fraction."),
    "test_file": (None, "Examples to predict; they need no labels."),
    "model_dir": (None, "The pre-trained model: its folder, or a TF1 checkpoint (x of x.index)."),
    "vocab_file": (None, "Vocabulary. Default: vocab.txt beside the model."),
    "output_dir": (None, "Folder of scores, models and predictions. Default: the model's."),
    "name": ("my", "Names the task, and what is written of it."),
    "hparams": ("{}", "A JSON dict of hparams, or the path of one: see configure_finetuning.py."),
}


def define_flags(family, about_metrics):
    """Defines the flags that families share.

    Args:
        family: a name in FAMILIES.
        about_metrics: str, what to know of them.
    """
    for name, (default, about) in _TEXTS.items():
        flags.DEFINE_string(name, default, about, required=name == "model_dir")
    about = (
        "Share of --train_file to score on, not to learn, where there is no --dev_file. 0: none."
    )
    flags.DEFINE_float("dev_fraction", None, f"{about} Default: {_DEV_FRACTION.default}.")
    metrics = f"{', '.join(FAMILIES[family].metrics)}{about_metrics}"
    lists = {"metrics": f"Of {metrics}. The first ranks the trials."}
    lists["predict_file"] = "More files to predict, with commas between."
    if FAMILIES[family].labels:
        lists["labels"] = "All labels. Default: those of the files."
    for name, about in lists.items():
        flags.DEFINE_list(name, None, about)
    formats = list(FAMILIES[family].formats)
    if len(formats) > 1:
        flags.DEFINE_enum("format", None, formats, "Of the files. Default: as their names end.")


def column(text):
    """Returns a column as make_task takes it: a number where the text is one, else a name."""
    is_number = text.removeprefix("-").isdecimal() and len(text) < 10  # longer ones are names
    return int(text) if is_number else text


def main(row_of, booleans=()):
    """Runs a family's command; never returns.

    Args:
        row_of: function of absl's flags; returns what make_task takes of a family besides what
            all families have.
        booleans: names of the family's boolean flags.
    """
    from electra.cli import end_run, run_command, start_run

    def run(_):
        config = start_run(FinetuningConfig, lambda values: settings(values, row_of(values)))
        from electra.finetune.runner import run_finetuning

        result = run_finetuning(config)
        status = end_run(result)
        next_steps.after_finetuning(config, result)
        return status

    run_command(run, booleans)


def settings(values, row):
    """Turns flags into what FinetuningConfig takes, and writes the task file that it names.

    Args:
        values: absl's flags, or what has such attributes.
        row: dict, as main's row_of returns it.
    Returns: (model_name, data_dir, hparams).
    Raises:
        ValueError: flags contradict each other, or make no task.
        FileNotFoundError: no such model.
    """
    hparams = load_hparams(values.hparams)
    for name in {"task_names", "task_files"} & set(hparams):
        raise ValueError(f"--hparams: {name!r} belongs to run_finetuning.py. Use --name and flags")
    model_dir = working_copy(values.model_dir)
    mirror.pull_model(model_dir)
    folder = _folder_of(model_dir)
    output = working_copy(values.output_dir or folder)
    files = {"train": values.train_file, "dev": values.dev_file, "test": values.test_file}
    files = {split: os.path.abspath(fetched(path)) for split, path in files.items() if path}
    if "train" not in files and hparams.get("do_train") is not False:
        raise ValueError(
            "--train_file is missing. Name it, or set do_train to false in --hparams to use the "
            "model that was trained before"
        )
    fraction = values.dev_fraction
    if "dev" in files and fraction is not None:
        raise ValueError("--dev_file and --dev_fraction exclude each other. Leave one out")
    if not files and values.predict_file:  # they say how what is predicted is laid out
        files = {"test": os.path.abspath(fetched(values.predict_file[0]))}
    if fraction is not None:
        _DEV_FRACTION.checked("--dev_fraction", fraction)
    row = {"name": values.name, **row, "files": files}
    shared = {name: getattr(values, name, None) for name in ("metrics", "labels", "format")}
    row |= {name: value for name, value in shared.items() if value is not None}
    if fraction is not None:
        row["hparams"] = {"dev_fraction": fraction}
    make_task(row, "Command line", "")
    fraction = hparams.get("dev_fraction", _DEV_FRACTION.default if fraction is None else fraction)
    use = "" if "train" in files else "_reuse"  # the task that was trained stays
    path = os.path.join(output, f"{values.name}{use}_task.json")
    write_json(path, row)
    mirror.push_file(path)
    logging.info("Task file, for run_finetuning.py too: %s", path)
    given = {
        "task_names": [values.name],
        "task_files": [path],
        "init_checkpoint": model_dir,
        "output_dir": output,
        "do_eval": "dev" in files or ("train" in files and bool(fraction)),
    }
    if values.vocab_file:
        given["vocab_file"] = values.vocab_file
    if values.test_file:
        given["write_test_outputs"] = True
    if values.predict_file:
        given |= {"do_predict": True, "predict_files": {values.name: values.predict_file}}
    data_dir, model_name = os.path.split(os.path.abspath(folder))
    return model_name, data_dir, {**given, **hparams}


def _folder_of(path):
    """Returns the folder of the pre-trained model, which is one or holds a checkpoint."""
    folder = path if os.path.isdir(path) else os.path.dirname(path) or os.curdir
    if not os.path.isdir(path) and not os.path.exists(path.removesuffix(".index") + ".index"):
        raise FileNotFoundError(
            f"No model at {path}. Expected: the folder of one, or a TF1 checkpoint (x of x.index)"
        )
    return folder
