"""From raw text to a trained and fine-tuned ELECTRA in minutes, on installed packages' docs.

Runs the commands that a user runs, one after the other, and shows each: corpus, vocabulary,
records, pre-training with evaluation, detection of a swapped word, fine-tuning on three tasks with
and without the pre-trained weights, a page that shows what came of it. What is finished is not done
again: stopped and started anew, it goes on.

    python examples/quickstart.py --data_dir quickstart_data
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from electra.hparams import load_hparams
from electra.pretrain.config import PretrainingConfig

ROOT = Path(__file__).resolve().parents[1]
TEXTS = (
    "Returns a tensor with the same shape as the input.",
    "Returns a tensor with the same of as the input.",
)
TASKS = {  # of docstring_tasks.py
    "library": "which package a paragraph is from",
    "code": "which words of a sentence are code",
    "argument": "what an argument means",
}
# Same network, same tasks, its weights drawn anew.
MODEL_NAME, SCRATCH_NAME = "quickstart", "quickstart_from_scratch"


def main(argv=None):
    """Runs every stage; the exit status is that of the first command that fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data_dir", type=os.path.abspath, default="quickstart_data")
    default = ROOT / "examples" / "quickstart.json"
    parser.add_argument("--hparams", type=os.path.abspath, default=default)
    parser.add_argument("--packages", nargs="+", help="as in docstring_corpus.py; default: all")
    args = parser.parse_args(argv)
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # `run` passes it on
    try:
        hparams = load_hparams(str(args.hparams))
        config = PretrainingConfig(MODEL_NAME, args.data_dir, **hparams)
        prepare(config, args.packages)
        title("Pre-training")
        places = {"data_dir": args.data_dir, "model_name": MODEL_NAME}
        run("run_pretraining.py", **places, hparams=args.hparams)
        print(report(*read_evaluations(Path(config.model_dir))))
        title("Which word was swapped? The probability of each token to be a replacement")
        run("-m electra.serve.detect", model_dir=config.model_dir, text=TEXTS)
        fine_tune(config)
        print(compare(Path(args.data_dir)))
        title("All of it on one page")
        run("-m electra.serve.report", **report_places(config))
    except subprocess.CalledProcessError as error:
        print(f"\nThe last command ended with status {error.returncode}. Run again to go on.")
        return error.returncode if error.returncode > 0 else 1
    except (ValueError, OSError) as error:
        print(f"\nError: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    minutes = (time.monotonic() - started) / 60
    print(f"\nDone in {minutes:.1f} minutes. Every curve, also while one trains:")
    show([Path(sys.executable).with_name("tensorboard"), "--logdir", config.model_dir])
    page = Path(config.model_dir) / "report.html"
    print(f"What came of it, and how to go on with text of your own:\n{page.as_uri()}")
    return 0


def prepare(config, packages=None):
    """Text, vocabulary and records, in the places where the commands look for them.

    Args:
        config: PretrainingConfig.
        packages: whose documentation to read; None: all that examples/docstring_corpus.py knows.
    """
    folder = Path(config.data_dir)
    title("Text: the documentation strings of installed packages")
    chosen = ["--packages", *packages] if packages else []
    run("examples/docstring_corpus.py", *chosen, out=folder / "corpus")
    title(f"A vocabulary of {config.vocab_size} word pieces")
    if not Path(config.vocab_file).exists():
        run(
            "-m electra.text.vocab",
            corpus_dir=folder / "corpus",
            output=config.vocab_file,
            vocab_size=config.vocab_size,
        )
    title("Records; one module in twenty is held out")
    run(
        "build_pretraining_dataset.py",
        corpus_dir=folder / "corpus",
        vocab_file=config.vocab_file,
        output_dir=folder / "pretrain_tfrecords",
        eval_fraction=0.05,
        max_seq_length=config.max_seq_length,
        num_processes=os.cpu_count(),
    )


def fine_tune(config):
    """Learns each task twice: from the pre-trained weights, and from new ones."""
    folder = tasks_folder(config.data_dir)
    title("Three labelled tasks made from the same documentation")
    run("-m examples.docstring_tasks", out=folder)
    for name, question in TASKS.items():
        hparams = {"task_files": [str(folder / name / "task.json")]}
        scratch = {**hparams, "init_checkpoint": config.model_dir, "from_scratch": True}
        title(f"Fine-tuning: {question}")
        for model, given in ((MODEL_NAME, hparams), (SCRATCH_NAME, scratch)):
            places = {"data_dir": config.data_dir, "model_name": model}
            run("run_finetuning.py", **places, hparams=json.dumps(given))


def compare(data_dir):
    """The table of the tasks' scores: without a network, from scratch, pre-trained.

    Args:
        data_dir: Path, the D of the data layout.
    Returns: str.
    """
    baselines = json.loads((tasks_folder(data_dir) / "baselines.json").read_text())
    lines = [f"{'on held-out modules':36}{'metric':>10}{'baseline':>10}{'scratch':>10}{'ours':>10}"]
    for name, question in TASKS.items():
        scores = [baselines[name]]
        for model in (SCRATCH_NAME, MODEL_NAME):
            path = data_dir / "models" / model / "results" / f"{name}_results.json"
            results = json.loads(path.read_text())
            metric = results["main_metrics"][name]
            scores.append(results["summary"][name][metric]["mean"])
        lines.append(f"{question:36}{metric:>10}" + "".join(f"{score:10.1f}" for score in scores))
    return "\n".join(lines)


def report_places(config):
    """The flags of the report: this model, the one from scratch, what scores without a network."""
    return {
        "model_dir": config.model_dir,
        "beside": Path(config.model_dir).with_name(SCRATCH_NAME),
        "baselines": tasks_folder(config.data_dir) / "baselines.json",
    }


def tasks_folder(data_dir):
    return Path(data_dir) / "finetuning_data" / "docstrings"


def read_evaluations(folder):
    """The first and the last evaluation of a run on held-out text.

    Args:
        folder: the model's folder.
    Returns: (dict, dict): metric -> float, at step 0 and at the last step; both hold "step".
    Raises:
        ValueError: the log has no evaluation of step 0, or no later one.
    """
    lines = (folder / "eval_log.jsonl").read_text().splitlines()
    evaluations = sorted((json.loads(line) for line in lines), key=lambda line: line["step"])
    if len(evaluations) < 2 or evaluations[0]["step"] != 0:
        steps = [line["step"] for line in evaluations]
        raise ValueError(
            f"{folder / 'eval_log.jsonl'}: expected an evaluation at step 0 and later ones. "
            f"Received: steps {steps}. Remove {folder} and run again."
        )
    return evaluations[0], evaluations[-1]


def report(untrained, trained):
    """The table of the eight official metrics, and what they are to be compared with.

    Args:
        untrained, trained: what read_evaluations returns.
    Returns: str.
    """
    from electra.pretrain.metrics import METRICS  # with Keras, which no earlier stage needs

    unigram, loss = trained["unigram_slot_loss"], trained["mask_slot_loss"]
    rows = [("on held-out text", "untrained", f"step {trained['step']}")]
    rows += [(name, f"{untrained[name]:.4f}", f"{trained[name]:.4f}") for name in METRICS]
    table = "\n".join(f"{name:28}{before:>12}{after:>12}" for name, before, after in rows)
    return f"""
{table}

On the slots that show [MASK], in nats a token (lower is better):
  {"counting words: the training text's unigram":46}{unigram:.4f}
  {"the generator, untrained":46}{untrained["mask_slot_loss"]:.4f}
  {"the generator, trained":46}{loss:.4f}   {unigram - loss:+.4f} nats better than the unigram
disc_auc is the chance that a replaced token gets a higher score than an original one: 0.5 is a \
guess.
"""


def title(text):
    """Prints a stage's headline."""
    print(f"\n== {text}", flush=True)


def run(script, *arguments, **flags):
    """Shows and runs a command of this project with this interpreter.

    Args:
        script: str, its file, or "-m" and its module.
        flags: name=value; of a tuple, once for each value.
    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, *script.split(), *arguments]
    for name, value in flags.items():
        for text in value if isinstance(value, tuple) else (value,):
            command += [f"--{name}", str(text)]
    show(command)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # The command got the Ctrl-C too: it saves and ends; subprocess.run would kill it.
        status = process.wait() or 130
    except SystemExit:
        process.terminate()
        process.wait()
        raise
    if status:
        raise subprocess.CalledProcessError(status, command)


def show(command):
    """Prints a command as it can be typed in the project's folder."""
    print("$ " + shlex.join(map(str, command)).replace(f"{ROOT}{os.sep}", ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
