"""The manifest: a small JSON beside records that says what they are.

Keys: version, max_seq_length, vocab_sha256, vocab_size, do_lower_case, strip_accents, seed, flags
(all of the builder's), files (name, examples, tokens each), train_examples, train_tokens,
eval_examples, eval_tokens, documents, and identity (what a build must agree in to go on).
"""

import os

from electra.storage import read_json, write_json

MANIFEST_NAME = "manifest.json"
VERSION = 1
_TYPES = {  # of what is read again; a manifest with an identity has all of them
    "identity": dict,
    "files": list,
    "train_examples": int,
    "train_tokens": int,
    "eval_examples": int,
    "eval_tokens": int,
}


def write_manifest(folder, manifest):
    """Writes the manifest of a folder atomically; the last thing that a build does."""
    write_json(os.path.join(folder, MANIFEST_NAME), {"version": VERSION, **manifest})


def read_manifest(folder):
    """Returns the manifest of a folder as a dict, or None where there is none.

    Raises:
        ValueError: the file is damaged or of a later version.
    """
    path = os.path.join(folder, MANIFEST_NAME)
    if not os.path.exists(path):
        return None
    manifest = read_json(path, "Build the records anew")
    _check(path, manifest, {"version": int})
    if manifest["version"] > VERSION:
        raise ValueError(
            f"{path} has version {manifest['version']}, this code reads up to {VERSION}"
        )
    needed = [name for name in _TYPES if "identity" in manifest or name in manifest]
    _check(path, manifest, {name: _TYPES[name] for name in needed})
    for entry in manifest.get("files", ()):
        _check(path, entry if type(entry) is dict else {}, {"name": str, "examples": int})
    return manifest


def _check(path, values, types):
    for name, kind in types.items():
        if type(values.get(name)) is not kind:
            raise ValueError(
                f"{path} is damaged: {name} must be of type {kind.__name__}. Received: "
                f"{values.get(name)!r:.100}. Build the records anew"
            )
