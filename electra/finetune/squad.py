"""Fine-tunes a model on your own questions about texts.

    python -m electra.finetune.squad --model_dir D/models/M --output_dir out \\
        --train_file train.json --dev_file dev.json

Files: SQuAD's JSON (.json) or MRQA's JSON lines (.jsonl), also as .gz.
"""

from electra.finetune import command
from electra.finetune.families import QA


def define_flags():
    command.define_flags(QA, "; the first if questions may have no answer")


def row_of(values):
    """Returns the flags as make_task takes them."""
    return {"family": QA}


if __name__ == "__main__":
    define_flags()
    command.main(row_of)
