"""What every command does: the command line before absl reads it, and errors as one line."""

import errno
import importlib
import logging as standard_logging
import os
import signal
import sys

from absl import app, flags, logging

from electra.hparams import load_hparams

flags.disclaim_key_flags()  # --help shows them with the command that calls define_run_flags
_TRUE = ("true", "t", "1", "yes")
_FALSE = ("false", "f", "0", "no")
# What a run's hparams.json holds besides hparams.
_ABOUT_THE_RUN = ("model_name", "tasks", "inputs", "trial_seed")


def run_door(main, booleans=()):
    """Runs a command whose flags absl reads; never returns.

    What the user can mend (a ValueError, a file that cannot be opened, too little memory) ends the
    program with one line and exit status 1, Ctrl-C with one line and 130. ELECTRA_TRACEBACK=1 in
    the environment shows where it came from.

    Args:
        main: takes what absl leaves of argv, returns the exit status or None.
        booleans: as in normalize_argv.
    """

    def guarded(argv):
        try:
            refuse_positionals(argv)
            return main(argv)
        except _mendable() as error:
            if os.environ.get("ELECTRA_TRACEBACK", "0") != "0":
                raise
            if isinstance(error, KeyboardInterrupt):
                print("Interrupted. The same command begins again or goes on", file=sys.stderr)
                sys.exit(130)
            message = " ".join(str(error).split())
            if os.strerror(errno.ENOSPC) in message:  # of TensorFlow's file writers too
                message += ". Make room on the disk and run the same command again"
            elif not isinstance(error, (ValueError, OSError)):
                # TensorFlow's goes on with the graph.
                message = f"Not enough memory: {message[:200]}. Choose smaller sizes"
            sys.exit(f"Error: {message}")

    make_tensorflow_quiet()
    app.run(guarded, argv=normalize_argv(sys.argv, booleans))


def make_tensorflow_quiet():
    """Silences TensorFlow's notes on devices and retracing; before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    standard_logging.getLogger("tensorflow").setLevel("ERROR")


def import_tensorflow_quietly():
    """Imports TensorFlow without the notes that it writes even at log level 3; else does nothing.

    Source: issue 100442 of tensorflow/tensorflow, of version 2.19.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":
        return
    try:
        stderr = os.dup(2)
    except OSError:  # closed
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        importlib.import_module("tensorflow")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _mendable():
    """Returns the errors that are shown in one line; TensorFlow's once it was imported."""
    found = sys.modules.get("tensorflow")
    of_tensorflow = (found.errors.ResourceExhaustedError,) if found else ()
    return (ValueError, OSError, MemoryError, KeyboardInterrupt, *of_tensorflow)


def define_run_flags():
    """Defines the flags of run_pretraining.py and run_finetuning.py."""
    flags.DEFINE_string("data_dir", None, "Root of the data layout.", required=True)
    flags.DEFINE_string("model_name", None, "Names the model's folder.", required=True)
    flags.DEFINE_string(
        "hparams", "{}", "A JSON dict of hparams, or the path of one, as a run's hparams.json."
    )


def run_settings(values):
    """Reads those flags.

    Args:
        values: absl's flags, or what has such attributes.
    Returns: (model_name, data_dir, hparams).
    Raises:
        ValueError: --hparams is no JSON dict, or is the hparams.json of another model.
        FileNotFoundError: it is a path and nothing lies there.
    """
    hparams = load_hparams(values.hparams)
    about = {name: hparams.pop(name) for name in _ABOUT_THE_RUN if name in hparams}
    if about.get("model_name", values.model_name) != values.model_name:
        raise ValueError(
            f"--hparams is of model {about['model_name']!r}, and its places are that model's. "
            f"Received: --model_name {values.model_name}. Take that model, or model_name and the "
            "places out of the dict"
        )
    return values.model_name, values.data_dir, hparams


def start_run():
    """Sets up the process of a run: notes in the log, exit at SIGTERM."""
    logging.set_verbosity(logging.INFO)
    # While it trains, the loop handles SIGTERM; before and after that nothing is left to save.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def normalize_argv(argv, booleans):
    """Rewrites the spellings of the official commands into those that absl reads.

    Args:
        argv: list of strings, the program's name first.
        booleans: names of the boolean flags, with underscores.
    Returns: list of strings. Hyphens in flag names become underscores, values stay as they are;
        what follows a bare `--` is left alone.
    Source: the argparse flags of the official builder, which spell one boolean in two ways
        (`--do-lower-case` and `--no-lower-case`).

    >>> booleans = {"do_lower_case", "strip_accents", "blanks_separate_docs"}
    >>> normalize_argv(["x", "--corpus-dir", "a-b", "--no-lower-case"], booleans)
    ['x', '--corpus_dir', 'a-b', '--nodo_lower_case']
    >>> normalize_argv(["x", "--do-strip-accents", "--blanks-separate-docs", "False"], booleans)
    ['x', '--strip_accents', '--noblanks_separate_docs']
    """
    result, rest = list(argv[:1]), list(argv[1:])
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*result, argument, *rest]
        if not argument.startswith("--"):
            result.append(argument)
            continue
        name, equals, value = argument[2:].partition("=")
        name = _boolean_spelling(name.replace("-", "_"), booleans)
        if name in booleans and not equals and rest and rest[0].lower() in _TRUE + _FALSE:
            equals, value = "=", rest.pop(0)
        if name in booleans and value.lower() in _TRUE + _FALSE:
            result.append(f"--{name}" if value.lower() in _TRUE else f"--no{name}")
        else:
            result.append(f"--{name}{equals}{value}")
    return result


def refuse_positionals(argv):
    """Refuses what absl left over after reading the flags.

    Args:
        argv: what absl hands to main, the program's name first.
    Raises:
        ValueError: anything follows the program's name.
    """
    if argv[1:]:
        raise ValueError(
            f"Command line: {' '.join(argv[1:])!r} belongs to no flag. Expected: only "
            "--name value or --name=value; quote values that hold spaces"
        )


def _boolean_spelling(name, booleans):
    """Returns the name that absl knows for a spelling of a boolean flag, others unchanged."""
    if name.startswith("no_"):
        for positive in (name[3:], f"do_{name[3:]}", name[3:].removeprefix("do_")):
            if positive in booleans:
                return f"no{positive}"
    if name.startswith("do_") and name not in booleans and name[3:] in booleans:
        return name[3:]
    return name
