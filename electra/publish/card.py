"""The model card: README.md of a converted model, of what its run recorded and nothing else.

Enters: an opened model, with its hparams, logs and scores beside it; the manifest of its records.
Leaves: README.md with a YAML header.
"""

import json
import os
import re

from electra.convert.heads import has_two_layers
from electra.convert.incoming import name_of
from electra.data.manifest import read_manifest
from electra.example_text import example_of
from electra.saving.folder import ModelFolder
from electra.storage import parse_json_dict, read_json, write_text

_PRETRAINING = (
    *("model_name", "init_checkpoint"),
    *("learning_rate", "train_batch_size", "num_train_steps", "num_warmup_steps"),
    *("warmup_proportion", "max_seq_length", "mask_prob", "gen_weight", "disc_weight"),
    *("generator_hidden_size", "generator_layers", "weight_decay_rate", "precision", "seed"),
)
_FINETUNING = (
    *("model_name", "init_checkpoint"),
    *("learning_rate", "layerwise_lr_decay", "train_batch_size", "num_train_epochs"),
    *("warmup_proportion", "max_seq_length", "weight_decay_rate", "precision", "num_trials"),
    *("max_train_examples", "from_scratch", "classifier_head"),
)
_CURVE_ROWS = 8
# Class of theirs: what it is for on the Hub, and the use of it in the example.
_USES = {
    "ElectraForPreTraining": ("", "(outputs.logits[0] > 0).tolist()"),
    "ElectraForMaskedLM": (
        "fill-mask",
        "tokenizer.convert_ids_to_tokens(outputs.logits[0].argmax(-1))",
    ),
    "ElectraModel": ("feature-extraction", "outputs.last_hidden_state[0, 0]"),
    "ElectraForSequenceClassification": (
        "text-classification",
        "dict(zip(model.config.id2label.values(), outputs.logits[0].tolist()))",
    ),
    "ElectraForTokenClassification": (
        "token-classification",
        "[model.config.id2label[i] for i in outputs.logits[0].argmax(-1).tolist()]",
    ),
    "ElectraForQuestionAnswering": (
        "question-answering",
        "outputs.start_logits[0].argmax().item()",
    ),
}
_WHAT = {
    "ElectraForPreTraining": "An ELECTRA discriminator: which tokens of a text were replaced?",
    "ElectraForMaskedLM": "A masked language model: it guesses masked tokens.",
    "ElectraModel": "An ELECTRA encoder without heads.",
    "ElectraBackbone": (
        "An ELECTRA encoder without heads. KerasHub computes its GELU by tanh, so states differ a "
        "little; the pooled output, which ELECTRA has not, is tanh of the [CLS] state."
    ),
    "ElectraForSequenceClassification": (
        "An ELECTRA encoder with a linear head, fine-tuned on {tasks}. The head's hidden layer "
        "carries the linear one through, two units for an output; its other units are 0."
    ),
}
_WHAT_OF_THEIR_HEAD = "An ELECTRA encoder with a head of two layers, fine-tuned on {tasks}."


def write_card(folder, opened, architecture, config, parameters, data=""):
    """Writes README.md.

    Args:
        folder: of the converted model.
        opened: serve.opening.Opened of ours.
        architecture: class that loads it, of transformers, or "ElectraBackbone" of KerasHub.
        config: its EncoderConfig; parameters: their number.
        data: what `data_of` returned.
    Raises:
        ValueError: a log is damaged.
    """
    name = os.path.basename(os.path.abspath(folder))
    sections = [
        _header(architecture),
        f"# {name}\n\n{_what(opened, architecture)}",
        _sizes(config, parameters, opened),
        data,
        _settings(opened),
        *(_scores(opened) if opened.tasks else _evaluations(opened)),
        _usage(name, architecture, example_of(opened.tokenizer.vocab.tokens)),
    ]
    write_text(os.path.join(folder, "README.md"), "\n\n".join(filter(None, sections)) + "\n")


def _header(architecture):
    is_theirs = architecture in _USES
    lines = ["---", f"library_name: {'transformers' if is_theirs else 'keras-hub'}"]
    if is_theirs and _USES[architecture][0]:
        lines.append(f"pipeline_tag: {_USES[architecture][0]}")
    return "\n".join([*lines, "tags:", "- electra", "---"])


def _what(opened, architecture):
    tasks = ", ".join(f"{task.name} ({task.family})" for task in opened.tasks.values())
    what = _WHAT.get(architecture, "An ELECTRA encoder with a linear head, fine-tuned on {tasks}.")
    if architecture == "ElectraForSequenceClassification" and has_two_layers(opened):
        what = _WHAT_OF_THEIR_HEAD
    what = what.replace("{tasks}", tasks)
    step = opened.checkpoint.step  # 0: it was trained elsewhere
    return f"{what} Converted from a checkpoint of {step:,} updates." if step else what


def _sizes(config, parameters, opened):
    basic = opened.tokenizer.basic
    rows = {
        "parameters": f"{parameters:,}",
        "layers": config.num_hidden_layers,
        "hidden size": config.hidden_size,
        "attention heads": config.num_attention_heads,
        "feed-forward size": config.intermediate_size,
        "embedding size": config.embedding_size,
        "vocabulary": f"{len(opened.tokenizer.vocab):,} tokens",
        "lower-cased": "yes" if basic.do_lower_case else "no",
        "accents": "stripped" if basic.strip_accents else "kept",
        "longest text": f"{opened.config.max_seq_length} tokens",
    }
    return "## Sizes\n\n" + _table(("", ""), rows.items())


def data_of(records_dir, opened):
    """Returns what a card says of the pre-training data.

    Args:
        records_dir: folder of the records, whose manifest tells, or several with commas between
            them; or None.
        opened: serve.opening.Opened of the model.
    Raises:
        FileNotFoundError: no manifest. ValueError: it is of another vocabulary.
    """
    if records_dir is None:
        return ""
    folder = os.fspath(records_dir)
    folders = [folder] if os.path.isdir(folder) else folder.split(",")
    tables = [_records_table(folder, opened, len(folders) > 1) for folder in folders]
    tables = list(filter(None, tables))
    return "\n\n".join(["## Pre-training data", *tables]) if tables else ""


def _records_table(folder, opened, is_one_of_several):
    manifest = read_manifest(folder)
    if manifest is None:
        raise FileNotFoundError(f"{folder} holds no manifest.json: build the records anew")
    if manifest.get("vocab_sha256") != opened.tokenizer.vocab.sha256:
        raise ValueError(f"{folder} was built with another vocabulary than {opened.path}")
    names = ("documents", "train_examples", "train_tokens", "eval_examples", "eval_tokens")
    rows = [(name.replace("_", " "), f"{manifest[name]:,}") for name in names if name in manifest]
    length = f" of {manifest.get('max_seq_length', '?')} tokens" if is_one_of_several else ""
    return _table((f"of the records{length}", ""), rows) if rows else ""


def _settings(opened):
    names = _FINETUNING if opened.tasks else _PRETRAINING
    if not os.path.exists(ModelFolder.of(opened.checkpoint.path).hparams_file):
        return ""
    phases = opened.hparams.get("phases") or [{}]
    shared = {name: value for name, value in opened.hparams.items() if name not in phases[0]}
    values = {name: shared[name] for name in names if name in shared}
    if values.get("init_checkpoint"):  # where it lies is nobody's business
        values["init_checkpoint"] = name_of(str(values["init_checkpoint"]))
    rows = [
        (f"`{name}`", f"`{json.dumps(value)}`")
        for name, value in values.items()
        if value is not None and value is not False
    ]
    tables = [_table(("hparam", "value"), rows)] if rows else []
    if names := [name for name in ("steps", *names) if name in phases[0]]:
        head = "hparam", *(f"phase {number}" for number in range(1, len(phases) + 1))
        rows = [(f"`{n}`", *(f"`{json.dumps(phase.get(n))}`" for phase in phases)) for n in names]
        tables.append(_table(head, rows))
    return "\n\n".join(["## Settings", *tables]) if tables else ""


def _evaluations(opened):
    """Yields the held-out metrics at the checkpoint's step, and the curve up to it."""
    folder, step = os.path.dirname(opened.checkpoint.path), opened.checkpoint.step
    rows = [row for row in _log(os.path.join(folder, "eval_log.jsonl")) if row["step"] <= step]
    if rows and rows[-1]["step"] == step:
        numbers = [(name, f"{value:.4g}") for name, value in rows[-1].items() if name != "step"]
        yield f"## Held-out text, at step {step:,}\n\n" + _table(("metric", "value"), numbers)
    if len(rows) > 1:
        names = ("phase", "loss", "masked_lm_loss", "disc_loss")
        names = [name for name in names if name in rows[0]]
        stride = -(-len(rows) // _CURVE_ROWS)
        kept = [(f"{row['step']:,}", *(f"{row[n]:.4g}" for n in names)) for row in rows[::-stride]]
        yield "## Curve\n\nOn held-out text.\n\n" + _table(("step", *names), kept[::-1])
    speeds = [row for row in _log(os.path.join(folder, "train_log.jsonl")) if row["step"] <= step]
    if speeds and "tokens_per_sec" in speeds[-1]:
        found = sorted(row["tokens_per_sec"] for row in speeds if "tokens_per_sec" in row)
        median = found[len(found) // 2]
        yield f"## Compute\n\n{median:,.0f} tokens a second in training, the median of its log."


def _scores(opened):
    """Yields the trial's scores, and those of all trials of its command."""
    folder = os.path.dirname(opened.checkpoint.path)
    path = os.path.join(folder, "scores.json")
    if os.path.exists(path):
        scores = read_json(path, "Score the trial anew", {"scores": {str: {str: float}}})["scores"]
        rows = [
            (split, metric, f"{value:.4g}")
            for split, metrics in scores.items()
            for metric, value in metrics.items()
        ]
        yield "## Scores of this trial\n\n" + _table(("split", "metric", "value"), rows)
    tasks, is_trial, _ = os.path.basename(folder).rpartition("_model_")
    beside = os.path.join(folder, "..", "..", "results", f"{tasks}_results.json")
    if is_trial and os.path.exists(beside):
        values = dict.fromkeys(("mean", "std", "trials"), float)
        shape = {"summary": {str: {str: values}}, "baselines?": {str: {str: float}}}
        about = read_json(beside, "Remove it", shape)
        rows = []
        for split, scores in about["summary"].items():
            baselines = about.get("baselines", {}).get(split, {})
            for metric, found in scores.items():
                numbers = found["mean"], found["std"], baselines.get(metric)
                shown = ("" if number is None else f"{number:.4g}" for number in numbers)
                rows.append((split, metric, *shown, found["trials"]))
        head = ("split", "metric", "mean", "deviation", "baseline", "trials")
        yield "## Scores of all trials\n\n" + _table(head, rows)


def _usage(name, architecture, example):
    if architecture not in _USES:
        lines = [
            "import keras_nlp",
            "",
            f"backbone = keras_nlp.models.{architecture}.from_preset({name!r})",
            f"tokenizer = keras_nlp.models.ElectraTokenizer.from_preset({name!r})",
        ]
    else:
        text = example.template.format("[MASK]") if "Masked" in architecture else example.text
        texts = [example.question, text] if "Question" in architecture else [text]
        quoted = ", ".join(f'"{text}"' for text in texts)
        lines = [
            "import torch",
            f"from transformers import AutoTokenizer, {architecture}",
            "",
            f"tokenizer = AutoTokenizer.from_pretrained({name!r})",
            f"model = {architecture}.from_pretrained({name!r})",
            f'inputs = tokenizer({quoted}, return_tensors="pt")',
            "with torch.no_grad():",
            "    outputs = model(**inputs)",
            f"print({_USES[architecture][1]})",
        ]
    return f"## Use\n\nBeside the folder `{name}`:\n\n```python\n" + "\n".join(lines) + "\n```"


def _log(path):
    """Returns the rows of a log, [] where there is none."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [parse_json_dict(line, path, {"step": int, str: float}) for line in file]


def _table(head, rows):
    def line(cells):
        return "| " + " | ".join(re.sub(r"[|\n]", " ", str(cell)) for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])
