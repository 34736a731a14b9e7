"""The fine-tuning model: one encoder and a head for each task.

Enters: a batch. Leaves: the outputs of the tasks' heads and their summed loss.
"""

import dataclasses

import keras
from keras import ops

from electra.finetune.families import FAMILIES, get_family
from electra.model.config import EncoderConfig
from electra.model.encoder import ElectraEncoder
from electra.model.layers import NamedModel


@keras.saving.register_keras_serializable("electra")
class FinetuningModel(NamedModel):
    """Several tasks share one encoder.

    Args:
        encoder: EncoderConfig.
        heads: dict task -> dict of "kind" (a name in FAMILIES) and that head's arguments. The
            order gives the tasks their task_id.
        scan_layers, recompute_layers: see ElectraEncoder.
        dtype: "float32" or "mixed_bfloat16".
    Raises:
        ValueError: no task, or an unknown kind of head.
    Source: FinetuningModel in run_finetuning.py of the official code.

    >>> model = FinetuningModel(config, {"cola": {"kind": "classification", "num_labels": 2}})
    >>> outputs = model(batch, tasks=["cola"])
    >>> outputs["cola"]["logits"]
    """

    def __init__(
        self,
        encoder,
        heads,
        *,
        scan_layers="auto",
        recompute_layers=False,
        name="finetuning_model",
        dtype="float32",
    ):
        super().__init__(name=name, dtype=dtype, autocast=False)
        if not heads:
            raise ValueError("A fine-tuning model needs at least one task. Received: none")
        options = {"scan_layers": scan_layers, "recompute_layers": recompute_layers, "dtype": dtype}
        self.electra = ElectraEncoder(encoder, **options)
        self.head_arguments = heads
        self.heads = {task: _head(task, **arguments) for task, arguments in heads.items()}
        self.build()

    def build(self, input_shape=None):
        if self.built:
            return
        self.electra.build()
        with keras.name_scope("task_specific"):
            for head in self.heads.values():
                head.build((None, None, self.electra.config.hidden_size))
        self.built = True

    def get_config(self):
        """Returns what from_config makes a model of equal sizes and heads of, as JSON types."""
        return {
            "encoder": dataclasses.asdict(self.electra.config),
            "heads": {task: dict(arguments) for task, arguments in self.head_arguments.items()},
            "scan_layers": self.electra.layers.scan_layers,
            "recompute_layers": self.electra.layers.recompute_layers,
            "name": self.name,
            "dtype": self.dtype_policy.name,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "encoder": EncoderConfig(**config["encoder"])})

    def call(self, batch, tasks=None, *, seed=None, training=False, weights=None):
        """Encodes a batch and applies heads to all its rows.

        Args:
            batch: dict of int32 (B, L) input_ids, input_mask, segment_ids, and the tasks'
                features (see families/); perhaps data/batches.packed's.
            tasks: names of the heads to apply; None for all.
            seed: random.Seed of the dropout; None for none.
            training: whether the QA heads are given the gold start.
            weights: what the encoder's compute_weights returned, or None to cast them anew.
        Returns: dict task -> that head's outputs.
        """
        states = self.electra(
            batch, seed=seed and seed.fold("electra"), weights=weights
        )  # (B, L, H)
        return {
            task: self.heads[task](
                states, batch, seed=seed and seed.fold("head", task), training=training
            )
            for task in tasks or self.heads
        }

    def task_losses(self, batch, outputs):
        """Sums the losses of the rows of each task.

        Args:
            batch: with task_id int32 (B,); a row with another task's id (or -1, padding) adds
                nothing to a task.
            outputs: what `call` returned.
        Returns: list of scalars in the order of outputs. Not means, as the official code: the rates
            are tuned to that.
        """
        ids = {task: i for i, task in enumerate(self.heads)}
        return [
            ops.sum(of_head["loss"] * ops.cast(batch["task_id"] == ids[task], "float32"))
            for task, of_head in outputs.items()
        ]


def _head(task, kind, **arguments):
    if kind not in FAMILIES:
        known = sorted(FAMILIES)
        raise ValueError(f"Task {task!r}: kind must be one of {known}. Received: {kind!r}")
    return get_family(kind).head(task, **arguments)
