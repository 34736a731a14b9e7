"""From a config to the model, the optimizer and the training step it describes."""

from electra.optim import adamw, schedule
from electra.pretrain.model import OPTIONS, PretrainingModel
from electra.pretrain.step import PretrainingStep


def build_model(config, vocab, dtype="float32"):
    """Returns the PretrainingModel that a config describes."""
    return PretrainingModel(
        config.encoder,
        config.generator,
        {"cls": vocab.cls_id, "sep": vocab.sep_id, "mask": vocab.mask_id},
        dtype=dtype,
        **config.values(*OPTIONS),
    )


def build_optimizer(config, model, compiled=True):
    """Returns the AdamW with the config's schedule over the model's variables.

    Args: compiled: see adamw.AdamW.
    """
    shape = config.values(
        "learning_rate",
        "num_train_steps",
        "num_warmup_steps",
        "warmup_proportion",
        "lr_decay_power",
        "lr_restart_step",
    )
    return adamw.AdamW(
        model.variables_by_path(),
        learning_rate=lambda step: schedule.learning_rate_at(step, **shape),
        weight_decay_rate=config.weight_decay_rate,
        compiled=compiled,
    )


def build_step(config, model, optimizer, placement):
    """Returns the PretrainingStep of a run under its placement."""
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
