"""Runs that start from a model of another library: it becomes a folder of ours first.

Enters: the hparams of a run. Leaves: hparams whose init_checkpoint is a folder of ours.
"""

import os

from electra.cli import import_tensorflow_quietly


def from_anywhere(hparams, home, start, to_pretrain):
    """Returns the hparams of a run whose init_checkpoint may be of any format.

    A model of Hugging Face or KerasHub is converted into the folder init_checkpoint of the run's
    own folder, unless it was before, and the run starts from there. Pre-training takes over its
    vocabulary where none is given; its sizes stand in that folder.

    Args:
        hparams: dict, as given.
        home: the run's own folder.
        start: path of the model to start from, or None.
        to_pretrain: whether the run pre-trains.
    Raises:
        FileNotFoundError, ValueError: as incoming.read.
    """
    if not isinstance(start, str) or not isinstance(home, str) or not _has_config(start):
        return hparams
    import_tensorflow_quietly(hparams.get("compilation_cache_dir"))
    from electra.convert import incoming

    if incoming.format_of(start) not in incoming.FOREIGN:
        return hparams
    folder = incoming.own_folder(start, os.path.join(home, "init_checkpoint"))
    places = incoming.hparams_of_a_new_run(folder) if to_pretrain else {}
    return {**places, **hparams, "init_checkpoint": folder}


def _has_config(path):
    places = (path, os.path.join(path, "discriminator"))
    return any(os.path.exists(os.path.join(place, "config.json")) for place in places)
