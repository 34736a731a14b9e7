"""A page about a run, to look at and to pass on: sentences, curves, scores, how to go on.

    python -m electra.serve.report --model_dir D/models/M

Enters: the folder of a pre-trained model with its logs and the results of its tasks. Leaves: a page
that needs nothing besides itself; what was not evaluated or not fine-tuned is not in it.
"""

import glob
import json
import math
import os
import shlex

from absl import flags

from electra.cloud import mirror
from electra.cloud.urls import origin, working_copy
from electra.hparams import checked_record
from electra.model.config import encoder_config
from electra.pretrain import corrupted
from electra.pretrain.config import PretrainingConfig
from electra.pretrain.defaults import OF_SIZE
from electra.saving.folder import ModelFolder
from electra.serve import report_html as html
from electra.storage import read_json, write_text
from electra.train.lines import EVAL_LOG, TRAIN_LOG, read_lines

FILE = "report.html"
_SETTINGS = (
    *("model_size", "model_hparam_overrides", "embedding_size", "generator_layers"),
    *("generator_hidden_size", "vocab_size", "do_lower_case", "strip_accents", "max_seq_length"),
    *("train_batch_size", "learning_rate", "num_warmup_steps", "num_train_steps", "mask_prob"),
)
_ABOUT_THE_RUN = ("init_checkpoint", "precision", "seed")
_MOST_POINTS = 300  # of a curve
_LARGEST = 1e100  # of a number that a run logged
_CORRUPTED = {
    "step": int,
    "examples": [[{"token": str, "probability": float, "original?": str}]],
}
_SCORES = {str: {str: float}}
_RESULTS = {
    "main_metrics": {str: str},
    "summary": {str: {str: {"mean": float, "std": float, "trials": int}}},
    "baselines?": _SCORES,
}
# Title of a chart -> a line's label -> the log and the name of its number there.
_CHARTS = {
    "Loss on slots that show [MASK], nats": {
        "generator, held-out": (EVAL_LOG, "mask_slot_loss"),
        "counting words": (EVAL_LOG, "unigram_slot_loss"),
    },
    "disc_auc: replaced above original (0.5: a guess)": {
        "training": (TRAIN_LOG, "disc_auc"),
        "held-out": (EVAL_LOG, "disc_auc"),
    },
    "Loss of the masked LM, nats": {
        "training": (TRAIN_LOG, "masked_lm_loss"),
        "held-out": (EVAL_LOG, "masked_lm_loss"),
    },
    "Total loss": {"training": (TRAIN_LOG, "loss"), "held-out": (EVAL_LOG, "loss")},
}


def write_report(model_dir, output=None, beside=None, baselines=None):
    """Writes the page.

    Args:
        model_dir: folder of a pre-trained model.
        output: path of the page. Default: report.html in model_dir.
        beside: folder of a model whose scores stand beside.
        baselines: dict task -> score of its main metric without a network, to win over those in the
            results.
    Returns: the path.
    Raises:
        FileNotFoundError: no run is there. ValueError: a file of it is damaged.
    """
    model_dir = working_copy(os.fspath(model_dir))
    mirror.pull_model(model_dir)
    mirror.pull(os.path.join(model_dir, "results"))
    recorded = ModelFolder(model_dir).recorded()
    logs = {name: _read_log(os.path.join(model_dir, name)) for name in (TRAIN_LOG, EVAL_LOG)}
    tables = read_scores(model_dir)
    if recorded is None or not (any(logs.values()) or tables):
        raise FileNotFoundError(
            f"{model_dir} holds no hparams.json with logs or results beside it. Give the folder of "
            "a pre-training run"
        )
    names, fields = (*_SETTINGS, *_ABOUT_THE_RUN), PretrainingConfig.fields
    hparams = checked_record(recorded, names, fields, model_dir)
    name, sentences = str(recorded.get("model_name", os.path.basename(model_dir))), None
    path = os.path.join(model_dir, corrupted.FILE)
    if os.path.exists(path):
        sentences = read_json(path, "Remove it", _CORRUPTED)
    if beside:
        beside = working_copy(os.fspath(beside))
        mirror.pull(os.path.join(beside, "results"))
    others = read_scores(beside) if beside else {}
    beside_name = os.path.basename(os.path.abspath(beside)) if beside else None
    page = html.page(
        f"ELECTRA: {name}",
        html.numbers(_headlines(logs)),
        html.sentences(sentences) if sentences else "",
        html.charts(_charts(logs)),
        html.scores(name, beside_name, _rows(tables, others, baselines or {})),
        html.settings(_settings(hparams, logs)),
        html.commands(next_commands(hparams)),
    )
    path = os.path.join(model_dir, FILE) if output is None else os.fspath(output)
    path = working_copy(path)
    write_text(path, page)
    mirror.push_file(path)
    return origin(path)


def read_scores(model_dir):
    """Returns dict of what was learnt together ("cola", "cola,rte") -> what its results hold."""
    tables = {}
    folder = os.path.join(glob.escape(os.fspath(model_dir)), "results")
    for path in sorted(glob.glob(os.path.join(folder, "*_results.json"))):
        if "main_metrics" in read_json(path, "Remove it"):  # not those of pre-training
            name = os.path.basename(path).removesuffix("_results.json")
            tables[name] = read_json(path, "Remove it", _RESULTS)
    return tables


def next_commands(hparams):
    """Returns three commands that do with a folder `my_text` what a run did, as a shell takes them.

    Args:
        hparams: dict, of the run; what its model_size implies is left out.
    """
    defaults = {name: PretrainingConfig.fields[name].default for name in _SETTINGS}
    size = hparams.get("model_size", defaults["model_size"])
    usual = encoder_config(size, vocab_size=defaults["vocab_size"])
    defaults |= {**OF_SIZE.get(size, {}), "strip_accents": defaults["do_lower_case"]}
    defaults |= {"embedding_size": usual.embedding_size}
    given = {name: hparams[name] for name in _SETTINGS if name in hparams}
    given = {name: value for name, value in given.items() if value != defaults[name]}
    given = {"model_size": size, **given}
    case = [
        f"--{name}={str(given[name]).lower()}"
        for name in ("do_lower_case", "strip_accents")
        if name in given
    ]
    vocab_size, length = (
        str(hparams.get(name, defaults[name])) for name in ("vocab_size", "max_seq_length")
    )
    vocab, data = "my_data/vocab.txt", ["--data_dir", "my_data", "--model_name", "my_model"]
    corpus = ["--corpus_dir", "my_text"]
    commands = (
        ["vocab", *corpus, "--vocab_size", vocab_size, *case, "--output", vocab],
        ["build", *corpus, "--vocab_file", vocab, "--output_dir", "my_data/pretrain_tfrecords"]
        + ["--max_seq_length", length, "--eval_fraction", "0.05", *case],
        ["pretrain", *data, "--hparams", json.dumps(given)],
    )
    return [shlex.join(["python3", "-m", "electra", *command]) for command in commands]


def _read_log(path):
    """Returns the entries of a log without what is no number of a run: it may be damaged."""
    return [
        {k: v for k, v in row.items() if type(v) in (int, float) and not abs(v) > _LARGEST}
        for row in read_lines(path)
        if 0 <= row["step"] < _LARGEST
    ]


def _headlines(logs):
    """Yields (number, what it is) of the last evaluation."""
    last = (logs[EVAL_LOG] or logs[TRAIN_LOG])[-1:]
    for row in last:
        yield f"{row['step']:,}", "steps"
        if "mask_slot_loss" in row and "unigram_slot_loss" in row:
            unigram = row["unigram_slot_loss"]
            said = f"nats a [MASK], held-out text; counting words: {unigram:.2f}"
            yield f"{row['mask_slot_loss']:.2f}", said
        if "disc_auc" in row:
            yield f"{row['disc_auc']:.3f}", "disc_auc; 0.5 is a guess"


def _charts(logs):
    """Yields (title, dict label -> list of (step, value)) of the charts that have points."""
    for title, lines in _CHARTS.items():
        curves = {label: _points(logs[log], name) for label, (log, name) in lines.items()}
        curves = {label: points for label, points in curves.items() if points}
        if curves:
            yield title, curves


def _points(rows, name):
    points = [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
    stride = -(-len(points) // _MOST_POINTS)
    return points[::-stride][::-1] if stride > 1 else points


def _rows(tables, others, baselines):
    """Yields of each task (its name, what it was learnt with, metric, baseline or None, the
    other model's and this one's mean, deviation and number of trials, or None)."""
    for learnt, table in tables.items():
        of_other = others.get(learnt, {}).get("summary", {})
        for task, metric in table["main_metrics"].items():
            known = table.get("baselines", {}).get(task, {}).get(metric)
            summaries = (of_other, table["summary"])
            means = [summary.get(task, {}).get(metric) for summary in summaries]
            yield task, learnt, metric, baselines.get(task, known), *means


def _settings(hparams, logs):
    """Yields (name, value) of what was run."""
    shown = dict(hparams)
    for name, value in (shown | (shown.pop("model_hparam_overrides", None) or {})).items():
        if value not in (None, ""):
            yield name, value if isinstance(value, str) else json.dumps(value)
    speeds = sorted(row["tokens_per_sec"] for row in logs[TRAIN_LOG] if "tokens_per_sec" in row)
    if speeds:
        yield "tokens a second", f"{speeds[len(speeds) // 2]:,.0f} (median)"


def main(_):
    """Writes the page and says where."""
    values = flags.FLAGS
    baselines = None
    if values.baselines:
        baselines = read_json(values.baselines, "Give a dict task -> score", {str: float})
    path = write_report(values.model_dir, values.output, values.beside, baselines)
    print(f"Wrote {path}", flush=True)


def _define_flags():
    flags.DEFINE_string("model_dir", None, "Folder of a pre-training run.", required=True)
    flags.DEFINE_string("output", None, f"The page. Default: {FILE} in model_dir.")
    about = "Folder of a model whose scores stand beside, as one that was not pre-trained."
    flags.DEFINE_string("beside", None, about)
    about = "JSON file, task -> its score without a network. Default: the results' baselines."
    flags.DEFINE_string("baselines", None, about)


if __name__ == "__main__":
    from electra.cli import run_command

    _define_flags()
    run_command(main)
