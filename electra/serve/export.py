"""Writes a model as a SavedModel, which TensorFlow Serving and plain TensorFlow run, or for ONNX.

    python -m electra.serve.export --model_dir D/models/M --output_dir served/M

Enters: a model's folder or checkpoint. Leaves: served/M/1, with the signatures `serving_default`,
of strings, and `ids`; both are made of TensorFlow's core operations. In the format onnx it holds
model.onnx instead, the signature `ids`, by tf2onnx (the extra `onnx`). See docs/serving.md.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from electra import next_steps
from electra.cloud.urls import is_url
from electra.storage import write_json
from electra.text.vocab import write_vocab

if TYPE_CHECKING:
    from electra.serve.model import LoadedModel

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_OPSET = 18  # of ONNX
_EXTRA = "assets.extra"  # what a SavedModel carries along and does not load


def export(
    model: LoadedModel,
    output_dir: str | os.PathLike[str],
    *,
    task: str | None = None,
    precision: str = "float32",
    version: int | None = None,
    top_k: int = 5,
    outputs: list[str] | None = None,
    format: str = "saved_model",
) -> str:
    """Writes a SavedModel or an ONNX model; it appears whole.

    Args:
        model: LoadedModel.
        output_dir: the folder of all versions, made if missing.
        task: of a fine-tuned model the task, None where it has one only; of a pre-trained one
            "encode" (None too), "detect" or "fill_mask".
        precision: "float32" or "bfloat16", of the products.
        version: the number that the new folder is called by; None for the next one there.
        top_k: guesses for a mask.
        outputs: names of the outputs to keep; None for all.
        format: "saved_model", or "onnx" for the signature of ids alone, in float32.
    Returns: the folder of the version.
    Raises:
        ValueError: the model has no such task or outputs, or a value is impossible, or the version
            exists, or tf2onnx is not installed.
    """
    from electra.model import kernels

    _check_format(format, precision)
    signature = signature_of(model, task, precision, top_k)
    if is_url(output_dir):
        raise ValueError(f"output_dir {output_dir} is a URL. Export to a folder, and copy it there")
    target = _target(Path(output_dir), version)
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"  # no number: nobody serves it
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with kernels.use_islands(False):  # they want XLA, which a server may lack
            _FORMATS[format](temporary, signature, _functions(signature, outputs))
        _write_about(temporary / _EXTRA, model, signature, precision)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return str(target)


def _write_saved_model(folder, signature, functions):
    import tensorflow as tf

    functions = {name: function.get_concrete_function() for name, function in functions.items()}
    root = tf.Module()
    root.tokenizer = signature.tokenizer
    root.weights = list({v.ref(): v for f in functions.values() for v in f.variables}.values())
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(root, str(folder), functions, options)


def _write_onnx(folder, signature, functions):
    import tf2onnx

    folder.mkdir()
    function = functions["ids"]
    tf2onnx.convert.from_function(
        function, function.input_signature, _OPSET, output_path=str(folder / "model.onnx")
    )


_FORMATS = {"saved_model": _write_saved_model, "onnx": _write_onnx}


def _check_format(format, precision):
    if format not in _FORMATS:
        raise ValueError(f"format must be one of {', '.join(_FORMATS)}. Received: {format!r:.80}")
    if format == "onnx" and precision != "float32":
        raise ValueError(f"The format onnx is written in float32. Received: precision {precision}")
    if format == "onnx" and importlib.util.find_spec("tf2onnx") is None:
        raise ValueError("The format onnx needs tf2onnx. Install it: pip install -e '.[onnx]'")


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
        row = model.task(task)
        name, kind = row.name, FINETUNED[row.family]
    else:
        row, name = None, task or "encode"
        if name not in PRETRAINED:
            known = ", ".join(PRETRAINED)
            raise ValueError(f"task must be one of {known}. Received: {name!r:.80}")
        kind = PRETRAINED[name]
    network = model._opened.build(PRECISIONS[precision])
    if row is None and not kind.fits(network):
        raise ValueError(f"{model!r} holds {model._opened.kind()}: it cannot {name}")
    for encoder in (network.electra, *getattr(network, "towers", ())):
        _fix_weights(encoder.layers)
    return kind(name, model, network, row, top_k)


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
    """Returns dict name -> tf.function of the two signatures."""
    import tensorflow as tf

    from electra.features import RECORD_FEATURES

    def function(compute, specs):
        def chosen(*inputs):
            found = compute(*inputs)
            names.update(found)
            kept = [name for name in found if outputs is None or name in outputs]
            if not kept:
                raise ValueError(f"outputs: {', '.join(outputs)}: none of {', '.join(found)}")
            return {name: tf.identity(found[name], name) for name in kept}

        made = tf.function(chosen, input_signature=specs, autograph=False)
        made.get_concrete_function()  # traces: what is wrong shows before a file is written
        return made

    names = {}
    texts = [tf.TensorSpec([None], tf.string, name) for name in signature.texts]
    ids = [tf.TensorSpec([None, None], tf.int32, name) for name in RECORD_FEATURES]
    functions = {
        "serving_default": function(signature.of_strings, texts),
        "ids": function(signature.of_ids, ids),
    }
    if unknown := set(outputs or ()) - names.keys():
        raise ValueError(f"outputs: {', '.join(sorted(unknown))}: none of {', '.join(names)}")
    return functions


def _write_about(folder, model, signature, precision):
    about = {
        "model": os.path.basename(os.path.abspath(model._opened.path)),
        "step": model.step,
        "task": signature.name,
        "precision": precision,
        "max_seq_length": model.max_seq_length,
        "do_lower_case": model.tokenizer.basic.do_lower_case,
        "strip_accents": model.tokenizer.basic.strip_accents,
        "labels": list(signature.task.labels) if signature.task else [],
    }
    write_json(folder / "about.json", about)
    write_vocab(folder / "vocab.txt", model.vocab.tokens)


def _define_flags():
    flags.DEFINE_string("model_dir", None, "Folder of a run, or a checkpoint.", required=True)
    flags.DEFINE_string("output_dir", None, "Folder of the versions.", required=True)
    about = "A task of a fine-tuned model; of a pre-trained one encode, detect or fill_mask."
    flags.DEFINE_string("task", None, about)
    flags.DEFINE_enum("precision", "float32", [*PRECISIONS], "Of the matrix products.")
    flags.DEFINE_integer("version", None, "Number of the new folder. Default: the next one.")
    flags.DEFINE_integer("top_k", 5, "Guesses for a mask.")
    flags.DEFINE_enum("format", "saved_model", [*_FORMATS], "What is written.")
    flags.DEFINE_list("outputs", None, "Outputs to keep, as cls,mean. Default: all.")


def main(_):
    """Writes the SavedModel and says where."""
    from electra.serve.model import load

    values = flags.FLAGS
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells each step of saving
    names = ("task", "precision", "version", "top_k", "outputs", "format")
    model = load(values.model_dir, precision="float32")
    written = export(model, values.output_dir, **{name: values[name].value for name in names})
    print(f"Wrote {written}", flush=True)
    next_steps.after_export(written, values.format)


if __name__ == "__main__":
    from electra.cli import run_command

    _define_flags()
    run_command(main)
