"""What a person sees of a command: a progress bar, and log lines without prefixes.

Both are for who sits at a terminal; notebooks have the bar too. Where standard error is neither,
log lines have absl's prefixes and no bar is drawn. Uses tqdm.
"""

import contextlib
import logging as standard_logging
import sys
import time
import warnings

import tqdm
from absl import flags, logging


def is_terminal():
    """Whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def is_notebook():
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None


def bar(**options):
    """Returns a tqdm bar; it is disabled where nobody would see it move.

    Args:
        options: of tqdm.
    """
    options["disable"] = options.get("disable") or not (is_terminal() or is_notebook())
    kind = tqdm.tqdm
    if is_notebook():
        with warnings.catch_warnings():  # without ipywidgets it is a line of text
            warnings.simplefilter("ignore", tqdm.TqdmWarning)
            from tqdm.auto import tqdm as kind
    return kind(dynamic_ncols=True, **options)


def move_untimed(shown, n):
    """Moves a bar by n whose time does not count: they waited for a program to compile."""
    shown.n += n
    shown.initial = shown.last_print_n = shown.n
    shown.start_t = shown.last_print_t = time.time()
    shown.refresh()


@contextlib.contextmanager
def above_bars():
    """While active, what is written to standard error goes above the bars that are drawn."""
    with tqdm.tqdm.external_write_mode(sys.stderr):
        yield


class _PlainFormatter(standard_logging.Formatter):
    def format(self, record):
        text = super().format(record)
        is_note = record.levelno < standard_logging.WARNING
        return text if is_note else f"{record.levelname.capitalize()}: {text}"


class _AboveBars(standard_logging.Handler):
    """Hands records on to another handler while bars are out of its way."""

    def __init__(self, handler):
        super().__init__()
        self.handler = handler

    def emit(self, record):
        with above_bars():
            self.handler.handle(record)


def _is_verbosity_given():
    return "verbosity" in flags.FLAGS and flags.FLAGS["verbosity"].present


def log_for_people():
    """At a terminal, takes absl's prefixes away and keeps log lines off the bars; once the flags
    are read. With --verbosity lines stay as absl writes them."""
    handler = logging.get_absl_handler()
    root = standard_logging.getLogger()
    if not is_terminal() or handler not in root.handlers:
        return
    if not _is_verbosity_given():
        handler.setFormatter(_PlainFormatter())
    root.removeHandler(handler)
    root.addHandler(_AboveBars(handler))


def log_info():
    """Shows what is logged as info, unless --verbosity says what is shown."""
    if not _is_verbosity_given():
        logging.set_verbosity(logging.INFO)
