"""What a person sees of a run's steps: a bar at a terminal and in notebooks, lines elsewhere.

Nothing of it is kept: train/logs.py writes what a run leaves.
"""

import contextlib
import datetime
import time

from absl import logging

from electra import console

# The first step and all that it waits for; docs/monitoring.md says what was measured.
_COMPILING = {
    "CPU": "compiling (usually 10 to 60 s)",
    "GPU": "compiling (a minute or two, less where an earlier run kept its programs)",
    "TPU": "compiling (minutes)",
}
_SECONDS_TO_A_LINE = 60  # the first at the latest; twice as long to each one after it
_SECONDS_BETWEEN_DRAWINGS = 0.5
_LEARNING = {
    "phase": "phase {}",
    "loss": "loss {:.3f}",
    "masked_lm_loss": "MLM {:.3f}",
    "disc_loss": "RTD {:.4f}",
    "disc_auc": "disc_auc {:.3f}",
    "learning_rate": "rate {:.2e}",
}
_SPEED = {
    "examples_per_sec": "{:.1f} examples/s",
    "tokens_per_sec": "{:.0f} tokens/s",
    "model_flops_per_sec": "{:.3g} FLOP/s",
    "share_of_peak": "{:.1%} of peak",
}
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"


class Progress:
    """Tells how far a run is, how fast, and what time is left.

    Its clock leaves compiling out: it begins with the end of the first step, and stands still while
    later programs compile.

    Args:
        first_step: updates already made; last_step: at which the run ends.
        work: function from the step to the work until then, in any unit.
    Attributes:
        has_bar: whether a bar is drawn; then lines need not say what it says.
    """

    def __init__(self, first_step, last_step, work):
        self._step, self._last_step, self._work = first_step, last_step, work
        self._speed, self._seconds_left = {}, None
        self._wait, self._is_new = _SECONDS_TO_A_LINE, True
        self.has_bar = False
        self._begin()

    def _begin(self):
        self._first_step, self._began = self._step, time.monotonic()
        self._untimed_seconds = self._untimed_work = 0.0

    def open(self):
        """Draws the bar."""
        self._begin()
        self._said_at = self._drawn_at = self._began
        self._bar = console.bar(
            total=self._last_step, initial=self._step, desc="training", bar_format=_BAR
        )
        self.has_bar = not self._bar.disable

    def close(self):
        """Leaves the bar as it stands."""
        self._draw(self._speed_and_time())
        self._bar.close()

    def aim(self, step, what):
        """Has the bar lead to a step and say what is made until then."""
        self._bar.total, self._is_new = step, True
        self._bar.set_description_str(what, refresh=False)

    def compiling(self, device):
        """Says that the next step waits for a program of "CPU", "GPU" or "TPU"."""
        if self._step == self._first_step:
            self._begin()
        if self.has_bar:
            self._draw(f"{_COMPILING[device]} ...")
        else:
            logging.info("%s ...", _COMPILING[device].capitalize())

    def move(self, step, examples_per_sec=None, untimed=(), untimed_seconds=0.0):
        """Tells of the steps that a running call has made so far.

        Args:
            step: updates made.
            examples_per_sec: of the log line that has begun; None where no step was timed yet.
            untimed: the steps of the call that waited for a program, by the number of updates
                before them; untimed_seconds: they took.
        """
        now = time.monotonic()
        if step > self._step:
            self._step = step
            self._set_time(now - untimed_seconds, self._work_of(untimed))
        if examples_per_sec is not None:
            self._speed = {"examples_per_sec": examples_per_sec}
        if self.has_bar and now - self._drawn_at >= _SECONDS_BETWEEN_DRAWINGS and self._speed:
            self._draw(self._speed_and_time())
        elif not self.has_bar and now - self._said_at >= self._wait:
            self._wait *= 2
            line = readable(self._step, self._last_step, self._speed, self._seconds_left)
            self.say(line if self._speed else f"{line}  still compiling")

    def add(self, steps, examples_per_sec=None):
        """Takes the Steps that a call has made, and examples_per_sec as `move`."""
        self._untimed_seconds += steps.untimed_seconds
        self._untimed_work += self._work_of(steps.untimed)
        self.move(steps.first + len(steps), examples_per_sec)

    @contextlib.contextmanager
    def evaluating(self):
        """While active, an evaluation runs; the first one's time does not count: it compiles."""
        began = time.monotonic()
        if self.has_bar:
            self._draw("evaluating ...")
        yield
        if self._is_new:
            self._untimed_seconds += time.monotonic() - began
        self._is_new = False

    def line(self, step, values):
        """Returns the numbers of a log line as one to read."""
        self.move(step)
        if self.has_bar:  # it says the rest
            return "  ".join([f"step {step}", *_shown(values, _LEARNING)])
        return readable(step, self._last_step, values, self._seconds_left)

    def say(self, line):
        """Logs a line to read; the bar goes below it."""
        if self.has_bar:
            self._draw(self._speed_and_time())
        with console.above_bars():
            logging.info("%s", line)
        self._said_at = time.monotonic()

    def _speed_and_time(self):
        return "  ".join([*_shown(self._speed, _SPEED), *_time(self._seconds_left)])

    def _draw(self, text):
        self._drawn_at, self._bar.n = time.monotonic(), self._step
        self._bar.set_postfix_str(text)

    def _work_of(self, steps):
        return sum(self._work(step + 1) - self._work(step) for step in steps)

    def _set_time(self, now, untimed_work):
        """Finds the time left from that which the steps until `now` took."""
        first, made, last = map(self._work, (self._first_step, self._step, self._last_step))
        timed = made - first - self._untimed_work - untimed_work
        if timed > 0:
            seconds = max(now - self._began - self._untimed_seconds, 0.0)
            self._seconds_left = seconds * (last - made) / timed


def readable(step, last_step, values, seconds_left):
    """Returns the numbers of an interval as one line to read; seconds_left None is not shown.

    >>> readable(200, 1000, {"loss": 44.98765, "examples_per_sec": 31.2}, 3725)
    'step 200/1000  loss 44.988  31.2 examples/s  ETA 1:02:05'
    """
    numbers = _shown(values, _LEARNING | _SPEED)
    return "  ".join([f"step {step}/{last_step}", *numbers, *_time(seconds_left)])


def _shown(values, names):
    return [text.format(values[name]) for name, text in names.items() if name in values]


def _time(seconds_left):
    if not seconds_left:  # unknown, or at the end
        return []
    return [f"ETA {datetime.timedelta(seconds=round(seconds_left))}"]
