"""A run's way to its last step: what is due after each call of the loop, in which order.

Enters: a Loop and the step it goes on from; functions that evaluate and save. Leaves: how far it
came, and the signal that stopped it.
"""

import dataclasses
import math
import time

import numpy as np

from electra.saving import checkpoints
from electra.train.loop import stopping_signals

_FEWEST_LINES, _MOST_STEPS_OF_A_LINE = 25, 100  # of a log, where log_every_steps is not given


class NonFiniteLossError(ValueError):
    """The loss or the gradient norm became infinite or not a number."""


@dataclasses.dataclass(frozen=True)
class FitResult:
    """How training ended: the step it reached, and the signal that stopped it, or None."""

    step: int
    stop_signal: int | None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What follows from an evaluation: whether to save at once, whether to end the training."""

    save: bool = False
    stop: bool = False


def fit(
    loop,
    log,
    interval,
    config,
    *,
    step,
    last_step,
    save,
    save_seconds=math.inf,
    steps_of_run=None,
    evaluate=None,
    evaluate_every=0,
    evaluate_first=True,
    warmup="num_warmup_steps",
):
    """Makes the steps that are left; logs, evaluates and saves in this order where it is due.

    SIGTERM and Ctrl-C end it after the running step, with a checkpoint.

    Args:
        loop: Loop.
        log: RunLog, entered.
        interval: Interval, with what a checkpoint brought of the line that has begun.
        config: RunConfig: its log_every_steps and save_checkpoints_steps are due at their multiples
            and at the end, its iterations_per_loop are the steps of a call at most.
        step: updates made; last_step: at the end; steps_of_run: at that of the whole run, if it is
            another.
        save: function of the step; due too when save_seconds have passed since it was called.
        evaluate: function of the step that may return a Verdict; due at multiples of
            evaluate_every (0: never), at the end, and with evaluate_first at step 0.
        warmup: name of the hparam that lengthens the warm-up.
    Returns: FitResult.
    Raises:
        NonFiniteLossError: the training diverged.
    """
    log_every = config.log_every_steps or _log_every(steps_of_run or last_step)
    save_every = config.save_checkpoints_steps
    saved_step, saved_at = step, time.monotonic()

    def tell(step):
        count, seconds = loop.timed
        speed = interval.examples_per_sec(count * config.train_batch_size, seconds)
        log.progress(step, speed, *loop.untimed)

    def evaluated(step):
        with log.evaluating():
            return evaluate(step)

    loop.on_progress = tell
    loop.on_compile = lambda: log.compiling(loop.placement.device)
    with stopping_signals(loop):
        if evaluate_every and evaluate_first and step == 0:
            evaluated(step)
        verdict = Verdict()
        while step < last_step and not (loop.stop_signal or verdict.stop):
            due = next_boundary(step, last_step, log_every, save_every, evaluate_every)
            steps = loop.run(step, min(due - step, config.iterations_per_loop))
            refuse_non_finite(steps, log.folder, warmup)
            interval.add(steps)
            log.add(steps, interval.examples_per_sec())
            step += len(steps)
            is_last = step == last_step
            if step % log_every == 0 or is_last:
                log.train(step, interval.finish())
            is_due = evaluate_every and (step % evaluate_every == 0 or is_last)
            verdict = (is_due and evaluated(step)) or Verdict()
            is_late = time.monotonic() - saved_at >= save_seconds
            if step % save_every == 0 or is_last or is_late or verdict.save:
                save(step)
                saved_step, saved_at = step, time.monotonic()
        if saved_step != step:
            save(step)
    return FitResult(step, loop.stop_signal)


def refuse_non_finite(steps, folder, warmup):
    """Stops a run that diverged.

    Args:
        steps: Steps with a learning_rate.
        folder: of the run's checkpoints.
        warmup: name of the hparam that lengthens the warm-up.
    Raises:
        NonFiniteLossError: a number is not finite; step, name and last checkpoint are named.
    """
    finite = {
        name: np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        for name, rows in steps.values.items()
    }
    is_good = np.all(list(finite.values()), axis=0)
    if is_good.all():
        return
    first = int(np.argmin(is_good))
    bad = [name for name, rows in finite.items() if not rows[first]]
    last_good = checkpoints.latest(folder) or "none was saved yet"
    raise NonFiniteLossError(
        f"Step {steps.first + first + 1}: {', '.join(bad)} not finite at learning rate "
        f"{steps.values['learning_rate'][first]:.3g}. Last good checkpoint: {last_good}. "
        f"Lower learning_rate, lengthen {warmup}, or use precision float32"
    )


def _log_every(steps):
    """Returns the steps between log lines that suit a run of some steps: short ones are curves too.

    >>> [_log_every(steps) for steps in (10, 57, 10_000)]
    [1, 2, 100]
    """
    return min(_MOST_STEPS_OF_A_LINE, max(1, steps // _FEWEST_LINES))


def next_boundary(step, last, *periods):
    """Returns the next step after `step` at which something is due.

    Args:
        step: now; last: the end of the run.
        periods: numbers of steps; 0 means never.

    >>> next_boundary(130, 1000, 100, 250)
    200
    """
    return min([last, *(step - step % period + period for period in periods if period)])
