"""Defaults of fine-tuning's hparams: of debug, of the pre-trained model, of the tasks' rows.

Enters: the hparams that the user gave. Leaves: values that these win over, or that they must equal.
"""

import dataclasses
import functools

from electra.hparams import checked_record, refuse_unknown
from electra.saving.folder import MODEL_HPARAMS, ModelFolder

# Defaults that go with a model_size: the official ones, and those of the quickstart.
OF_SIZE = {
    "large": {"learning_rate": 5e-5, "layerwise_lr_decay": 0.9},
    "mini": {"learning_rate": 5e-4},
}
# What `debug` stands for; hparams given beside it win.
DEBUG = {
    "num_trials": 1,
    "iterations_per_loop": 1,
    "log_every_steps": 1,
    "train_batch_size": 32,
    "num_train_epochs": 3.0,
    "use_tfrecords_if_existing": False,
    "log_examples": True,
    "from_scratch": True,
}
# Fields of EncoderConfig that fine-tuning may change: they are no sizes.
_RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A pre-trained model: `path` of its checkpoint, or of a folder of checkpoints."""

    path: str

    @property
    def folder(self):
        return ModelFolder.of(self.path).path

    @functools.cached_property
    def recorded(self):
        """The hparams of the pre-training run, a dict; {} where it left none (TF1)."""
        return ModelFolder.of(self.path).recorded() or {}

    def defaults(self, given, fields):
        """Returns the hparams that the model has fixed, and those that suit its size.

        Args:
            given: dict, hparams of the user; fields: dict name -> Field.
        Raises:
            ValueError: `given` contradicts the model, or the record is damaged.
        """
        fixed = checked_record(self.recorded, MODEL_HPARAMS, fields, self.folder)
        if given.get("from_scratch") is not True:
            self._refuse(
                (name, given[name], value)
                for name, value in fixed.items()
                if name != "model_hparam_overrides" and given.get(name) not in (None, value)
            )
        return fixed | OF_SIZE.get(given.get("model_size", fixed.get("model_size")), {})

    def overrides(self, config):
        """Returns a FinetuningConfig's model_hparam_overrides added to the model's."""
        if config.from_scratch and "model_hparam_overrides" in config.given:
            return config.model_hparam_overrides
        return {**self.recorded.get("model_hparam_overrides", {}), **config.model_hparam_overrides}

    def check_encoder(self, config, encoder):
        """Refuses an encoder of other sizes; rates of dropout may be other than in pre-training.

        Args:
            config: FinetuningConfig; encoder: EncoderConfig that it makes.
        Raises:
            ValueError: a size differs.
        """
        if not self.recorded or config.from_scratch:
            return
        before = config.make_encoder(self.recorded.get("model_hparam_overrides", {}))
        self._refuse(
            (name, getattr(encoder, name), value)
            for name, value in sorted(dataclasses.asdict(before).items())
            if name not in _RATES and getattr(encoder, name) != value
        )

    def _refuse(self, differing):
        """Raises a ValueError if there are any; of each its name, as given, as the model has it."""
        wrong = [
            f"hparam {name!r} is {given!r}, but the model in {self.path} was pre-trained with "
            f"{value!r}"
            for name, given, value in differing
        ]
        if wrong:
            raise ValueError(f"{'; '.join(wrong)}. Leave it out: it is taken over")


def defaults_of_tasks(tasks, fields):
    """Returns the hparams of the tasks' rows; of several tasks the longest length only.

    Args:
        tasks: list of Task; fields: dict name -> Field.
    Raises:
        ValueError: a row names an hparam that no task has, or gives an impossible value.
    """
    allowed = sorted(name for name, field in fields.items() if field.of_task)
    for task in tasks:
        where = f"Task {task.name!r}: "
        refuse_unknown(task.hparams, fields, f"{where}hparam")
        if wrong := sorted(set(task.hparams) - set(allowed)):
            raise ValueError(
                f"{where}{wrong} are no task's. Give them with --hparams. Expected of a task: "
                f"{', '.join(allowed)}"
            )
        for name, value in task.hparams.items():
            try:
                fields[name].checked(name, value)
            except ValueError as error:
                raise ValueError(f"{where}{error}") from None
    if len(tasks) == 1:
        return dict(tasks[0].hparams)
    lengths = [task.hparams.get("max_seq_length", 0) for task in tasks]
    return {"max_seq_length": max(*lengths, fields["max_seq_length"].default)}
