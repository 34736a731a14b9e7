"""What a run writes down: train_log.jsonl, eval_log.jsonl, TensorBoard, a line to read.

On going on, all of it is cut back to the step of the checkpoint, so that a run that was killed
leaves the same logs as one that was not. Uses tqdm for the progress bar.
"""

import datetime
import json
import os
import sys
import time

import tqdm
from absl import logging

from electra.train.lines import EVAL_LOG, TRAIN_LOG, cut_back_lines
from electra.train.tensorboard import TensorBoard, cut_back_events

_SECONDS_BETWEEN_BARS = 30  # where no terminal shows them


class RunLog:
    """Writes a run's numbers to its folder; a context manager.

    Args:
        folder: of the model.
        resume_step: updates already made; later entries of the logs are removed. At 0 all entries
            are, since a run that begins logs its step 0 again.
        last_step: at which the run ends, for the progress bar.
        work: function from the step to the work until then, in any unit, for the time left.
        enabled: False writes and shows nothing (all processes but the chief).
        name: folder in this one for TensorBoard.
        charts: of TensorBoard.
    """

    def __init__(
        self, folder, *, resume_step, last_step, work=float, enabled=True, name="", charts=None
    ):
        self.folder, self.enabled = os.fspath(folder), enabled
        self.last_step, self._first_step, self._work = last_step, resume_step, work
        self._files, self._bar = {}, None
        self._board = TensorBoard(os.path.join(self.folder, name), charts)
        self._started = time.monotonic()
        if enabled:
            os.makedirs(self.folder, exist_ok=True)
            last_kept = resume_step or -1
            for name in (TRAIN_LOG, EVAL_LOG):
                cut_back_lines(os.path.join(self.folder, name), last_kept)
            cut_back_events(self.folder, last_kept)

    def __enter__(self):
        if self.enabled:
            for name in (TRAIN_LOG, EVAL_LOG):
                self._files[name] = open(os.path.join(self.folder, name), "a", encoding="utf-8")
            is_shown = sys.stderr and sys.stderr.isatty()
            self._bar = tqdm.tqdm(
                total=self.last_step,
                initial=self._first_step,
                unit="step",
                dynamic_ncols=True,
                smoothing=0.1,
                desc="training",
                disable=sys.stderr is None,
                mininterval=0.1 if is_shown else _SECONDS_BETWEEN_BARS,
                maxinterval=10 if is_shown else _SECONDS_BETWEEN_BARS,
            )
            self._started = time.monotonic()
        return self

    def __exit__(self, *error):
        if self.enabled:
            self._bar.close()
            self._board.close()
            for file in self._files.values():
                file.close()

    def aim(self, step, what):
        """Has the progress bar lead to a step and say what is made until then."""
        if self.enabled:
            self._bar.total = step
            self._bar.set_description(what, refresh=False)

    def progress(self, step):
        """Moves the progress bar."""
        if self.enabled and step > self._bar.n:
            self._bar.update(step - self._bar.n)

    def train(self, step, values):
        """Logs the numbers of an interval: dict name -> float."""
        if not self.enabled:
            return
        self.progress(step)
        self._line(TRAIN_LOG, step, values)
        self._board.scalars("train", step, values)
        with tqdm.tqdm.external_write_mode():
            logging.info("%s", readable(step, self.last_step, values, self._seconds_left(step)))

    def eval(self, step, metrics):
        """Logs metrics on held-out text."""
        if not self.enabled:
            return
        self._line(EVAL_LOG, step, metrics)
        self._board.scalars("eval", step, metrics)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        with tqdm.tqdm.external_write_mode():
            logging.info("step %d held-out: %s", step, shown)

    def text(self, step, tag, markdown):
        """Shows a text about held-out text in TensorBoard."""
        if self.enabled and markdown:
            self._board.text("eval", step, tag, markdown)

    def hparams(self, config, name, **values):
        """Shows the hparams of a RunConfig, and others, in TensorBoard: a table of all, and in its
        hparams panel as those of `name` the ones that shape a run."""
        if self.enabled and not self._first_step:
            hidden = {name for name, field in config.fields.items() if field.may_change}
            hidden -= {"num_train_steps"}
            self._board.hparams({**config.to_json(), **values}, name, hidden)

    def flush(self):
        """Makes all that was logged durable; call it before a checkpoint."""
        if self.enabled:
            self._board.flush()
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())

    def _seconds_left(self, step):
        first, now, last = map(self._work, (self._first_step, step, self.last_step))
        return (time.monotonic() - self._started) * (last - now) / max(now - first, 1.0)

    def _line(self, name, step, values):
        self._files[name].write(json.dumps({"step": int(step), **values}) + "\n")
        self._files[name].flush()


def readable(step, last_step, values, seconds_left):
    """Returns the numbers of an interval as one line to read.

    >>> readable(200, 1000, {"loss": 44.98765, "examples_per_sec": 31.2}, 3725)
    'step 200/1000  loss 44.988  31.2 examples/s  ETA 1:02:05'
    """
    names = {
        "phase": "phase {}",
        "loss": "loss {:.3f}",
        "masked_lm_loss": "MLM {:.3f}",
        "disc_loss": "RTD {:.4f}",
        "disc_auc": "disc_auc {:.3f}",
        "learning_rate": "rate {:.2e}",
        "examples_per_sec": "{:.1f} examples/s",
        "tokens_per_sec": "{:.0f} tokens/s",
        "model_flops_per_sec": "{:.3g} FLOP/s",
        "share_of_peak": "{:.1%} of peak",
    }
    shown = [text.format(values[name]) for name, text in names.items() if name in values]
    left = f"ETA {datetime.timedelta(seconds=round(seconds_left))}"
    return "  ".join([f"step {step}/{last_step}", *shown, left])
