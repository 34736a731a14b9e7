"""The manifest: a small JSON beside records that says what they are.

Keys: version, max_seq_length, vocab_sha256, vocab_size, do_lower_case, strip_accents, seed, flags
(all of the builder's), files (name, examples, tokens each), train_examples, train_tokens,
eval_examples, eval_tokens, documents, and identity (what a build must agree in to go on).
"""

import math
import os

from electra.cloud import mirror
from electra.cloud.urls import working_copy
from electra.data.patterns import find_files
from electra.storage import read_json, write_json

MANIFEST_NAME = "manifest.json"
VERSION = 1
AS_BUILT = "Set it as they were built, or leave it out, or build them anew"
_FEW_HELD_OUT = 1000  # examples: scores of fewer are noise
_COUNTS = ("train_examples", "train_tokens", "eval_examples", "eval_tokens")
# Of what is read again. A manifest with an identity has all of it.
_SHAPE = {
    "version": int,
    "files?": [{"name": str, "examples": int}],
    "identity?": dict,
    "max_seq_length?": int,
    "vocab_size?": int,
    "do_lower_case?": bool,
    "strip_accents?": bool,
}
_WHOLE_SHAPE = {"files": list, **dict.fromkeys(_COUNTS, int)}


def write_manifest(folder, manifest):
    """Writes the manifest of a folder atomically; the last thing that a build does."""
    write_json(os.path.join(folder, MANIFEST_NAME), {"version": VERSION, **manifest})


def read_manifest(folder):
    """Returns the manifest of a folder as a dict, or None where there is none.

    Raises:
        ValueError: the file is damaged or of a later version.
    """
    path = os.path.join(working_copy(folder), MANIFEST_NAME)
    if not mirror.pull_file(path):
        return None
    manifest = read_json(path, "Build the records anew", _SHAPE)
    if "identity" in manifest:
        read_json(path, "Build the records anew", _WHOLE_SHAPE)
    if manifest["version"] > VERSION:
        raise ValueError(
            f"{path} has version {manifest['version']}, this code reads up to {VERSION}"
        )
    return manifest


def manifests_of(pattern):
    """Returns dict folder -> manifest of the records that match a pattern; those without one are
    left out. Raises: ValueError, as read_manifest."""
    folders = sorted({os.path.dirname(path) or "." for path in find_files(pattern)})
    found = {folder: read_manifest(folder) for folder in folders}
    return {folder: manifest for folder, manifest in found.items() if manifest is not None}


def few_held_out(count):
    """Returns a warning where the scores of so many held-out examples say little; else ""."""
    if count >= _FEW_HELD_OUT:
        return ""
    return (
        f"The held-out text has {count} examples, fewer than {_FEW_HELD_OUT:,}: its scores jump "
        f"about. Build the records anew with an --eval_fraction {math.ceil(_FEW_HELD_OUT / count)} "
        "times as large, or of more text"
    )


def contradictions(manifest, made_with, folder, kind):
    """Lists what records were built with and a model has otherwise.

    Args:
        manifest: dict. made_with: dict of the model's values of some of its keys; None: not known.
        folder: of the records; kind: "training" or "held-out".
    Returns: list of sentences without their full stop.
    """
    return [
        f"The {kind} records in {folder} were built with {key} {_shown(manifest[key])}, the model "
        f"has {_shown(wanted)}"
        for key, wanted in made_with.items()
        if None not in (wanted, manifest.get(key)) and manifest[key] != wanted
    ]


def _shown(value):
    """Returns a value for messages, a hash by its beginning."""
    return f"'{value[:12]}...'" if isinstance(value, str) and len(value) > 12 else repr(value)
