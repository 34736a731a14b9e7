"""The console command: `electra NAME ...`, or `python -m electra NAME ...`.

Each row of COMMANDS is the command `python -m MODULE ...`, with its flags, exit status and signals.
"""

import runpy
import sys

from electra import __version__
from electra.cli import exit_status
from electra.hparams import refuse_unknown

COMMANDS = {
    "vocab": ("electra.text.vocab", "train a vocabulary on a folder of text"),
    "build": ("electra.data", "turn a folder of text into pre-training records"),
    "pretrain": ("electra.pretrain", "pre-train a model, evaluate it"),
    "finetune": ("electra.finetune", "fine-tune a model on benchmark tasks, score it"),
    "classification": ("electra.finetune.classification", "fine-tune on your own labelled texts"),
    "tagging": ("electra.finetune.tagging", "fine-tune on your own tagged sentences"),
    "squad": ("electra.finetune.squad", "fine-tune on your own questions"),
    "predict": ("electra.serve.predict", "predict with a fine-tuned model"),
    "zero-shot": ("electra.serve.zero_shot", "sort texts into labels a model never met"),
    "detect": ("electra.serve.detect", "tell which tokens look replaced"),
    "fill-mask": ("electra.serve.fill_mask", "guess the tokens that [MASK] stands for"),
    "report": ("electra.serve.report", "write a page about a run: text, curves, scores"),
    "demo": ("electra.serve.demo", "try models on a page in the browser"),
    "export": ("electra.serve.export", "write a SavedModel that takes strings or ids"),
    "convert": ("electra.convert", "bring models in and out: Hugging Face, KerasHub, TF1"),
    "compare": ("electra.train.compare", "tell whether two runs are equal"),
}


def usage():
    """Returns the table of the commands as text."""
    width = max(map(len, COMMANDS))
    rows = "".join(f"  {name:{width}}  {about}\n" for name, (_, about) in COMMANDS.items())
    return (
        f"usage: electra COMMAND [flags]\n\n{rows}\n"
        "electra COMMAND --help lists its flags; electra --version tells the version.\n"
    )


def main():
    """Runs the command that the command line names; never returns where it sets the status."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        sys.argv[1:] = rest
        runpy.run_module(COMMANDS[name][0], run_name="__main__", alter_sys=True)
    else:
        sys.exit(exit_status(lambda: _tell(name)))


def _tell(name):
    if name == "--version":
        print(f"electra {__version__}")
    elif name in ("--help", "-h", "-help", "--helpshort", "help"):
        print(usage(), end="")
    else:
        refuse_unknown([name], COMMANDS, "Command")


if __name__ == "__main__":
    main()
