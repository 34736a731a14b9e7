"""A run's folder: what travels with the model, and the lock that keeps it for one process."""

import contextlib
import os
import shutil

from electra.storage import locked, published, read_json, write_json


def held(folder, does_write):
    """Returns a context manager that keeps other commands' training out of a model's folder.

    Args:
        folder: of a model.
        does_write: whether this process trains and saves; else nothing happens.
    """
    advice = "Wait until that training ends, or choose another model_name or model_dir"
    return locked(folder, advice) if does_write else contextlib.nullcontext()


def write_folder(folder, hparams, vocab_file):
    """Writes hparams.json and vocab.txt, before step 0; a vocabulary that is there stays.

    Args:
        folder: made if missing.
        hparams: dict of JSON values.
        vocab_file: path.
    """
    write_json(os.path.join(folder, "hparams.json"), hparams)
    target = os.path.join(folder, "vocab.txt")
    if not os.path.exists(target):
        with open(vocab_file, "rb") as vocab, published(target) as file:
            shutil.copyfileobj(vocab, file)


def read_hparams(folder, shape=None):
    """Returns the recorded hparams of a folder's run, None without them.

    Args:
        folder: of a model; shape: as in read_json.
    Raises:
        ValueError: they are damaged.
    """
    path = os.path.join(folder, "hparams.json")
    if not os.path.exists(path):
        return None
    advice = "Write it anew from the hparams of that run, or choose another folder"
    return read_json(path, advice, shape)
