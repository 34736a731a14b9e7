"""Writes a model as a SavedModel, which TensorFlow Serving and plain TensorFlow run.

    python -m electra.serve.export --model_dir D/models/M --output_dir served/M

Enters: a model's folder or checkpoint. Leaves: served/M/1, with the signatures `serving_default`,
of strings, and `ids`; both are made of TensorFlow's core operations. See docs/serving.md.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from electra.storage import write_json, write_text

if TYPE_CHECKING:
    from electra.serve.model import LoadedModel

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_EXTRA = "assets.extra"  # what a SavedModel carries along and does not load


def export(
    model: LoadedModel,
    output_dir: str | os.PathLike,
    *,
    task: str | None = None,
    precision: str = "float32",
    version: int | None = None,
    top_k: int = 5,
    outputs: list[str] | None = None,
) -> str:
    """Writes a SavedModel; it appears whole.

    Args:
        model: LoadedModel.
        output_dir: the folder of all versions, made if missing.
        task: of a fine-tuned model the task, None where it has one only; of a pre-trained one
            "encode" (None too), "detect" or "fill_mask".
        precision: "float32" or "bfloat16", of the products.
        version: the number that the new folder is called by; None for the next one there.
        top_k: guesses for a mask.
        outputs: names of the outputs to keep; None for all.
    Returns: the folder of the version.
    Raises:
        ValueError: the model has no such task or outputs, or a value is impossible, or the version
            exists.
    """
    import tensorflow as tf

    from electra.model import kernels

    signature = signature_of(model, task, precision, top_k)
    target = _target(Path(output_dir), version)
    with kernels.use_islands(False):  # they want XLA, which a server may lack
        functions = _functions(signature, outputs)
    root = tf.Module()
    root.tokenizer = signature.tokenizer
    root.weights = list({v.ref(): v for f in functions.values() for v in f.variables}.values())
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"  # no number: nobody serves it
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(root, str(temporary), functions, options)
        _write_about(temporary / _EXTRA, model, signature, precision)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return str(target)


def signature_of(
    model: LoadedModel, task: str | None = None, precision: str = "float32", top_k: int = 5
) -> Any:
    """Returns the Signature of a task of a model, on a network of its own. See export."""
    from electra.serve.signatures import FINETUNED, PRETRAINED

    if precision not in PRECISIONS:
        raise ValueError(f"precision must be float32 or bfloat16. Received: {precision!r:.80}")
    if not (type(top_k) is int and 1 <= top_k <= model.config.vocab_size):
        raise ValueError(f"top_k must be 1 to {model.config.vocab_size}. Received: {top_k!r}")
    if model.tasks:
        row = model._task(task)
        kind = FINETUNED[row.family]
    else:
        row, name = None, task or "encode"
        if name not in PRETRAINED:
            known = ", ".join(PRETRAINED)
            raise ValueError(f"task must be one of {known}. Received: {name!r:.80}")
        kind = PRETRAINED[name]
    network = model._opened.build(PRECISIONS[precision])
    if row is None and not kind.fits(network):
        raise ValueError(f"{model!r} holds {model._kind()}: it cannot {name}")
    for encoder in (network.electra, *getattr(network, "towers", ())):
        _fix_weights(encoder.layers)
    return kind(model, network, row, top_k)


def _fix_weights(layers):
    """Gives layers their weights apart, in the types that they are computed with: a server need
    not cut and cast them in every call."""
    import tensorflow as tf

    stacks = layers.compute_weights()
    parts = [[tf.Variable(x, trainable=False) for x in tf.unstack(stack)] for stack in stacks]
    weights = type(stacks)(*parts)
    layers.compute_weights = lambda: weights
    layers.scan_layers = False


def _target(folder, version):
    if version is not None and not (type(version) is int and version >= 0):
        raise ValueError(f"version must be a whole number, 0 or above. Received: {version!r:.80}")
    folder.mkdir(parents=True, exist_ok=True)
    there = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    target = folder / str(max([0, *there]) + 1 if version is None else version)
    if target.exists():
        raise ValueError(f"{target} exists. Give another version, or none for the next number")
    return target


def _functions(signature, outputs):
    """Returns dict name -> ConcreteFunction of the two signatures."""
    import tensorflow as tf

    from electra.features import RECORD_FEATURES

    def chosen(found):
        kept = {k: tf.identity(v, k) for k, v in found.items() if outputs is None or k in outputs}
        names.append(list(found))
        if not kept:
            raise ValueError(f"outputs: {', '.join(outputs)} are none of {', '.join(found)}")
        return kept

    names = []
    of_strings = tf.function(lambda *texts: chosen(signature.of_strings(*texts)), autograph=False)
    of_ids = tf.function(lambda *ids: chosen(signature.of_ids(*ids)), autograph=False)
    texts = [tf.TensorSpec([None], tf.string, name) for name in signature.texts]
    ids = [tf.TensorSpec([None, None], tf.int32, name) for name in RECORD_FEATURES]
    functions = {
        "serving_default": of_strings.get_concrete_function(*texts),
        "ids": of_ids.get_concrete_function(*ids),
    }
    if unknown := set(outputs or ()) - {name for found in names for name in found}:
        raise ValueError(f"outputs: {', '.join(sorted(unknown))}: none of {', '.join(names[0])}")
    return functions


def _write_about(folder, model, signature, precision):
    about = {
        "model": os.path.basename(os.path.abspath(model._opened.path)),
        "step": model.step,
        "task": signature.task and signature.task.name,
        "precision": precision,
        "max_seq_length": model.max_seq_length,
        "do_lower_case": model.tokenizer.basic.do_lower_case,
        "strip_accents": model.tokenizer.basic.strip_accents,
        "labels": list(signature.task.labels) if signature.task else [],
    }
    write_json(folder / "about.json", about)
    write_text(folder / "vocab.txt", "".join(f"{token}\n" for token in model.vocab.tokens))


def _define_flags():
    flags.DEFINE_string("model_dir", None, "Folder of a run, or a checkpoint.", required=True)
    flags.DEFINE_string("output_dir", None, "Folder of the versions.", required=True)
    about = "A task of a fine-tuned model; of a pre-trained one encode, detect or fill_mask."
    flags.DEFINE_string("task", None, about)
    flags.DEFINE_enum("precision", "float32", [*PRECISIONS], "Of the matrix products.")
    flags.DEFINE_integer("version", None, "Number of the new folder. Default: the next one.")
    flags.DEFINE_integer("top_k", 5, "Guesses for a mask.")
    flags.DEFINE_list("outputs", None, "Outputs to keep, as cls,mean. Default: all.")


def main(_):
    """Writes the SavedModel and says where."""
    from electra.serve.model import load

    values = flags.FLAGS
    names = ("task", "precision", "version", "top_k", "outputs")
    model = load(values.model_dir, precision="float32")
    written = export(model, values.output_dir, **{name: values[name].value for name in names})
    print(f"Wrote {written}", flush=True)


if __name__ == "__main__":
    from electra.cli import run_command

    _define_flags()
    run_command(main)
