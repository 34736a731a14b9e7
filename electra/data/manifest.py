"""The manifest: a small JSON beside records that says what they are.

Keys: version, max_seq_length, vocab_sha256, vocab_size, do_lower_case, strip_accents, seed, flags
(all of the builder's), files (name, examples, tokens each), train_examples, train_tokens,
eval_examples, eval_tokens, documents, and identity (what a build must agree in to go on).
"""

import os

from electra.storage import read_json, write_json

MANIFEST_NAME = "manifest.json"
VERSION = 1
_COUNTS = ("train_examples", "train_tokens", "eval_examples", "eval_tokens")
# Of what is read again. A manifest with an identity has all of it.
_SHAPE = {"version": int, "files?": [{"name": str, "examples": int}], "identity?": dict}
_WHOLE_SHAPE = {"files": list, **dict.fromkeys(_COUNTS, int)}


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
    manifest = read_json(path, "Build the records anew", _SHAPE)
    if "identity" in manifest:
        read_json(path, "Build the records anew", _WHOLE_SHAPE)
    if manifest["version"] > VERSION:
        raise ValueError(
            f"{path} has version {manifest['version']}, this code reads up to {VERSION}"
        )
    return manifest
