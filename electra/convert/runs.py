"""Runs that start from a model of another library: it becomes a folder of ours first.

Enters: the settings of a run. Leaves: settings whose init_checkpoint is a folder of ours.
"""

import os

from electra.cli import import_tensorflow_quietly


def from_anywhere(settings, to_pretrain=False):
    """Returns a function like `settings` that takes an init_checkpoint of any format.

    A model of Hugging Face or KerasHub is converted into the folder init_checkpoint of the run's
    own folder, and the run starts from there. Pre-training takes over its sizes and its vocabulary
    where they are not given.

    Args:
        settings: function from flags to (model_name, data_dir, hparams), see cli.start_run.
        to_pretrain: whether the run pre-trains.
    """

    def converted(values):
        name, data_dir, hparams = settings(values)
        home = hparams.get("model_dir" if to_pretrain else "output_dir")
        home = home or os.path.join(data_dir, "models", name)
        start = hparams.get("init_checkpoint") or (None if to_pretrain else home)
        if not isinstance(start, str) or not isinstance(home, str) or not _has_config(start):
            return name, data_dir, hparams
        import_tensorflow_quietly(hparams.get("compilation_cache_dir"))
        from electra.convert import incoming

        if incoming.format_of(start) not in incoming.FOREIGN:
            return name, data_dir, hparams
        folder = incoming.own_folder(start, os.path.join(home, "init_checkpoint"))
        given = incoming.hparams_of_a_new_run(folder) if to_pretrain else {}
        both = {**given, **hparams, "init_checkpoint": folder}
        overrides = "model_hparam_overrides"
        if type(given.get(overrides)) is type(hparams.get(overrides)) is dict:
            both[overrides] = {**given[overrides], **hparams[overrides]}
        return name, data_dir, both

    return converted


def _has_config(path):
    places = (path, os.path.join(path, "discriminator"))
    return any(os.path.exists(os.path.join(place, "config.json")) for place in places)
