"""From a config to the model, the optimizer and the training step it describes."""

import functools
import math
import re

from electra.model.config import MODEL_SIZES
from electra.optim import adamw, schedule
from electra.pretrain.model import OPTIONS, PretrainingModel
from electra.pretrain.phases import phases_of
from electra.pretrain.step import PretrainingStep

_SCHEDULE = (
    "learning_rate",
    "num_train_steps",
    "num_warmup_steps",
    "warmup_proportion",
    "lr_decay_power",
    "lr_restart_step",
)


def build_model(config, vocab, dtype="float32"):
    """Returns the PretrainingModel that a config describes."""
    return PretrainingModel(
        config.encoder,
        config.generator,
        {"cls": vocab.cls_id, "sep": vocab.sep_id, "mask": vocab.mask_id},
        dtype=dtype,
        **config.values(*OPTIONS),
    )


def describe_sizes(config, model):
    """Returns the parameter counts of a PretrainingModel in words, and the width of its tables
    where an overridden hidden_size made it another than the size's own."""
    counts = {name: math.prod(v.shape) for name, v in model.named_variables().items()}
    own, total = "electra/|discriminator_predictions/", sum(counts.values())
    first = sum(count for name, count in counts.items() if re.match(own, name))
    if config.objective == "mlm":
        text = f"Parameters: masked LM {total:,}"
    else:
        text = (
            f"Parameters: discriminator {first:,}, generator {total - first:,} of its own, "
            f"together {total:,}"
        )
    size, encoder = MODEL_SIZES[config.model_size], config.encoder
    usual = size.get("embedding_size", size["hidden_size"])
    is_given = "embedding_size" in {*config.given, *config.model_hparam_overrides}
    if usual != encoder.embedding_size == encoder.hidden_size and not is_given:
        text += (
            f". embedding_size follows hidden_size: {encoder.embedding_size}, {config.model_size} "
            f"has {usual}"
        )
    return text


def short_of_warmup(config):
    """Returns a warning where a phase ends before its rate is up, "" where none does."""
    for phase in phases_of(config):
        own = phase.config
        steps = own.num_train_steps - own.lr_restart_step
        warmup = max(steps * own.warmup_proportion, own.num_warmup_steps)
        if warmup >= steps:
            return (
                f"The warm-up of {warmup:.0f} steps is no shorter than the run of {steps}: the "
                f"rate never comes near learning_rate {own.learning_rate:g}. Set fewer "
                "num_warmup_steps"
            )
    return ""


def build_optimizer(config, model, compiled=True):
    """Returns the AdamW with the schedules of the config's phases over the model's variables.

    Args: compiled: see adamw.AdamW.
    """
    schedules = {
        phase.first_step: functools.partial(
            schedule.learning_rate_at, **phase.config.values(*_SCHEDULE)
        )
        for phase in phases_of(config)
    }
    return adamw.AdamW(
        model.variables_by_path(),
        learning_rate=lambda step: schedule.rate_of_parts(step, schedules),
        weight_decay_rate=config.weight_decay_rate,
        compiled=compiled,
    )


def build_step(config, model, optimizer, placement):
    """Returns the PretrainingStep of a run, or of a phase, under its placement."""
    return PretrainingStep(
        model,
        optimizer,
        seed=config.seed,
        global_batch=config.train_batch_size,
        num_slots=config.max_predictions_per_seq,
        micro_batches=config.gradient_accumulation_steps,
        num_replicas=placement.num_replicas,
        compile_step=placement.compile_step,
    )
