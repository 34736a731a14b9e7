"""From a config to the model, the optimizer and the training step it describes."""

from electra.optim import adamw, schedule
from electra.pretrain.model import PretrainingModel
from electra.train.step import PretrainingStep


def build_model(config, vocab, dtype="float32"):
    """Returns the PretrainingModel that a config describes."""
    return PretrainingModel(
        config.encoder,
        config.generator,
        {"cls": vocab.cls_id, "sep": vocab.sep_id, "mask": vocab.mask_id},
        objective=config.objective,
        uniform_generator=config.uniform_generator,
        two_tower_generator=config.two_tower_generator,
        untied_generator=config.untied_generator,
        untied_generator_embeddings=config.untied_generator_embeddings,
        mask_prob=config.mask_prob,
        gen_weight=config.gen_weight,
        disc_weight=config.disc_weight,
        temperature=config.temperature,
        disallow_correct=config.disallow_correct,
        dtype=dtype,
    )


def build_optimizer(config, model, compiled=True):
    """Returns the AdamW with the config's schedule over the model's variables.

    Args: compiled: see adamw.AdamW.
    """

    def learning_rate(step):
        return schedule.learning_rate_at(
            step,
            learning_rate=config.learning_rate,
            num_train_steps=config.num_train_steps,
            num_warmup_steps=config.num_warmup_steps,
            warmup_proportion=config.warmup_proportion,
            lr_decay_power=config.lr_decay_power,
            lr_restart_step=config.lr_restart_step,
        )

    return adamw.AdamW(
        model.named_variables(),
        learning_rate=learning_rate,
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
