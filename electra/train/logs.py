"""What a run writes down: train_log.jsonl, eval_log.jsonl, TensorBoard, a line to read.

On going on, all of it is cut back to the step of the checkpoint, so that a run that was killed
leaves the same logs as one that was not.
"""

import contextlib
import json
import os

from electra.train.lines import EVAL_LOG, TRAIN_LOG, cut_back_lines
from electra.train.progress import Progress
from electra.train.tensorboard import TensorBoard, cut_back_events


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
        self._first_step, self._files = resume_step, {}
        self._board = TensorBoard(os.path.join(self.folder, name), charts)
        self._progress = Progress(resume_step, last_step, work)
        if enabled:
            os.makedirs(self.folder, exist_ok=True)
            last_kept = resume_step or -1
            for log in (TRAIN_LOG, EVAL_LOG):
                cut_back_lines(os.path.join(self.folder, log), last_kept)
            cut_back_events(self.folder, last_kept)

    def __enter__(self):
        if self.enabled:
            for name in (TRAIN_LOG, EVAL_LOG):
                self._files[name] = open(os.path.join(self.folder, name), "a", encoding="utf-8")
            self._progress.open()
        return self

    def __exit__(self, *error):
        if self.enabled:
            self._progress.close()
            self._board.close()
            for file in self._files.values():
                file.close()

    def aim(self, step, what):
        """Has the progress bar lead to a step and say what is made until then."""
        if self.enabled:
            self._progress.aim(step, what)

    def compiling(self, device):
        """Says that the next step waits for a program, see Progress.compiling."""
        if self.enabled:
            self._progress.compiling(device)

    def progress(self, step, *of_the_call):
        """Tells of the steps that are made, see Progress.move."""
        if self.enabled:
            self._progress.move(step, *of_the_call)

    def add(self, steps, examples_per_sec=None):
        """Takes the Steps of a call for the progress, see Progress.add."""
        if self.enabled:
            self._progress.add(steps, examples_per_sec)

    def evaluating(self):
        """Returns a context manager in which an evaluation runs."""
        return self._progress.evaluating() if self.enabled else contextlib.nullcontext()

    def train(self, step, values):
        """Logs the numbers of an interval: dict name -> float."""
        if not self.enabled:
            return
        self._line(TRAIN_LOG, step, values)
        self._board.scalars("train", step, values)
        self._progress.say(self._progress.line(step, values))

    def eval(self, step, metrics):
        """Logs metrics on held-out text."""
        if not self.enabled:
            return
        self._line(EVAL_LOG, step, metrics)
        self._board.scalars("eval", step, metrics)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._progress.say(f"step {step} held-out: {shown}")

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

    def _line(self, name, step, values):
        self._files[name].write(json.dumps({"step": int(step), **values}) + "\n")
        self._files[name].flush()
