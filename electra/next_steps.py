"""What one wants after a command: where its result lies and the next two commands, to be copied.

Enters: what a command was given and what it left. Leaves: lines on standard error.
"""

import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import sys

from electra.example_text import example_of_file

_LITTLE_TEXT = 30_000_000  # tokens; a run of ELECTRA-Small sees them 500 times


def say(saved, *commands, needs=None):
    """Says where a result lies, and commands that use it; needs: a package they import."""
    is_there = needs is None or importlib.util.find_spec(needs)
    where = "next" if is_there else f"next, where {needs} is installed"
    text = "\n    ".join([f"Saved to {saved}; {where}:", *commands])
    if sys.stderr:
        with contextlib.suppress(OSError):  # nobody reads any more: the result is there
            print(text, file=sys.stderr, flush=True)


def command(name, **given):
    """Returns a command as a shell takes it.

    Args:
        name: of a row of COMMANDS in electra/__main__.py.
        given: dict flag -> value; a list is given value by value, a dict as JSON, False as
            `--noNAME`, None not at all.
    """
    words = [*_program(), name]
    for flag, value in given.items():
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no{flag}")
            continue
        for each in value if isinstance(value, list) else [] if value is None else [value]:
            text = json.dumps(each, ensure_ascii=False) if isinstance(each, dict) else str(each)
            words += [f"--{flag}", text]
    return shlex.join(words)


def python(code):
    """Returns the command that runs a line of Python, whose quotes are single ones."""
    is_plain = not set(code) & set('"$`\\!')
    return f"{shlex.quote(_python())} -c " + (f'"{code}"' if is_plain else shlex.quote(code))


def after_vocab(corpus_dir, vocab_file, flags):
    """Says how records are built with a vocabulary; flags: those that both commands have."""
    data_dir = os.path.dirname(vocab_file)
    build = {"corpus_dir": corpus_dir, "vocab_file": vocab_file}
    build |= {"output_dir": os.path.join(data_dir, "pretrain_tfrecords"), "eval_fraction": 0.01}
    say(vocab_file, command("build", **build, **flags))


def after_build(output_dir, vocab_file, tokens):
    """Says how a model is pre-trained on records; tokens: in those to train on."""
    is_url = "://" in output_dir
    data_dir, name = os.path.split(
        output_dir.rstrip("/") if is_url else os.path.normpath(output_dir)
    )
    data_dir = data_dir or "."
    places = {}
    if name != "pretrain_tfrecords":
        places = {
            "pretrain_tfrecords": os.path.join(output_dir, "pretrain_data.tfrecord*"),
            "eval_tfrecords": os.path.join(output_dir, "eval_data.tfrecord*"),
        }
    if os.path.abspath(vocab_file) != os.path.abspath(os.path.join(data_dir, "vocab.txt")):
        places["vocab_file"] = vocab_file
    name, size = (
        ("mini", {"model_size": "mini"}) if tokens < _LITTLE_TEXT else ("electra_small", {})
    )
    given = {"try": {**places, "debug": True}, name: {**places, **size}}  # try: sees that it runs
    say(
        output_dir,
        *(
            command("pretrain", data_dir=data_dir, model_name=name, hparams=hparams or None)
            for name, hparams in given.items()
        ),
    )


def after_pretraining(config, result):
    """Says how the model is evaluated, tried and fine-tuned; nothing where it was not trained."""
    if result.was_stopped or not config.do_train:
        return
    folder = result.folder
    text = example_of_file(config.vocab_file).text
    detect = command("detect", model_dir=folder, text=text)
    then = command(
        "classification",
        model_dir=folder,
        train_file="train.csv",
        text_column="text",
        label_column="label",
    )
    if not config.do_eval:
        here = config.model_dir if "://" in folder else folder  # --hparams takes no URL
        recorded = os.path.join(here, "hparams.json")
        then = command(
            "pretrain",
            data_dir=config.data_dir,
            model_name=config.model_name,
            hparams=[recorded, {"do_train": False, "do_eval": True}],
        )
    say(folder, then, detect)


def after_finetuning(config, result):
    """Says how the best trial's model is used; nothing where it was not trained."""
    if result.was_stopped or not (config.do_train and result.step):
        return
    folder, task = result.folder, config.tasks[0]
    example = example_of_file(config.vocab_file)
    texts = {"text": example.text, "text_b": example.follows if task.has_pairs else None}
    if task.family == "qa":
        texts = {"text": example.question, "text_b": example.text}
    name = task.name if len(config.tasks) > 1 else None
    say(
        folder,
        command("predict", model_dir=folder, task=name, **texts),
        command("demo", model_dir=folder),
    )


def after_convert(folder, format):
    """Says how a converted model is opened, in "huggingface", "keras_hub" or "electra"."""
    if format == "huggingface":
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            (name,) = json.load(file)["architectures"]  # AutoModel leaves the head out
        code = f"import transformers as t; print(t.{name}.from_pretrained({folder!r}))"
        say(folder, python(code), needs="transformers")
        return
    code = {
        "keras_hub": "from keras_hub.models import ElectraBackbone as B; "
        f"B.from_preset({folder!r}).summary()",
        "electra": f"import electra; print(electra.load({folder!r}))",
    }
    say(folder, python(code[format]))


def after_export(folder, format):
    """Says how an exported model is opened, a "saved_model" or "onnx"."""
    path = os.path.join(folder, "model.onnx")
    code = {
        "saved_model": "import tensorflow as tf; "
        f"print(tf.saved_model.load({folder!r}).signatures)",
        "onnx": f"import onnxruntime as o; print(o.InferenceSession({path!r}).get_inputs())",
    }
    say(folder, python(code[format]), needs={"onnx": "onnxruntime"}.get(format))


def _program():
    """Returns the words that start the console command, as this process finds it."""
    script = os.path.join(os.path.dirname(sys.executable), "electra")
    return ["electra"] if shutil.which("electra") == script else [_python(), "-m", "electra"]


def _python():
    found = shutil.which("python3") or ""
    # `python` and `python3` of an environment are one; outside it another version lies there too.
    is_beside = os.path.dirname(found) == os.path.dirname(sys.executable)
    is_one = is_beside and os.path.samefile(found, sys.executable)
    return "python3" if is_one else sys.executable
