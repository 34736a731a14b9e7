"""Runs the recipes at small scale on real text: do they learn, and does it reach a task?

    python benchmarks/recipes.py --data_dir ../shared/data --output_dir /tmp/recipes

Each with its own network: records, some hundred steps, evaluation, one task of its table beside
the same network with new weights. What is finished is not done again. Prints a table in Markdown.
"""

import argparse
import dataclasses
import json
import os
import shutil
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from electra.hparams import load_hparams  # noqa: E402
from examples.quickstart import read_evaluations, run  # noqa: E402

VOCABULARIES = {"en": "bert-base-uncased", "es": "selectra-50k", "zh": "bert-base-chinese"}


@dataclasses.dataclass(frozen=True)
class Run:
    """The scale of a recipe's run: all else is the recipe's.

    Attributes:
        steps, batch, length: of pre-training, instead of the recipe's.
        task: of the recipe's table. examples: of it, to train on.
        finetuning: its file of settings.
        language: of the text.
    """

    steps: int
    batch: int
    length: int
    task: str
    examples: int
    finetuning: str = "electra_small"
    language: str = "en"


RUNS = {
    "clue_tiny": Run(300, 16, 128, "tnews", 500, "clue_tiny", "zh"),
    "alectra": Run(200, 8, 128, "sst", 500),
    "electra_small": Run(200, 8, 128, "sst", 500),
    "lmtuners_small": Run(200, 8, 128, "sst", 500),
    "selectra_small": Run(100, 2, 512, "conll2002ner", 300, "selectra", "es"),
    "electra_small_plus_plus": Run(100, 2, 512, "chunk", 300),
    "selectra_medium": Run(100, 2, 512, "conll2002pos", 300, "selectra", "es"),
    "electra_base": Run(100, 2, 128, "sst", 200, "electra_base"),
    "electra_base_two_lengths": Run(100, 2, 128, "sst", 200, "electra_base"),
    "electra_large": Run(20, 2, 128, "sst", 200, "electra_large"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=list(RUNS), help="recipes; default: all")
    data = os.environ.get("ELECTRA_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data_dir", type=Path, default=data, help="corpora and tasks")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="of steps and examples")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # `run` passes it on
    for name in args.names:
        path = args.output_dir / f"{name}.json"
        if not path.exists():
            result = run_recipe(name, scaled(RUNS[name], args.scale), args)
            path.write_text(json.dumps(result, indent=1))
            shutil.rmtree(args.output_dir / RUNS[name].language / "models")
        print(table(args.output_dir), flush=True)


def scaled(recipe, scale):
    """Returns a Run with other numbers of steps and examples."""
    steps, examples = (max(1, round(n * scale)) for n in (recipe.steps, recipe.examples))
    return dataclasses.replace(recipe, steps=steps, examples=examples)


def run_recipe(name, recipe, args):
    """Returns what a run came to: dict with "scale", "first", "last" and the task's scores."""
    home = args.output_dir / recipe.language
    path = ROOT / "recipes" / f"{name}.json"
    hparams = load_hparams(str(path))
    smaller = {
        **build_records(home, recipe.language, recipe.length, args.data_dir),
        "do_eval": True,
        "num_train_steps": recipe.steps,
        "num_warmup_steps": recipe.steps // 10,
        "train_batch_size": recipe.batch,
        "eval_batch_size": recipe.batch,
        "num_eval_steps": max(1, 20480 // (recipe.batch * recipe.length)),
        "eval_every_steps": recipe.steps,
        "save_checkpoints_steps": recipe.steps,
        "keep_checkpoint_max": 1,
        "iterations_per_loop": 10,
        "log_every_steps": 10,
    }
    if phases := hparams.get("phases", ()):  # their lengths, and their shares of the steps
        total = sum(phase["steps"] for phase in phases)
        smaller["phases"] = [
            {
                "steps": recipe.steps * phase["steps"] // total,
                **build_records(home, recipe.language, phase["max_seq_length"], args.data_dir),
            }
            for phase in phases
        ]
    if "lr_restart_step" in hparams:
        smaller["lr_restart_step"] = recipe.steps // 2
    places = {"data_dir": home, "model_name": name}
    run("run_pretraining.py", **places, hparams=(path, json.dumps(smaller)))
    first, last = read_evaluations(home / "models" / name)
    scores = {key: score(name, recipe, args, key == "new") for key in ("pre_trained", "new")}
    return {"scale": dataclasses.asdict(recipe), "first": first, "last": last, **scores}


def build_records(home, language, length, data_dir):
    """Builds records of a length, where they are not yet. Returns the hparams that name them."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data_dir / "vocab" / f"{VOCABULARIES[language]}-vocab.txt", home / "vocab.txt")
    folder = home / f"records_{length}"
    flags = {
        "corpus_dir": data_dir / "corpus" / language,
        "vocab_file": home / "vocab.txt",
        "output_dir": folder,
        "eval_fraction": 0.02,
        "max_seq_length": length,
    }
    case = ["--no-lower-case"] if language == "es" else []
    run("build_pretraining_dataset.py", *case, **flags)
    return {
        "max_seq_length": length,
        "pretrain_tfrecords": str(folder / "pretrain_data.tfrecord*"),
        "eval_tfrecords": str(folder / "eval_data.tfrecord*"),
    }


def score(name, recipe, args, from_scratch):
    """Returns the score of one trial on the task's dev set, and what it is of: (float, str)."""
    home = args.output_dir / recipe.language
    output = home / "models" / name / ("new" if from_scratch else "fine_tuned")
    smaller = {
        "task_names": [recipe.task],
        "max_train_examples": recipe.examples,
        "num_trials": 1,
        "from_scratch": from_scratch,
        "raw_data_dir": str(args.data_dir.absolute() / "finetuning_data"),
        "output_dir": str(output),
        "log_every_steps": 10,
    }
    settings = ROOT / "recipes" / "finetuning" / f"{recipe.finetuning}.json"
    places = {"data_dir": home, "model_name": name}
    run("run_finetuning.py", **places, hparams=(settings, json.dumps(smaller)))
    results = json.loads((output / "results" / f"{recipe.task}_results.json").read_text())
    metric = results["main_metrics"][recipe.task]
    return results["summary"][recipe.task][metric]["mean"], metric


def table(folder):
    """Returns the rows of all finished recipes as a table in Markdown."""
    from electra.pretrain.metrics import METRICS  # with Keras, which no earlier stage needs

    columns = ["recipe", "steps x batch x length", "loss at first", "at last", *METRICS]
    columns += ["task", "pre-trained", "new weights"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name in RUNS:
        path = folder / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text())
            scale, last = result["scale"], result["last"]
            (tuned, metric), (new, _) = result["pre_trained"], result["new"]
            cells = [name, f"{scale['steps']} x {scale['batch']} x {scale['length']}"]
            cells += [f"{result['first']['loss']:.2f}", f"{last['loss']:.2f}"]
            cells += [f"{last[name]:.3f}" for name in METRICS]
            cells += [f"{scale['task']}, {scale['examples']:,}: {metric}"]
            cells += [f"{tuned:.1f}", f"{new:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
