"""What every command does: the command line before absl reads it, and errors as one line."""

import contextlib
import errno
import importlib
import logging as standard_logging
import os
import re
import signal
import sys
import traceback

from absl import app, flags

from electra import console
from electra.compilation import explain_damage, set_environment
from electra.hparams import load_hparams

flags.disclaim_key_flags()  # --help shows them with the command that calls define_run_flags
_TRUE = ("true", "t", "1", "yes")
_FALSE = ("false", "f", "0", "no")
# What a run's hparams.json holds besides hparams.
_ABOUT_THE_RUN = ("model_name", "tasks", "inputs", "label_priors", "trial_seed")
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_NOBODY_READS = 141  # as the kernel ends a program by SIGPIPE
_MISSING = re.compile(r"flag --(\w+)=None: Flag --\1 must have a value other than None\.")  # absl's
_NO_ROOM = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
_NO_MEMORY = re.compile(r"\boom\b|out of memory|alloc", re.IGNORECASE)


def run_command(main, booleans=()):
    """Runs a command whose flags absl reads; never returns.

    Args:
        main: takes what absl leaves of argv, returns the exit status or None.
        booleans: as in normalize_argv.
    """

    def guarded(argv):
        console.log_for_people()
        return exit_status(lambda: refuse_positionals(argv) or main(argv))

    make_tensorflow_quiet()
    try:
        try:
            app.run(guarded, normalize_argv(sys.argv, booleans), _parse_flags)
        finally:  # what --help left in the buffer
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(_NOBODY_READS)


def _parse_flags(argv):
    """Returns what flags leave of argv. What is wrong with them ends the command with one line."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        message = _MISSING.sub(r"--\1 is missing.", " ".join(str(error).split()))
        _say(f"Error: {message} (--help lists the flags)")
        sys.exit(1)


def exit_status(command):
    """Runs a command to its exit status.

    What the user can mend (a ValueError, a file that cannot be opened, too little memory) ends in
    one line and 1, Ctrl-C and SIGTERM in one line and 130 or 143, output that nobody reads on in
    141. ELECTRA_TRACEBACK=1 in the environment shows where it came from.

    Args:
        command: function without arguments; returns the exit status or None.
    Returns: exit status, or None for 0.
    """
    status, received = _NOBODY_READS, []

    def interrupt(signum, frame):
        received.append(signum)
        raise KeyboardInterrupt(signum)

    for number in _STOPPING:
        signal.signal(number, interrupt)
    try:
        try:
            _prepare_process()
            status = command()
            if sys.stdout:
                sys.stdout.flush()
        finally:  # what Python does at its end has no say in the status
            for number in _STOPPING:
                signal.signal(number, signal.SIG_IGN)
    except BrokenPipeError:  # `| head`
        _drop_output()
    except (Exception, KeyboardInterrupt) as error:
        message = _explained(error)
        if received or isinstance(error, KeyboardInterrupt):  # an import may raise another one
            message = "Interrupted. The same command begins again or goes on"
            status = 128 + (received or [signal.SIGINT])[0]
        elif message is not None:
            message, status = f"Error: {_shortened(message)}", 1
        else:
            raise
        if os.environ.get("ELECTRA_TRACEBACK", "0") != "0":
            traceback.print_exception(error)
        _say(message)
    return status


def _drop_output():
    """Keeps Python from flushing at its end what nobody reads."""
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_tensorflow_quiet():
    """Silences TensorFlow's notes on devices and retracing; before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    standard_logging.getLogger("tensorflow").setLevel("ERROR")


def import_tensorflow_quietly(compilation_cache_dir=None):
    """Imports TensorFlow, set up as compilation.set_environment says, without the notes that it
    writes even at log level 3; at other levels only sets it up.

    Source: issue 100442 of tensorflow/tensorflow, of version 2.19.
    """
    set_environment(compilation_cache_dir)
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


def _prepare_process():
    if sys.stdout:
        sys.stdout.reconfigure(errors="backslashreplace")  # a text may be no Unicode
    try:
        os.getcwd()
    except FileNotFoundError:
        raise FileNotFoundError(
            "The working folder was deleted. Change to one that is there"
        ) from None


def _explained(error):
    """Returns what the user reads of an error, None where it is a bug."""
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    is_of_tensorflow = errors is not None and isinstance(error, errors.OpError)
    message = " ".join(str(error).split())
    if match := re.search("|".join(_NO_ROOM), message):
        if is_of_tensorflow:  # it names the operation before the file, and goes on
            message = " ".join([*message[: match.start()].split()[-1:], match[0]])
        return f"{message}. Make room on the disk and run the same command again"
    if isinstance(error, (ValueError, OSError)):
        return message
    # Too many open files and such exhaust a resource too.
    if isinstance(error, MemoryError) or (is_of_tensorflow and _NO_MEMORY.search(message)):
        return f"Not enough memory: {message[:200]}. Choose smaller sizes"
    if is_of_tensorflow and isinstance(error, errors.ResourceExhaustedError):
        return message
    return explain_damage(message) if is_of_tensorflow else None


def _shortened(message):
    """Leaves the middle of a long message out: the remedy stands at the end."""
    return message if len(message) <= 2000 else f"{message[:1500]} [...] {message[-400:]}"


def _say(line):
    with contextlib.suppress(OSError):  # nobody reads any more
        if sys.stderr:
            print(line, file=sys.stderr)


def define_run_flags():
    """Defines the flags of run_pretraining.py and run_finetuning.py."""
    flags.DEFINE_string("data_dir", None, "Root of the data layout.", required=True)
    flags.DEFINE_string("model_name", None, "Names the model's folder.", required=True)
    about = "A JSON dict of hparams, or the path of one, as a run's hparams.json. "
    flags.DEFINE_multi_string("hparams", [], f"{about}Given again, the later one wins.")


def define_flags(fields):
    """Defines a flag for each setting.

    Args:
        fields: dict name -> electra.hparams.Field.
    """
    kinds = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for name, field in fields.items():
        kinds[field.kinds[0]](name, field.default, field.help)


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
            f"Received: --model_name {values.model_name}. Take model_name and places out of it"
        )
    return values.model_name, values.data_dir, hparams


def start_run(config_class, settings=run_settings):
    """Starts the process of a run: notes in the log, the config, and then TensorFlow.

    Args:
        config_class: a RunConfig.
        settings: function from absl's flags to (model_name, data_dir, hparams).
    Returns: the config.
    Raises:
        ValueError, FileNotFoundError: as `settings` and the config.
    """
    console.log_info()
    model_name, data_dir, hparams = settings(flags.FLAGS)
    config = config_class(model_name, data_dir, **hparams)
    config.check_files()
    import_tensorflow_quietly(config.compilation_cache_dir)
    return config


def end_run(result):
    """Prints what a run came to. Returns: the exit status.

    Args:
        result: electra.train.result.RunResult.
    """
    if result.report:
        print(result.report)
    return result.exit_status


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
    result, rest = [], list(argv)
    while rest and rest[0] != "--":
        argument = rest.pop(0)
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            name = _boolean_spelling(name.replace("-", "_"), booleans)
            if name in booleans and not equals and rest and rest[0].lower() in _TRUE + _FALSE:
                value = rest.pop(0)
            argument = f"--{name}{equals}{value}"
            if name in booleans and value.lower() in _TRUE + _FALSE:
                argument = f"--{name}" if value.lower() in _TRUE else f"--no{name}"
        result.append(argument)
    return result + rest


def refuse_positionals(argv):
    """Refuses what absl left over after reading the flags.

    Args:
        argv: what absl hands to main, the program's name first.
    Raises:
        ValueError: anything follows the program's name.
    """
    if argv[1:]:
        stray = " ".join(argv[1:])
        raise ValueError(f"Command line: {stray!r} belongs to no flag. Quote values with spaces")


def _boolean_spelling(name, booleans):
    """Returns the name that absl knows for a spelling of a boolean flag, others unchanged."""
    negation = "no" if name.startswith("no_") else ""
    positive = name.removeprefix("no_")
    for spelling in (positive, f"do_{positive}", positive.removeprefix("do_")):
        if spelling in booleans:
            return negation + spelling
    return name
