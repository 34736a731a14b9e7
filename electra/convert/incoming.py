"""Models of other libraries in: what lies at a path is found out, and becomes a model of ours.

Enters: a folder of Hugging Face or a preset of KerasHub. Leaves: hparams, tensors and vocabulary,
or a folder of ours.
"""

import os

from absl import logging

from electra.convert import heads
from electra.saving import checkpoints
from electra.saving.folder import ModelFolder, write_folder
from electra.saving.tensors import Tensors
from electra.storage import read_json, read_json_dict, write_json
from electra.text.vocab import write_vocab

ELECTRA, TF1, HUGGING_FACE, KERAS_HUB = FORMATS = ("electra", "tf1", "huggingface", "keras_hub")
FOREIGN = (HUGGING_FACE, KERAS_HUB)
DISCRIMINATOR, GENERATOR = "discriminator", "generator"  # folders of a pair
_SHOWN = 6  # names in a message
_SOURCE = "converted_from.json"
_WEIGHTS = (".safetensors", ".bin", ".h5")


def format_of(path):
    """Returns the format of what lies at a path, one of FORMATS.

    Raises:
        ValueError: its config.json is damaged.
    """
    path = os.fspath(path)
    if is_pair(path):
        return HUGGING_FACE
    newest = checkpoints.latest(path) if os.path.isdir(path) else path
    is_official = newest and os.path.exists(newest.removesuffix(".index") + ".index")
    ours, file = TF1 if is_official else ELECTRA, os.path.join(path, "config.json")
    if not os.path.exists(file):
        return ours
    values = read_json_dict(file, "--model", "config.json of a model")
    if "class_name" in values:
        return KERAS_HUB
    is_ours = "model_type" not in values and newest is not None
    return ours if is_ours else HUGGING_FACE


def is_pair(path):
    """Whether a folder holds a pair of Hugging Face: a folder each, as it is written here."""
    return not os.path.exists(os.path.join(path, "config.json")) and os.path.exists(
        os.path.join(path, DISCRIMINATOR, "config.json")
    )


def read(path, generator=None, part=None, task=None):
    """Reads a model of another library.

    Args:
        path: folder of Hugging Face, of a pair of them, or a preset of KerasHub.
        generator: of a discriminator of Hugging Face, the generator's folder.
        part: "discriminator", "generator" or "encoder"; None: all that is there.
        task: what the task of a fine-tuned model is called.
    Returns: (hparams as a dict, tensors as a dict, Vocabulary).
    Raises:
        FileNotFoundError: something is missing. ValueError: damaged, or ours cannot hold it.
    """
    path = os.fspath(path)
    if is_pair(path):
        beside = os.path.join(path, GENERATOR)
        has_generator = generator is None and os.path.exists(os.path.join(beside, "config.json"))
        path, generator = os.path.join(path, DISCRIMINATOR), beside if has_generator else generator
    if format_of(path) == KERAS_HUB:
        from electra.convert import keras_hub  # imports keras_nlp

        return keras_hub.read(path)
    from electra.convert import huggingface

    main = huggingface.open_folder(path)
    other = huggingface.open_folder(generator) if generator else None
    vocab, flags = huggingface.tokenizer_hparams(path, main.config)
    family = heads.family_of(main) if part is None else None
    if family is not None and other is None:
        hparams, tensors = heads.incoming(main, family, task)
    else:
        hparams, tensors = huggingface.pretrained(main, other, part)
    for half in filter(None, (main, other)):
        if unused := half.unused():
            shown = ", ".join(unused[:_SHOWN])
            logging.warning("%s: %d tensors left out: %s", half.path, len(unused), shown)
    return {**hparams, **flags}, tensors, vocab


def as_checkpoint(path, tensors, vocab):
    """Returns the Checkpoint of step 0 that `read` gave the tensors and the vocabulary of."""
    shapes = {name: value.shape for name, value in tensors.items()}
    dtypes = {name: value.dtype.name for name, value in tensors.items()}
    read_only = Tensors(shapes, dtypes, tensors.__getitem__)
    return checkpoints.Checkpoint(path, 0, read_only, {"vocab_sha256": vocab.sha256}, "memory")


def write(folder, hparams, tensors, vocab, step=0):
    """Writes a folder of ours: vocab.txt, hparams.json and a checkpoint.

    Args:
        folder: path; hparams: dict; tensors: dict official name -> array; vocab: Vocabulary;
        step: of the checkpoint.
    """
    path = os.path.join(folder, "vocab.txt")
    write_vocab(path, vocab.tokens)
    write_folder(folder, hparams, path)
    checkpoints.save(folder, step, tensors, {"vocab_sha256": vocab.sha256})


def hparams_of_a_new_run(folder):
    """Returns the hparams with which pre-training starts from the weights of a folder of ours."""
    return {"init_checkpoint": folder, "vocab_file": ModelFolder(folder).vocab_file}


def own_folder(path, folder):
    """Converts a model of another library into a folder, unless it did so before.

    Args:
        path: as of `read`; folder: made if missing.
    Returns: folder.
    """
    record = os.path.join(folder, _SOURCE)
    halves = [os.path.join(path, name) for name in (DISCRIMINATOR, GENERATOR)]
    files = [
        entry
        for place in (halves if is_pair(path) else [path])
        if os.path.isdir(place)
        for entry in os.scandir(place)
        if entry.name.endswith(_WEIGHTS)
    ]
    stats = {entry.path: entry.stat() for entry in files}
    source = {
        "model": os.path.abspath(path),
        "files": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
    }
    if os.path.exists(record) and read_json(record, f"Remove {folder}") == source:
        return folder
    write(folder, *read(path))
    write_json(record, source)
    logging.info("%s: converted into %s", path, folder)
    return folder


def name_of(path):
    """Returns the name of a model at a path; of what `own_folder` wrote, the name it had before."""
    record = os.path.join(path, _SOURCE)
    if os.path.exists(record):
        path = read_json(record, f"Remove {path}", {"model": str})["model"]
    return os.path.basename(os.path.normpath(path))
