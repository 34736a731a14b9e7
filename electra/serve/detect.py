"""Which tokens of a text look replaced? The trained discriminator's answer.

    python -m electra.serve.detect --model_dir D/models/M --text "A sentence." --text "Another."
    python -m electra.serve.detect --model_dir D/models/M --input texts.txt --output shaded.html

Enters: a model's folder or checkpoint and texts. Leaves: each token with the probability that it is
not the original one.
"""

from absl import flags

from electra.serve import command
from electra.serve.views import DETECT


def main(_):
    """Writes the scores of each text."""
    values = flags.FLAGS

    def use_of(model):
        model.detect([])  # refuses before anything is read

        def answer(rows):
            return model.detect([row["text"] for row in rows], batch_size=values.batch_size)

        columns = {"text": command.text_column(values), "id": command.id_column(values)}
        return command.Use(columns, answer, DETECT, {"text": values.text})

    command.run(values, use_of)


if __name__ == "__main__":
    from electra.cli import run_command

    command.define_flags()
    run_command(main, command.BOOLEANS)
