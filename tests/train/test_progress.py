"""What a person sees of a run's steps: a bar or lines; compiling has no part in speed and time."""

import io
import json
import logging
import types

import numpy as np
import pytest

from electra import console
from electra.train import progress
from electra.train.fit import fit
from electra.train.interval import Interval
from electra.train.lines import TRAIN_LOG, read_lines
from electra.train.logs import RunLog
from electra.train.loop import Steps

BATCH, COMPILING, STEP, SAVING = 10, 40.0, 2.0, 1.0


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class Screen(io.StringIO):
    """A terminal, or a pipe."""

    def __init__(self, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal

    @property
    def texts(self):
        return [text.strip() for text in self.getvalue().replace("\r", "\n").split("\n")]


class StandIn:
    """A loop whose first step compiles for 40 s; a step takes 2 s, and is told of every second."""

    placement = types.SimpleNamespace(device="CPU")
    stop_signal = None

    def __init__(self, clock):
        self.clock, self.is_new = clock, True

    def run(self, first, count):
        self.timed, self.untimed = (0, 0.0), ([], 0.0)
        if self.is_new:
            self.on_compile()
        for made in range(count):
            for _ in range(int(COMPILING if self.is_new else STEP)):
                self.clock.now += 1
                self.on_progress(first + made)
            if self.is_new:
                self.untimed, self.is_new = ([first], COMPILING), False
            else:
                self.timed = self.timed[0] + 1, self.timed[1] + STEP
            self.on_progress(first + made + 1)
        values = {"loss": np.ones(count), "learning_rate": np.ones(count)}
        values |= {"grad_norm": np.ones(count), "examples": np.full(count, BATCH)}
        return Steps(first, values, self.timed[1], *self.untimed)


@pytest.fixture
def watch(tmp_path, monkeypatch, caplog):
    """Function that runs to `last`; returns what was drawn, and the lines that were logged."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)

    def run(is_terminal, last=100, log_every=50, first=0, per_call=1000):
        screen, loop = Screen(is_terminal), StandIn(clock)
        monkeypatch.setattr("sys.stderr", screen)
        config = types.SimpleNamespace(
            iterations_per_loop=per_call,
            log_every_steps=log_every,
            save_checkpoints_steps=10**9,
            train_batch_size=BATCH,
        )
        with (
            caplog.at_level(logging.INFO, logger="absl"),
            RunLog(tmp_path, resume_step=first, last_step=last) as log,
        ):
            fit(loop, log, Interval(), config, step=first, last_step=last, save=lambda step: None)
        return screen.texts, caplog.messages

    return run


def test_a_terminal_shows_a_bar_and_lines_say_nothing_of_it(watch):
    drawn, lines = watch(is_terminal=True)
    assert any("| 0/100, compiling (usually " in text for text in drawn)
    # 5 examples a second, and 99 timed steps of 2 s: neither has anything of the 40 s.
    assert any("| 11/100, 5.0 examples/s  ETA 0:02:58" in text for text in drawn)
    assert drawn[-2].endswith("| 100/100, 5.0 examples/s")
    assert lines == ["step 50  loss 0.100  rate 1.00e+00", "step 100  loss 0.100  rate 1.00e+00"]


def test_without_a_terminal_there_are_lines_and_no_bar(watch):
    drawn, lines = watch(is_terminal=False, last=60, log_every=20)
    assert drawn == [""]
    assert lines[0] == "Compiling (usually 10 to 60 s) ..."
    told = [line for line in lines if "loss" in line]
    numbers = "loss 0.100  rate 1.00e+00  5.0 examples/s"
    assert told == [
        f"step 20/60  {numbers}  0 tokens/s  ETA 0:01:20",
        f"step 40/60  {numbers}  0 tokens/s  ETA 0:00:40",
        f"step 60/60  {numbers}  0 tokens/s",
    ]


@pytest.mark.parametrize("per_call", [1, 7, 1000])
def test_the_first_line_comes_after_a_minute_and_is_not_kept(watch, tmp_path, per_call):
    _, lines = watch(is_terminal=False, last=500, log_every=500, per_call=per_call)
    # After 60 s, 40 of them compiling, and then after 120, 240 and 480 more.
    early = [line for line in lines if "loss" not in line][1:]
    assert early[0] == "step 10/500  5.0 examples/s  ETA 0:16:20"
    assert [line.split("  ")[0] for line in early] == [
        *("step 10/500", "step 70/500", "step 190/500", "step 430/500"),
    ]
    assert [entry["step"] for entry in read_lines(tmp_path / TRAIN_LOG)] == [500]


def test_a_long_compilation_is_told_after_a_minute(watch, monkeypatch):
    monkeypatch.setattr("tests.train.test_progress.COMPILING", 100.0)
    _, lines = watch(is_terminal=False)
    assert lines[1] == "step 0/100  still compiling"


def test_speed_in_the_log_leaves_the_compiled_step_out(watch, tmp_path):
    watch(is_terminal=False, last=3, log_every=1)
    entries = [json.loads(line) for line in (tmp_path / TRAIN_LOG).read_text().splitlines()]
    assert [entry.get("examples_per_sec") for entry in entries] == [None, 5.0, 5.0]


def test_a_run_that_goes_on_counts_from_where_it_begins(watch):
    drawn, _ = watch(is_terminal=True, first=80)
    assert any("| 91/100, 5.0 examples/s  ETA 0:00:18" in text for text in drawn)


def test_later_programs_and_the_first_evaluation_stop_the_clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr("sys.stderr", Screen(False))
    shown = progress.Progress(0, 30, lambda step: 3.0 * step)
    shown.open()
    clock.now += 8  # the evaluation at step 0
    shown.compiling("CPU")
    clock.now += 40 + 9 * 2
    shown.add(Steps(0, {"loss": np.ones(10)}, 18.0, [0], 40.0))
    assert "ETA 0:00:40" in shown.line(10, {})
    with shown.evaluating():  # it compiles
        clock.now += 50
    with shown.evaluating():
        clock.now += 19  # as all later ones do
    clock.now += 30 + 19
    shown.add(Steps(10, {"loss": np.ones(10)}, 19.0, [15], 30.0))
    # 18 steps took 18 + 19 + 19 seconds.
    assert f"ETA 0:00:{round(10 * 56 / 18)}" in shown.line(20, {})


def test_a_bar_is_for_terminals_and_notebooks(monkeypatch):
    for is_terminal, is_notebook, shown in ((True, False, 1), (False, True, 1), (False, False, 0)):
        screen = Screen(is_terminal)
        monkeypatch.setattr("sys.stderr", screen)
        monkeypatch.setattr(console, "is_notebook", lambda answer=is_notebook: answer)
        with console.bar(total=8, desc="rows") as bar:
            console.move_untimed(bar, 2)
            bar.update(6)
        assert ("8/8" in screen.getvalue()) == bool(shown)
    monkeypatch.setattr("sys.stderr", None)
    with console.bar(total=8) as bar:
        console.move_untimed(bar, 2)
        bar.update(6)
