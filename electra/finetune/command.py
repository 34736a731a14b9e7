"""What the commands classification, squad and tagging share: flags, and the way to the runner.

Enters: a user's own files as flags. Leaves: a task file beside the results, as run_finetuning.py
takes it, and the run that it would do with it.
"""

import os

from absl import flags, logging

from electra.finetune.tasks import make_task
from electra.hparams import load_hparams, write_json


def define_flags(metrics):
    """Defines the flags that all families have.

    Args:
        metrics: str, what --metrics may be.
    """
    flags.DEFINE_string("train_file", None, "Examples to train on.")
    flags.DEFINE_string("dev_file", None, "Examples to score. Without it nothing is scored.")
    flags.DEFINE_string("test_file", None, "Examples to predict; they need no labels.")
    flags.DEFINE_list("predict_file", None, "More files to predict, with commas between.")
    flags.DEFINE_string(
        "model_dir", None,
        "The pre-trained model: its folder, or a TF1 checkpoint such as electra_small/model.ckpt.",
    )  # fmt: skip
    flags.DEFINE_string("data_dir", None, "Instead of --model_dir: D of D/models/M.")
    flags.DEFINE_string("model_name", None, "Instead of --model_dir: M of D/models/M.")
    flags.DEFINE_string("vocab_file", None, "Vocabulary. Default: vocab.txt beside the model.")
    flags.DEFINE_string(
        "output_dir", None,
        "Folder of scores (results/), models (finetuning_models/) and predictions. Default: the "
        "model's.",
    )  # fmt: skip
    flags.DEFINE_string("name", "my", "Names the task, and what is written of it.")
    flags.DEFINE_list("metrics", None, f"Of {metrics}. The first ranks the trials.")
    flags.DEFINE_string(
        "hparams", "{}",
        'A JSON dict of hparams, or the path of one, e.g. \'{"num_train_epochs": 5, "num_trials": '
        "3}'. python configure_finetuning.py lists them.",
    )  # fmt: skip


def column(text):
    """Returns a column as make_task takes it: a number where the text is one, else a name."""
    return int(text) if text.removeprefix("-").isdecimal() else text


def main(row_of, booleans=()):
    """Runs a family's command; never returns.

    Args:
        row_of: function of absl's flags; returns what make_task takes of a family besides name,
            files and metrics.
        booleans: names of the family's boolean flags.
    """
    from configure_finetuning import FinetuningConfig
    from electra.door import run_door, start_run

    def run(_):
        start_run()
        model_name, data_dir, hparams = settings(flags.FLAGS, row_of(flags.FLAGS))
        config = FinetuningConfig(model_name, data_dir, **hparams)
        from electra.train.finetuning import run_finetuning

        return run_finetuning(config)

    run_door(run, booleans)


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
    pretrained, folder = _model(values)
    output = values.output_dir or folder
    files = {"train": values.train_file, "dev": values.dev_file, "test": values.test_file}
    files = {split: os.path.abspath(path) for split, path in files.items() if path}
    if "train" not in files and hparams.get("do_train") is not False:
        raise ValueError(
            "--train_file is missing. Name the examples to train on, or set do_train to false in "
            "--hparams to use the model that was trained before"
        )
    row = {"name": values.name, **row, "files": files}
    if values.metrics:
        row["metrics"] = values.metrics
    make_task(row, "Command line", "")
    path = os.path.join(output, f"{values.name}_task.json")
    write_json(path, row)
    logging.info("Task file, for run_finetuning.py too: %s", path)
    given = {
        "task_names": [values.name], "task_files": [path], "init_checkpoint": pretrained,
        "output_dir": output, "do_eval": "dev" in files,
    }  # fmt: skip
    if values.vocab_file:
        given["vocab_file"] = values.vocab_file
    if "test" in files:
        given["write_test_outputs"] = True
    if values.predict_file:
        given |= {"do_predict": True, "predict_files": {values.name: values.predict_file}}
    model_folder = os.path.abspath(folder)
    data_dir = values.data_dir or os.path.dirname(model_folder)
    return values.model_name or os.path.basename(model_folder), data_dir, {**given, **hparams}


def _model(values):
    """Returns (folder or checkpoint, folder) of the pre-trained model."""
    by_name = values.data_dir, values.model_name
    if bool(values.model_dir) == any(by_name) or any(by_name) != all(by_name):
        raise ValueError(
            "Which model? Expected: --model_dir, or --data_dir and --model_name. Received: "
            f"model_dir {values.model_dir!r}, data_dir and model_name {by_name}"
        )
    path = values.model_dir or os.path.join(values.data_dir, "models", values.model_name)
    folder = path if os.path.isdir(path) else os.path.dirname(path) or os.curdir
    if not os.path.isdir(path) and not os.path.exists(path.removesuffix(".index") + ".index"):
        raise FileNotFoundError(
            f"No model at {path}. Expected: the folder of a pre-trained model, or the prefix of a "
            "TF1 checkpoint (x for x.index)"
        )
    return path, folder
