"""From one format to another: `convert` finds out what lies in a folder and writes another one.

Enters: a model's folder or checkpoint, the name of a format, an empty folder. Leaves: the model in
that format, and a sentence for each thing that was written or left out.
"""

import contextlib
import os
import shutil

from absl import logging

from electra.cloud import mirror
from electra.cloud.urls import working_copy
from electra.convert import heads, huggingface, incoming
from electra.convert.incoming import ELECTRA, FOREIGN, FORMATS, HUGGING_FACE, TF1
from electra.publish.card import data_of, write_card
from electra.saving.checkpoints import SLOTS
from electra.saving.folder import MODEL_HPARAMS
from electra.serve.opening import open_model

KERAS_HUB_DIFFERS = (
    "KerasHub's backbone computes GELU by tanh, so states differ a little; it has no heads; its "
    "pooled output, which ELECTRA has not, is tanh of the [CLS] state"
)
PARTS = {
    "discriminator": huggingface.discriminator,
    "generator": huggingface.generator,
    "encoder": huggingface.encoder,
}


def convert(
    model,
    to,
    output,
    *,
    from_=None,
    generator=None,
    part=None,
    task=None,
    vocab_file=None,
    hparams=None,
    records_dir=None,
    with_optimizer=False,
):
    """Converts a model.

    Args:
        model: folder or checkpoint of ours or of the official code (TF1), folder of Hugging Face,
            or KerasHub's preset.
        to: one of FORMATS but TF1; from or to ours.
        output: folder, made if missing; empty.
        from_: one of FORMATS, what lies there; None: found out.
        generator: of a Hugging Face pair, the generator's folder.
        part: one of PARTS, which is written into `output` itself. None: of a pre-trained model
            both halves that Hugging Face's layout can hold, each in a folder of its own; of a
            fine-tuned one all of it. To ours: "encoder" leaves heads out.
        task: of a model fine-tuned on several, the one to write; to ours, what the task is called.
        vocab_file, hparams: of ours and TF1, see electra.load.
        records_dir: of ours, the folder of its pre-training records, for the model card.
        with_optimizer: from TF1, whether the moments of its optimizer come along.
    Returns: list of the folders written.
    Raises:
        FileNotFoundError: something is missing. ValueError: damaged, or the other format cannot
            hold the model.
    """
    model, output = working_copy(os.fspath(model)), working_copy(os.fspath(output))
    generator = generator and working_copy(os.fspath(generator))
    for path in filter(None, (model, generator)):
        mirror.pull_model(path)
    mirror.pull(output)
    if os.path.isdir(output) and set(os.listdir(output)) - {mirror.STATE}:
        raise ValueError(f"{output} is not empty. Choose another output, or empty it")
    found = incoming.format_of(model)
    of_ours = {"vocab_file": vocab_file, "hparams": hparams, "records_dir": records_dir}
    of_hugging_face = {"part": part, "task": task, "generator": generator}
    _check_formats(model, found, from_, to, part)
    _check_options(found, to, of_ours, of_hugging_face, with_optimizer)
    with mirror.pushed(output), _emptied_on_failure(output):
        if found in FOREIGN:
            incoming.write(output, *incoming.read(model, generator, part, task))
            return [output]
        opened = open_model(model, vocab_file, hparams)
        if to == ELECTRA:
            return [_from_tf1(opened, output, hparams or {}, with_optimizer)]
        data = data_of(records_dir, opened)
        if to == HUGGING_FACE:
            return _to_huggingface(opened, output, part, task, data)
        return [_to_keras_hub(opened, output, data)]


@contextlib.contextmanager
def _emptied_on_failure(folder):
    """Removes what a failed conversion wrote, so that the same command begins again."""
    is_there = os.path.isdir(folder)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if is_there:
            os.makedirs(folder, exist_ok=True)
        raise


def _to_keras_hub(opened, output, data):
    from electra.convert import keras_hub

    logging.warning("%s", KERAS_HUB_DIFFERS)
    parameters = keras_hub.write(opened, output)
    write_card(output, opened, keras_hub.CLASS, opened.config.encoder, parameters, data)
    return output


def _check_formats(model, found, from_, to, part):
    """Raises a ValueError where a name is unknown, or two formats do not go together."""
    outs = [name for name in FORMATS if name != TF1]
    for name, value, known in (
        ("from", from_, (None, *FORMATS)),
        ("to", to, outs),
        ("part", part, (None, *PARTS)),
    ):
        if value not in known:
            known = ", ".join(filter(None, known))
            raise ValueError(f"--{name} must be one of {known}. Received: {value!r}")
    if from_ not in (None, found):
        raise ValueError(f"{model} is of {found}. Received: --from {from_}. Leave it out")
    if found == to == ELECTRA:
        raise ValueError(
            f"{model} is no model to bring in: it has no config.json. Expected: a folder of "
            "Hugging Face, a preset of KerasHub, or a TF1 checkpoint"
        )
    if found in FOREIGN and to != ELECTRA:
        raise ValueError(f"{model} is of {found}. Convert it --to {ELECTRA} first, then to {to}")


def _check_options(found, to, of_ours, of_hugging_face, with_optimizer):
    """Raises a ValueError where an option means nothing between two formats."""
    unmeant = dict(of_ours) if found in FOREIGN else {}
    if to == ELECTRA:
        unmeant["records_dir"] = of_ours["records_dir"]
    if HUGGING_FACE not in (found, to):
        unmeant |= of_hugging_face
    elif found != HUGGING_FACE:
        unmeant["generator"] = of_hugging_face["generator"]
    unmeant["with_optimizer"] = with_optimizer and (found, to) != (TF1, ELECTRA)
    if given := [f"--{name}" for name, value in unmeant.items() if value]:
        raise ValueError(f"{', '.join(given)} means nothing from {found} to {to}. Leave it out")


def _from_tf1(opened, output, given, with_optimizer):
    """Writes a folder of ours of an official checkpoint. Returns: the folder."""
    checkpoint = opened.checkpoint
    slots = {name for name in checkpoint.tensors if name.endswith(tuple(f"/{s}" for s in SLOTS))}
    if with_optimizer and not slots:
        raise ValueError(
            f"{checkpoint.path} holds no moments of an optimizer. Leave --with_optimizer out"
        )
    left_out = {"global_step", *(() if with_optimizer else slots)}
    tensors = {name: value for name, value in checkpoint.tensors.items() if name not in left_out}
    hparams = _run_of(opened, given)
    incoming.write(output, hparams, tensors, opened.tokenizer.vocab, checkpoint.step)
    return output


def _run_of(opened, given):
    """Returns the hparams to record of an official checkpoint: those given, where they make its
    network, as its run would have recorded them; else what its shapes tell."""
    config = opened.config
    own = {name: getattr(config, name) for name in (*MODEL_HPARAMS, "max_seq_length")}
    with contextlib.suppress(ValueError):  # the heads alone make no network
        run = None if opened.tasks else type(config)("model", opened.path, **given)
        if run and run.encoder == config.encoder:
            fixed = [name for name, field in run.fields.items() if not field.may_change]
            return run.values(*fixed)
    return {**own, **opened.hparams}


def _to_huggingface(opened, output, part, task, data):
    if opened.tasks and part is None:
        exports, reasons, part = {"task": heads.finetuned(opened, task)}, [], "task"
    else:
        exports, reasons = {}, []
        for name in [part] if part else ("discriminator", "generator"):
            try:
                exports[name] = PARTS[name](opened)
            except ValueError as error:
                reasons.append(str(error))
        if not exports:
            raise ValueError(f"{' '.join(reasons)}. --part encoder takes the encoder alone")
    for reason in reasons:
        logging.warning("Left out: %s", reason)
    folders = {name: output if part else os.path.join(output, name) for name in exports}
    for name, export in exports.items():
        export.write(folders[name], opened.tokenizer, opened.config.max_seq_length)
        of = export.architecture, export.config, sum(x.size for x in export.tensors.values())
        write_card(folders[name], opened, *of, data)
    return list(folders.values())
