"""Brings models in and out: from and to Hugging Face and KerasHub, from the official code.

    python -m electra.convert --model D/models/M --to huggingface --output OUT
    python -m electra.convert --model DISCRIMINATOR --generator GENERATOR --to electra --output OUT

Enters: a model's folder or checkpoint. Leaves: a folder in the other format.
"""

import json

from absl import flags

from electra import next_steps
from electra.cli import import_tensorflow_quietly
from electra.cloud.urls import origin
from electra.hparams import load_hparams

# Flags that publish.formats.convert takes as they are.
_OPTIONS = ("generator", "part", "task", "vocab_file", "records_dir", "with_optimizer")
BOOLEANS = ("with_optimizer", "private")


def define_flags():
    """Defines the command's flags."""
    text = flags.DEFINE_string
    text("model", None, "Folder or checkpoint to convert; --input is the same.", required=True)
    flags.DEFINE_alias("input", "model")
    text("from", None, "Its format: electra, tf1, huggingface or keras_hub. Default: found out.")
    text("to", None, "Format to write: electra, huggingface or keras_hub.", required=True)
    text("output", None, "Folder to write to, empty.", required=True)
    text("generator", None, "Of a Hugging Face pair, the generator's folder.")
    text("part", None, "Only this part: discriminator, generator or encoder.")
    text("task", None, "Of a model fine-tuned on several tasks, this one.")
    text("vocab_file", None, "Vocabulary of a checkpoint without one beside it.")
    text(
        "records_dir",
        None,
        "Folder of the pre-training records, whose manifest the card tells, or "
        "several with commas between them.",
    )
    text("hparams", "{}", "What a TF1 checkpoint does not tell, as JSON.")
    flags.DEFINE_bool("with_optimizer", False, "From tf1: the moments too, to train on.")
    text("push_to_hub", None, "Upload to this repository of Hugging Face: user/model.")
    flags.DEFINE_bool("private", False, "Only its owners see a repository that is made.")


def main(_):
    """Converts, and says where the result lies."""
    values = flags.FLAGS
    import_tensorflow_quietly()
    from electra.convert.incoming import hparams_of_a_new_run
    from electra.publish.formats import convert
    from electra.publish.hub import check_hub, push

    pushes = values.push_to_hub is not None  # "" is a variable of the shell that is not set
    if pushes and values.to != "huggingface":
        raise ValueError(f"--push_to_hub goes with --to huggingface. Received: --to {values.to}")
    if pushes:
        check_hub(values.push_to_hub)
    folders = convert(
        values.model,
        values.to,
        values.output,
        from_=values["from"].value,
        hparams=load_hparams(values.hparams),
        **{name: getattr(values, name) for name in _OPTIONS},
    )
    for folder in folders:
        print(f"Wrote {origin(folder)}", flush=True)
        if values.to == "electra":
            print(f"To pre-train from it, --hparams '{json.dumps(hparams_of_a_new_run(folder))}'")
    if pushes:
        for url in push(folders, values.push_to_hub, values.private):
            print(f"Uploaded to {url}", flush=True)
    next_steps.after_convert(folders[0], values.to)


if __name__ == "__main__":
    from electra.cli import run_command

    define_flags()
    run_command(main, BOOLEANS)
