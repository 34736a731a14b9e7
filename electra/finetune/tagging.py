"""Fine-tunes a model on your own sentences with a tag for each word.

    python -m electra.finetune.tagging --model_dir D/models/M --output_dir out \\
        --train_file train.conll --dev_file dev.conll --word_column 0 --tag_column -1

Files: a word a line in columns with tabs or spaces between, a blank line behind each sentence
(CoNLL); also as .gz. Tags mark spans (BIO, IOB or BIOES); with --metrics accuracy they are those of
single words.
"""

from absl import flags

from electra.finetune import command
from electra.finetune.families import TAGGING


def define_flags():
    command.define_flags(TAGGING, "; the first if tags mark spans")
    flags.DEFINE_integer("word_column", 0, "Column of the word, from 0; -1 is the last.")
    flags.DEFINE_integer("tag_column", -1, "Column of the tag, counted as --word_column.")


def row_of(values):
    """Returns the flags as make_task takes them."""
    columns = {"words": values.word_column, "tags": values.tag_column}
    return {"family": TAGGING, "columns": columns}


if __name__ == "__main__":
    define_flags()
    command.main(row_of)
