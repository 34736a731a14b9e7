"""What a run that goes on may change, what it takes over, and what must be as it was.

Enters: the config of a command and what a model's folder recorded. Leaves: the config to go on
with, or an error that names every difference.
"""

import os

from absl import logging

from electra.hparams import checked_record
from electra.saving.folder import ModelFolder
from electra.text.vocab import read_vocab

# Hparams that a run finds out when it begins: going on takes them over unless they are given.
_RESOLVED = ("precision", "generator_hidden_size", "generator_layers", "record_order")
# What runs had that began before an hparam was, where that is not its default now.
_BEFORE = {"record_order": "permutation"}
# What a row has in common with the model that was trained on it.
_TASK_OF_MODEL = ("family", "labels", "label_range")


def refused_changes(fields, recorded, now):
    """Lists the changes of hparams that are not allowed when a run goes on.

    Args:
        fields: dict name -> Field.
        recorded: dict, `to_json()` of the run so far; a name it lacks counts as its default.
        now: dict, `to_json()` of the command that goes on.
    Returns: list of sentences, one per refused change; empty if the run may go on.
    """
    refused = []
    for name, field in fields.items():
        before, after = recorded.get(name, field.default), now.get(name, field.default)
        if not field.may_change and before != after:
            refused.append(f"hparam {name!r} was {before!r:.200} and is now {after!r:.200}")
    return refused


def resumed(config, recorded, folder, refused_changes=refused_changes):
    """Returns the config with which a run goes on.

    Training may change hparams with `may_change` only. Without do_train nothing is refused: all
    others, and those that shape an evaluation, are taken from the record unless they are given.

    Args:
        config: RunConfig.
        recorded: dict, `to_json()` of the run so far; None without a record: nothing changes.
        folder: of the run.
        refused_changes: function from the fields and what was and is recorded to a list of
            sentences.
    Raises:
        ValueError: an hparam that may not change is another; all of them are named. A value to
            take is impossible.
    """
    if recorded is None:
        return config
    recorded = {**_BEFORE, **recorded}
    names = [name for name in _RESOLVED if name in config.fields]
    if not config.do_train:
        names = [name for name, field in config.fields.items() if not field.may_change]
        names += config.shape_evaluation
    own = {name for name in config.given if getattr(config, name) != "auto"}
    names = [name for name in names if name not in own]
    result = config.replace(**checked_record(recorded, names, config.fields, folder))
    refused = refused_changes(config.fields, recorded, result.to_json()) if config.do_train else []
    if refused:
        kind = "pretraining" if config.pretrains else "finetuning"
        raise ValueError(
            f"{folder} holds a run with other hparams: {'; '.join(refused)}. Go on with the old "
            f"values, choose another {config.folder_hparam}, or remove the folder to begin anew. "
            f"python3 configure_{kind}.py shows which may change"
        )
    return result


def fit_generator(config, fractions, checkpoint):
    """Returns a config with the sizes of a checkpoint's generator where the user gave none.

    Args:
        config: PretrainingConfig with a generator.
        fractions: its hidden size and its layers, of the discriminator's.
        checkpoint: path, for messages.
    Raises:
        ValueError: the user gave a fraction that makes another size.
    """
    before, changed = config.generator, {}
    if config.encoder.shares_layers or before.shares_layers:
        fractions = fractions[0], config.generator_layers  # tensors that are shared do not tell
    fitted = config.make_generator(*fractions)
    names = ("generator_hidden_size", "generator_layers")
    for name, fraction, size in zip(
        names, fractions, ("hidden_size", "num_hidden_layers"), strict=True
    ):
        if getattr(fitted, size) == getattr(before, size):
            continue
        change = f"{name} {getattr(config, name):g} -> {fraction:g}"
        if name in config.given:
            raise ValueError(
                f"The checkpoint's generator has {size} {getattr(fitted, size)}, the hparams "
                f"make {getattr(before, size)}: {change}. Leave {name} out to take it over"
            )
        logging.info("%s: %s, as its shapes say", checkpoint, change)
        changed[name] = float(fraction)
    return config.replace(**changed) if changed else config


def check_vocab(vocab, vocab_file, folder, checkpoint=None, advice="Leave vocab_file out"):
    """Compares a run's vocabulary with the one that a model was trained with.

    Args:
        vocab: Vocabulary; vocab_file: its path.
        folder: of the model, perhaps with a vocab.txt.
        checkpoint: Checkpoint of the model, perhaps with the vocabulary's digest; None for none.
        advice: what to do.
    Raises:
        ValueError: it is another vocabulary.
    """
    beside = ModelFolder(folder).vocab_file
    if os.path.exists(beside) and read_vocab(beside).sha256 != vocab.sha256:
        raise ValueError(
            f"{vocab_file} is not the vocabulary this model was trained with, {beside}. {advice}"
        )
    if checkpoint is not None:
        checkpoint.check_vocab(vocab, vocab_file)


def check_inputs(inputs, recorded, folder):
    """Refuses to count a trial that learnt from, or was scored on, other contents.

    Args:
        inputs: dict what is read -> its SHA-256; recorded: as it was.
        folder: of the trial.
    Raises:
        ValueError: contents changed; all that did are named.
    """
    changed = [name for name, now in inputs.items() if recorded.get(name, now) != now]
    if changed:
        raise ValueError(
            f"{folder} holds a trial with other contents of: {', '.join(changed)}. To train "
            "anew choose another output_dir or model_dir; to go on put the old "
            "contents back; do_train false scores the model that is there"
        )


def check_tasks(tasks, recorded, folder, do_train):
    """Compares the tasks' rows with those of a model's folder.

    Args:
        tasks, recorded: lists of dicts, the rows now and as the folder has them.
        folder: for messages.
        do_train: whether the run trains; without training only labels must be as they were.
    Raises:
        ValueError: labels or layout of a task differ.
    """
    rows = {task["name"]: _identity(task) for task in recorded}
    for task in map(_identity, tasks):
        before = rows.get(task["name"], {})
        for name in task if do_train else _TASK_OF_MODEL:
            if before.get(name) != task[name]:
                raise ValueError(
                    f"{folder} holds a model of another task {task['name']!r}: {name} was "
                    f"{before.get(name)!s:.200} and is now {task[name]!s:.200}. Go on with the "
                    "old one, or choose another output_dir or model_dir"
                )


def _identity(row):
    """Returns what makes a task's row another: not where its files lie, whose contents digests
    compare, nor its hparams, which are compared as the run's."""
    kept = {name: value for name, value in row.items() if name not in ("folder", "hparams")}
    kept["sources"] = {
        split: [{key: source[key] for key in source if key != "path"} for source in sources]
        for split, sources in row["sources"].items()
        if not split.startswith("test")
    }
    return kept
