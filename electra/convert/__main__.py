"""Brings models in and out: from and to Hugging Face and KerasHub.

    python -m electra.convert --model D/models/M --to huggingface --output OUT
    python -m electra.convert --model DISCRIMINATOR --generator GENERATOR --to electra --output OUT

Enters: a model's folder or checkpoint. Leaves: a folder in the other format.
"""

import json

from absl import flags

from electra.cli import import_tensorflow_quietly
from electra.hparams import load_hparams
from electra.saving.folder import MODEL_HPARAMS, ModelFolder


def _define_flags():
    text = flags.DEFINE_string
    text("model", None, "Folder or checkpoint to convert.", required=True)
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


def main(_):
    """Converts, and says where the result lies."""
    import_tensorflow_quietly()
    from electra.convert.formats import convert

    values = flags.FLAGS
    names = ("generator", "part", "task", "vocab_file", "records_dir")
    folders = convert(
        values.model,
        values.to,
        values.output,
        hparams=load_hparams(values.hparams),
        **{name: getattr(values, name) for name in names},
    )
    for folder in folders:
        print(f"Wrote {folder}")
        if values.to == "electra":
            print(f"To pre-train from it, --hparams '{json.dumps(_hparams_of_a_new_run(folder))}'")


def _hparams_of_a_new_run(folder):
    """Returns the hparams with which a run starts from a model's weights."""
    model = ModelFolder(folder)
    recorded, places = model.recorded(), {"init_checkpoint": folder, "vocab_file": model.vocab_file}
    names = (*MODEL_HPARAMS, "untied_generator_embeddings")
    return {**places, **{name: recorded[name] for name in names if name in recorded}}


if __name__ == "__main__":
    from electra.cli import run_command

    _define_flags()
    run_command(main)
