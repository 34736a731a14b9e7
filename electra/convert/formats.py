"""From one format to another: `convert` finds out what lies in a folder and writes another one.

Enters: a model's folder or checkpoint, the name of a format, an empty folder. Leaves: the model in
that format, and a sentence for each thing that was written or left out.
"""

import os

from absl import logging

from electra.convert import heads, huggingface, keras_hub
from electra.convert.card import data_of, write_card
from electra.saving import checkpoints
from electra.saving.folder import write_folder
from electra.serve.opening import open_model
from electra.storage import read_json_dict, write_text

ELECTRA, HUGGING_FACE, KERAS_HUB = FORMATS = ("electra", "huggingface", "keras_hub")
_SHOWN = 6  # names in a message
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
    generator=None,
    part=None,
    task=None,
    vocab_file=None,
    hparams=None,
    records_dir=None,
):
    """Converts a model.

    Args:
        model: folder or checkpoint of ours or of the official code (TF1), folder of Hugging Face,
            or KerasHub's preset.
        to: one of FORMATS; from or to ours.
        output: folder, made if missing; empty.
        generator: of a Hugging Face pair, the generator's folder.
        part: one of PARTS, which is written into `output` itself. None: of a pre-trained model
            both halves that Hugging Face's layout can hold, each in a folder of its own; of a
            fine-tuned one all of it. To ours: "encoder" leaves heads out.
        task: of a model fine-tuned on several, the one to write; to ours, what the task is called.
        vocab_file, hparams: of ours, see electra.load.
        records_dir: of ours, the folder of its pre-training records, for the model card.
    Returns: list of the folders written.
    Raises:
        FileNotFoundError: something is missing. ValueError: damaged, or the other format cannot
            hold the model.
    """
    model, output = os.fspath(model), os.fspath(output)
    if os.path.isdir(output) and os.listdir(output):
        raise ValueError(f"{output} is not empty. Choose another output, or empty it")
    found = format_of(model)
    _check_options(
        model,
        found,
        to,
        of_electra={"vocab_file": vocab_file, "hparams": hparams, "records_dir": records_dir},
        of_hugging_face={"part": part, "task": task, "generator": generator},
    )
    if found == ELECTRA:
        opened = open_model(model, vocab_file, hparams)
        data = data_of(records_dir, opened)
        if to == HUGGING_FACE:
            return _to_huggingface(opened, output, part, task, data)
        logging.warning("%s", KERAS_HUB_DIFFERS)
        parameters = keras_hub.write(opened, output)
        of = keras_hub.CLASS, opened.config.encoder, parameters
        write_card(output, opened, *of, data)
        return [output]
    if found == KERAS_HUB:
        write_ours(output, *keras_hub.read(model))
        return [output]
    return _from_huggingface(model, output, generator, part, task)


def format_of(path):
    """Returns the format of what lies at a path.

    Raises:
        ValueError: its config.json is damaged.
    """
    file = os.path.join(path, "config.json")
    if not os.path.exists(file):
        return ELECTRA
    values = read_json_dict(file, "--model", "config.json of a model")
    if "class_name" in values:
        return KERAS_HUB
    is_ours = "model_type" not in values and checkpoints.latest(path) is not None
    return ELECTRA if is_ours else HUGGING_FACE


def _check_options(model, found, to, of_electra, of_hugging_face):
    """Raises a ValueError where formats and options do not go together; both are dicts of them."""
    part = of_hugging_face["part"]
    for name, value, known in (("to", to, FORMATS), ("part", part, (None, *PARTS))):
        if value not in known:
            known = ", ".join(filter(None, known))
            raise ValueError(f"--{name} must be one of {known}. Received: {value!r}")
    if found == to == ELECTRA:
        raise ValueError(
            f"{model} is no model to bring in: it has no config.json. Expected: a folder of "
            "Hugging Face, or a preset of KerasHub"
        )
    if ELECTRA not in (found, to):
        raise ValueError(f"{model} is of {found}. Convert it --to {ELECTRA} first, then to {to}")
    unmeant = {} if found == ELECTRA else of_electra
    if HUGGING_FACE not in (found, to):
        unmeant = {**unmeant, **of_hugging_face}
    elif found == ELECTRA:
        unmeant = {"generator": of_hugging_face["generator"]}
    if given := [f"--{name}" for name, value in unmeant.items() if value]:
        raise ValueError(f"{', '.join(given)} means nothing from {found} to {to}. Leave it out")


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


def _from_huggingface(folder, output, generator, part, task):
    main = huggingface.open_folder(folder)
    other = huggingface.open_folder(generator) if generator else None
    vocab, flags = huggingface.tokenizer_hparams(folder, main.config)
    family = heads.family_of(main) if part is None else None
    if family is not None and other is None:
        hparams, tensors = heads.incoming(main, family, task)
    else:
        hparams, tensors = huggingface.pretrained(main, other, part)
    for half in filter(None, (main, other)):
        if unused := half.unused():
            shown = ", ".join(unused[:_SHOWN])
            logging.warning("%s: %d tensors left out: %s", half.path, len(unused), shown)
    write_ours(output, {**hparams, **flags}, tensors, vocab)
    return [output]


def write_ours(folder, hparams, tensors, vocab):
    """Writes a folder of ours: vocab.txt, hparams.json and a checkpoint of step 0.

    Args:
        folder: path; hparams: dict; tensors: dict official name -> array; vocab: Vocabulary.
    """
    path = os.path.join(folder, "vocab.txt")
    write_text(path, "".join(f"{token}\n" for token in vocab.tokens))
    write_folder(folder, hparams, path)
    checkpoints.save(folder, 0, tensors, {"vocab_sha256": vocab.sha256})
