"""Fine-tunes a model on your own texts and their label, labels, or scores.

    python -m electra.finetune.classification --model_dir D/models/M --output_dir out \\
        --train_file train.csv --dev_file dev.csv --text_column text --label_column label

Files: tsv, csv (quoted) or JSON lines, also as .gz. A column is named as in the header or the JSON
objects; a number counts from 0 and says that the file has no header.
"""

from absl import flags

from electra.finetune import command
from electra.finetune.families import CLASSIFICATION, FAMILIES, MULTILABEL, REGRESSION


def define_flags():
    others = {"numbers": REGRESSION, "several labels": MULTILABEL}
    others = (f"{what}: {', '.join(FAMILIES[name].metrics)}" for what, name in others.items())
    command.define_flags(CLASSIFICATION, f" ({'; '.join(others)})")
    flags.DEFINE_string("text_column", None, "Column of the text.", required=True)
    flags.DEFINE_string("text_b_column", None, "Column of a second text, for pairs.")
    flags.DEFINE_string("label_column", None, "Column of the label, or of the score.")
    flags.DEFINE_string("id_column", None, "Column that names a row in predictions.")
    about = "The labels are numbers to be met closely: the lowest and the highest, e.g. 0,5."
    flags.DEFINE_list("score_range", None, about)
    about = "A row has any number of labels, with commas between; none too."
    flags.DEFINE_boolean("multi_label", False, about)
    flags.DEFINE_boolean("quoted", None, "Fields stand in quotes. Default: in csv, not in tsv.")


def row_of(values):
    """Returns the flags as make_task takes them."""
    columns = {
        "text_a": values.text_column,
        "text_b": values.text_b_column,
        "label": values.label_column,
        "id": values.id_column,
    }
    row = {"family": REGRESSION if values.score_range else CLASSIFICATION}
    if values.multi_label:
        if values.score_range:
            raise ValueError("--multi_label and --score_range exclude each other. Leave one out")
        row["family"] = MULTILABEL
    row["columns"] = {role: command.column(c) for role, c in columns.items() if c is not None}
    if values.quoted is not None:
        row["quoted"] = values.quoted
    if values.score_range:
        try:
            row["label_range"] = [float(bound) for bound in values.score_range]
        except ValueError:
            raise ValueError(
                f"--score_range must be two numbers, e.g. 0,5. Received: {values.score_range}"
            ) from None
    return row


if __name__ == "__main__":
    define_flags()
    command.main(row_of, ("quoted", "multi_label"))
