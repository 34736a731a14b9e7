"""Defaults of pre-training's hparams: of debug, of a size, of what a model and records know.

Enters: the hparams that the user gave. Leaves: values that these win over.
"""

import dataclasses
import glob
import os

from electra.cli import import_tensorflow_quietly
from electra.cloud import store
from electra.cloud.urls import is_url
from electra.data.manifest import MANIFEST_NAME, manifests_of
from electra.hparams import checked_record, damaged_record
from electra.model.config import MODEL_SIZES, encoder_config
from electra.saving import checkpoints
from electra.saving.folder import MODEL_HPARAMS, ModelFolder
from electra.saving.shapes import infer_hparams

# What `debug` stands for; hparams given beside it win.
DEBUG = {
    "train_batch_size": 8,
    "num_train_steps": 20,
    "eval_batch_size": 4,
    "iterations_per_loop": 1,
    "num_eval_steps": 2,
    "log_every_steps": 1,
}
# What a model_size brings beside its network; hparams given, and what the records are, win.
OF_SIZE = {
    "mini": {  # minutes on a laptop
        "generator_hidden_size": 0.5,
        "max_seq_length": 32,
        "train_batch_size": 128,
        "learning_rate": 5e-4,
        "num_warmup_steps": 200,
        "num_train_steps": 5000,
        "iterations_per_loop": 50,
        "eval_every_steps": 1000,
        "save_checkpoints_steps": 1000,
        "keep_checkpoint_max": 2,
    },
}
OVERRIDES = "model_hparam_overrides"
OF_MODEL = (*MODEL_HPARAMS, "untied_generator_embeddings")
_OF_RECORDS = ("max_seq_length", "vocab_size", "do_lower_case", "strip_accents")
_NEEDED = ("model_size", "vocab_size")  # to know a network's sizes
# Sizes without which a checkpoint's tensors do not fit, and what they mean; layers may be others.
_SIZES = (
    *("vocab_size", "embedding_size", "hidden_size", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size", "num_attention_heads"),
)


def defaults(hparams, fields, home, patterns):
    """Returns the defaults of a run as a dict.

    What its own folder recorded goes before what its records are, these before what
    init_checkpoint was trained with; the network is that of a checkpoint.

    Args:
        hparams: dict, as given, each checked.
        fields: dict name -> Field.
        home: the run's own folder.
        patterns: those of its records, of training first.
    Raises:
        ValueError: a record or manifest is damaged.
    """
    known = {}
    if not {*OF_MODEL, "max_seq_length"} <= set(hparams):  # else all is given
        known = _known(hparams, fields, home, patterns)
    size = hparams.get("model_size", known.get("model_size", fields["model_size"].default))
    if size != known.get("model_size", size):
        for name in ("embedding_size", OVERRIDES):  # of another size
            known.pop(name, None)
    if hparams.get("do_lower_case") not in (None, known.get("do_lower_case")):
        known.pop("strip_accents", None)
    return {**OF_SIZE.get(size, {}), **known, **(DEBUG if hparams.get("debug") is True else {})}


def _known(hparams, fields, home, patterns):
    records = of_records(patterns, fields)
    cache = hparams.get("compilation_cache_dir")
    if newest_checkpoint(home, cache):
        return {**records, **of_model(home, fields, cache)}
    start = hparams.get("init_checkpoint")
    model = of_model(start, fields, cache) if start else {}
    rows = {name: model[name] for name in ("vocab_size",) if name in model}
    return {**model, **records, **rows}


def of_records(patterns, fields):
    """Returns the hparams that the manifests of some records tell, as a dict; of several the
    first.

    Args:
        patterns: list of globs; URLs are left out where the package that opens them is missing.
        fields: dict name -> Field.
    Raises:
        ValueError: a manifest is damaged, or holds what no hparam may be.
    """
    known, patterns = {}, [p for p in patterns if not is_url(p) or store.has_package(p)]
    for folder, manifest in (item for each in patterns for item in manifests_of(each).items()):
        try:
            told = {k: fields[k].checked(k, manifest[k]) for k in _OF_RECORDS if k in manifest}
        except ValueError as error:
            path = os.path.join(folder, MANIFEST_NAME)
            raise ValueError(f"{path} is damaged: {error}. Build the records anew") from None
        known = told | known
    return known


def of_model(path, fields, cache=None):
    """Returns the hparams that a model tells, as a dict: those that it recorded, or what the
    shapes of its tensors say of its network; {} where nothing lies there.

    Args:
        path: of a checkpoint or a folder of them. fields: dict name -> Field.
        cache: compilation_cache_dir; TensorFlow is imported for TF1 checkpoints.
    Raises:
        ValueError: the record is damaged.
    """
    folder = ModelFolder.of(path)
    recorded = folder.recorded()
    if recorded is None:
        return _of_shapes(path, cache)
    names = list(OF_MODEL)
    if "num_train_steps" in recorded and not recorded.get("phases"):  # else L is the longest
        names.append("max_seq_length")
    known = checked_record(recorded, names, fields, folder.path)
    _encoder_of({**{name: fields[name].default for name in _NEEDED}, **known}, folder)
    return known


def sizes_of(path, fields, cache=None):
    """Returns the sizes that a network must have to take a checkpoint's weights, as a dict.

    Args: as of_model.
    """
    known, folder = of_model(path, fields, cache), ModelFolder.of(path)
    if not set(_NEEDED) <= set(known):
        return {}
    told = _SIZES if os.path.exists(folder.hparams_file) else _SIZES[:-1]  # shapes hide the heads
    sizes = dataclasses.asdict(_encoder_of(known, folder))
    return {name: sizes[name] for name in told}


def _encoder_of(known, folder):
    """Returns the EncoderConfig of hparams that a ModelFolder tells. Raises: ValueError."""
    with damaged_record(folder.path):
        return encoder_config(
            known["model_size"],
            vocab_size=known["vocab_size"],
            embedding_size=known.get("embedding_size"),
            overrides=known.get(OVERRIDES),
        )


def newest_checkpoint(path, cache=None):
    """Returns the path of the newest checkpoint of a folder, or of a checkpoint; None where none
    is. TensorFlow is imported if the folder holds TF1's."""
    folder = ModelFolder.of(path).path
    if glob.glob(os.path.join(glob.escape(folder), "*.index")):
        import_tensorflow_quietly(cache)
    if os.path.isdir(path):
        return checkpoints.latest(path)
    return path if os.path.exists(path) or os.path.exists(f"{path}.index") else None


def _of_shapes(path, cache):
    try:
        newest = newest_checkpoint(path, cache)
        if newest is None:
            return {}
        checkpoint = checkpoints.read(newest, verify=False)
        found = infer_hparams(checkpoint.tensors.shapes(), checkpoint.state)
    except (FileNotFoundError, KeyError, IndexError):  # the run says what is wrong
        return {}
    tables = {name: found[name] for name in ("vocab_size", "embedding_size")}
    for size in MODEL_SIZES.keys() - OF_SIZE.keys():
        usual = dataclasses.asdict(encoder_config(size, **tables))
        if found[OVERRIDES].items() <= usual.items():
            return {**tables, "model_size": size}
    return {**tables, "model_size": "small", OVERRIDES: found[OVERRIDES]}
