"""From raw text to a trained ELECTRA in minutes, on the documentation of installed packages.

Runs the commands that a user runs, one after the other, and shows each: corpus, vocabulary,
records, pre-training with evaluation, detection of a swapped word. What is finished is not done
again: stopped and started anew, it goes on.

    python examples/quickstart.py --data_dir quickstart_data
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL_NAME = "quickstart"
METRICS = (
    "masked_lm_accuracy",
    "masked_lm_loss",
    "sampled_masked_lm_accuracy",
    "disc_loss",
    "disc_auc",
    "disc_accuracy",
    "disc_precision",
    "disc_recall",
)
SENTENCE = "If the file does not exist, an error is raised."
SWAPPED = "If the file does not exist, an array is raised."


def main(argv=None):
    """Runs every stage; the exit status is that of the first command that fails."""
    args = parse_arguments(argv)
    started = time.monotonic()
    try:
        prepare(args.data_dir, args.hparams, args.packages)
        train(args.data_dir, args.hparams)
        print(report(*read_evaluations(model_dir(args.data_dir))))
        detect(args.data_dir, [SENTENCE, SWAPPED])
    except subprocess.CalledProcessError as error:
        print(f"\nThe last command ended with status {error.returncode}. Run again to go on.")
        return error.returncode if error.returncode > 0 else 1
    except (ValueError, OSError) as error:
        print(f"\nError: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    minutes = (time.monotonic() - started) / 60
    print(f"\nDone in {minutes:.1f} minutes. The curves and the corrupted sentences of this run:")
    show([Path(sys.executable).with_name("tensorboard"), "--logdir", model_dir(args.data_dir)])
    return 0


def parse_arguments(argv):
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data_dir", type=Path, default=Path("quickstart_data"))
    parser.add_argument("--hparams", type=Path, default=ROOT / "examples" / "quickstart.json")
    parser.add_argument("--packages", nargs="+", help="as in docstring_corpus.py; default: all")
    args = parser.parse_args(argv)
    args.data_dir, args.hparams = args.data_dir.resolve(), args.hparams.resolve()
    return args


def prepare(data_dir, hparams_file, packages=None):
    """Text, vocabulary and records, in the places where the doors look for them.

    Args:
      data_dir: the D of the data layout.
      hparams_file: JSON; its vocab_size and max_seq_length are used here too.
      packages: whose documentation to read; None: all that examples/docstring_corpus.py knows.
    """
    hparams = read_hparams(hparams_file)
    corpus, vocab = data_dir / "corpus", data_dir / "vocab.txt"
    title("Text: the documentation strings of installed packages", corpus)
    if not corpus.with_name("corpus.json").exists():
        chosen = ["--packages", *packages] if packages else []
        run("examples/docstring_corpus.py", "--out", corpus, *chosen)
    title(f"A vocabulary of {hparams['vocab_size']} word pieces", vocab)
    if not vocab.exists():
        run("-m", "electra.text.vocab", "--corpus_dir", corpus, "--output", vocab,
            "--vocab_size", hparams["vocab_size"])  # fmt: skip
    title("Records; one module in twenty is held out", data_dir / "pretrain_tfrecords")
    run("build_pretraining_dataset.py", "--corpus_dir", corpus, "--vocab_file", vocab,
        "--output_dir", data_dir / "pretrain_tfrecords", "--eval_fraction", 0.05,
        "--max_seq_length", hparams["max_seq_length"],
        "--num_processes", os.cpu_count())  # fmt: skip


def read_hparams(path):
    """Reads the hparams that other commands need too.

    Raises:
      ValueError: no JSON dict, or without vocab_size or max_seq_length.
    """
    try:
        hparams = json.loads(path.read_text(encoding="utf-8"))
        return {name: int(hparams[name]) for name in ("vocab_size", "max_seq_length")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"--hparams {path}: {error!r}. Expected: a JSON dict with the numbers vocab_size and "
            "max_seq_length, as in examples/quickstart.json."
        ) from None


def train(data_dir, hparams_file):
    """Pre-trains, evaluating at step 0, on the way and at the end."""
    title("Pre-training", model_dir(data_dir))
    run("run_pretraining.py", "--data-dir", data_dir, "--model-name", MODEL_NAME,
        "--hparams", hparams_file)  # fmt: skip


def detect(data_dir, texts):
    """Shows how likely each token of each text is to have been replaced."""
    title("Which word was swapped? The probability of each token to be a replacement")
    arguments = [part for text in texts for part in ("--text", text)]
    run("-m", "electra.serve.detect", "--model_dir", model_dir(data_dir), *arguments)


def read_evaluations(folder):
    """The first and the last evaluation of a run on held-out text.

    Args:
      folder: the model's folder.

    Returns:
      (dict, dict): metric -> float, at step 0 and at the last step; both hold "step".

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

    Returns:
      str.
    """
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


def model_dir(data_dir):
    """The M of the data layout."""
    return data_dir / "models" / MODEL_NAME


def title(text, place=None):
    """Prints a stage's headline, and where its product lies."""
    print(f"\n== {text}" + (f" ({short(place)})" if place else ""), flush=True)


def run(*arguments):
    """Shows and runs a command of this project with this interpreter.

    Raises:
      subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, *map(str, arguments)]
    show(command)
    # The doors' own messages are enough; TensorFlow's start-up notes hide them.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # The command got the Ctrl-C too: it saves and ends; subprocess.run would kill it.
        status = process.wait() or 130
    if status:
        raise subprocess.CalledProcessError(status, command)


def show(command):
    """Prints a command as it can be typed."""
    print("$ " + shlex.join(short(part) for part in command), flush=True)


def short(part):
    """A path as seen from the project's folder; anything else as it is."""
    text = str(part)
    return text.removeprefix(f"{ROOT}{os.sep}") if text != str(ROOT) else "."


if __name__ == "__main__":
    sys.exit(main())
