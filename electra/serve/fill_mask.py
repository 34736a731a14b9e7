"""Which tokens belong in the place of [MASK]? The trained generator's guesses, or a masked LM's.

    python -m electra.serve.fill_mask --model_dir D/models/M --text "The [MASK] ate the meal."

Enters: a model's folder or checkpoint and texts. Leaves: the best tokens for each mask with their
probabilities.
"""

from absl import flags

from electra.serve import command
from electra.serve.views import FILL_MASK


def main(_):
    """Writes the guesses for each text."""
    values = flags.FLAGS

    def use_of(model):
        model.fill_mask([], values.top_k)  # refuses before anything is read

        def answer(rows):
            texts = [row["text"] for row in rows]
            return model.fill_mask(texts, values.top_k, batch_size=values.batch_size)

        columns = {"text": command.text_column(values), "id": command.id_column(values)}
        return command.Use(columns, answer, FILL_MASK, {"text": values.text})

    command.run(values, use_of)


if __name__ == "__main__":
    from electra.cli import run_command

    command.define_flags()
    flags.DEFINE_integer("top_k", 5, "Guesses for each mask.")
    run_command(main, command.BOOLEANS)
