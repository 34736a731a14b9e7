"""What does a fine-tuned model predict? Labels, numbers, tags or answers.

    python -m electra.serve.predict --model_dir D/models/M/finetuning_models/sst_model_1 \\
        --input new.csv --output predicted.csv

Enters: a fine-tuned model and texts, pairs of texts, sentences, or questions with their texts.
Leaves: the prediction of each.
"""

from absl import flags

from electra.finetune.families import QA, TAGGING
from electra.serve import command
from electra.serve.rows import Column
from electra.serve.views import view_of


def main(_):
    """Writes the predictions of each row."""
    values = flags.FLAGS

    def use_of(model):
        task = model.task(values.task)
        columns = columns_of(task, values)
        roles = [role for role in columns if role != "id"]

        def answer(rows):
            parts = [[row[role] for role in roles if role in row] for row in rows]
            rows = [part[0] if len(part) == 1 else tuple(part) for part in parts]
            return model.predict(rows, task.name, batch_size=values.batch_size)

        texts = dict(zip(roles, (values.text, values.text_b), strict=False))
        if values.text_b and (len(roles) < 2 or len(values.text_b) != len(values.text or [])):
            raise ValueError(
                f"--text_b must be given as often as --text, for a task of pairs. Received: "
                f"{len(values.text or [])} and {len(values.text_b)} for task {task.name!r}"
            )
        return command.Use(columns, answer, view_of(task), texts)

    command.run(values, use_of)


def columns_of(task, values):
    """Returns the columns that a task reads, dict role -> Column: as flags say, else those that it
    was trained on, else the usual ones."""
    trained = {role: _recorded(task, role) for role in ("text_a", "text_b", "id")}
    columns = {"id": command.id_column(values, *trained["id"])}
    if task.family == QA:
        question = Column("question_column", values.question_column, ("question",))
        return {
            "question": question,
            "context": Column("context_column", values.context_column, ("context",)),
            **columns,
        }
    if task.family == TAGGING:
        usual = ("words", "tokens", "text", "sentence")
        text = Column("text_column", values.text_column, usual, may_be_words=True)
        return {"text": text, **columns}
    usual = (*trained["text_b"], "text_b")
    second = Column("text_b_column", values.text_b_column, usual, is_needed=task.has_pairs)
    return {"text": command.text_column(values, *trained["text_a"]), "text_b": second, **columns}


def _recorded(task, role):
    """Returns the names that a role's column has in the files of a task, those to predict first."""
    files = [task.sources[split] for split in ("test", "dev", "train") if split in task.sources]
    names = [source.columns.get(role) for sources in files for source in sources]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def _define_flags():
    command.define_flags()
    text = flags.DEFINE_string
    text("task", None, "Of a model with several tasks, this one.")
    about = "Second text of each --text; where --text is a question, the text that answers it."
    flags.DEFINE_multi_string("text_b", None, about)
    text("text_b_column", None, "Column of the second text.")
    text("question_column", None, "Column of the question.")
    text("context_column", None, "Column of the text that answers it.")


if __name__ == "__main__":
    from electra.cli import run_command

    _define_flags()
    run_command(main, command.BOOLEANS)
