"""Sorts texts into labels that a model was not trained on, by natural language inference.

    python -m electra.serve.zero_shot --model_dir D/models/M/finetuning_models/mnli_model_1 \\
        --labels sports,cooking --text "The team won."

Enters: a model fine-tuned on mnli, xnli, ocnli or such, texts and labels. Leaves: the probability
of each label.
"""

from absl import flags

from electra.serve import command
from electra.serve.inputs import HYPOTHESIS
from electra.serve.views import LABELS


def main(_):
    """Writes the labels of each text."""
    values = flags.FLAGS
    names = ("labels", "hypothesis_template", "multi_label", "task", "batch_size")
    names += ("entailment_label", "contradiction_label")
    given = {name: getattr(values, name) for name in names}

    def use_of(model):
        model.zero_shot([], **given)  # refuses before anything is read

        def answer(rows):
            return model.zero_shot([row["text"] for row in rows], **given)

        columns = {"text": command.text_column(values), "id": command.id_column(values)}
        return command.Use(columns, answer, LABELS, {"text": values.text})

    command.run(values, use_of)


def _define_flags():
    command.define_flags()
    text = flags.DEFINE_string
    flags.DEFINE_list("labels", None, "Words or phrases, with commas between.", required=True)
    about = "A sentence in the texts' language, {} in place of the label."
    text("hypothesis_template", HYPOTHESIS, about)
    flags.DEFINE_boolean("multi_label", False, "Each label is judged by itself; none may fit.")
    text("task", None, "Of a model with several tasks, this one.")
    about = "The task's label that means {}. Default: the one called so."
    text("entailment_label", None, about.format("entailment"))
    text("contradiction_label", None, about.format("contradiction") + " For --multi_label.")


if __name__ == "__main__":
    from electra.cli import run_command

    _define_flags()
    run_command(main, (*command.BOOLEANS, "multi_label"))
