"""The numbers of a log line, from those of its steps.

Enters: what the loop returned for some steps. Leaves: one dict a log line.
"""

import numpy as np


class Interval:
    """Adds up the numbers of the steps since the last log line.

    The sums are float64, added step by step and saved with every checkpoint, so that a resumed
    run logs what an unbroken one would have logged.
    """

    _LAST = ("learning_rate", "grad_norm")  # of the last step; all else is summed
    _TIMED = ("examples", "tokens")
    _SHORTEST = 2  # seconds, from which a line's speed is its own

    def __init__(self):
        self._speed = None  # of the line before
        self._reset()

    def _reset(self):
        self.sums, self.timed, self.seconds = {}, dict.fromkeys(self._TIMED, 0.0), 0.0
        self._waited = self._measured = 0.0  # seconds: for data, and in which that was measured

    def add(self, steps):
        for name, rows in steps.values.items():
            for row in rows.astype(np.float64):
                before = self.sums.get(name, np.zeros_like(row))
                if before.shape != row.shape:
                    self.checkpoint.numbers(before, row.shape)  # says what is wrong
                self.sums[name] = row if name in self._LAST else before + row
        numbers = steps.first + np.arange(len(steps))
        is_timed = ~np.isin(numbers, steps.untimed)
        for name in self._TIMED:
            self.timed[name] += float(np.sum(steps.values.get(name, 0.0) * is_timed))
        self.seconds += steps.seconds
        if steps.waited is not None:
            self._waited += steps.waited
            self._measured += steps.seconds + steps.untimed_seconds

    def examples_per_sec(self, examples=0.0, seconds=0.0):
        """Returns the speed of the line that has begun, at its first seconds that of the one
        before; None where no step was timed.

        Args:
            examples, seconds: of the running call.
        """
        examples, seconds = self.timed["examples"] + examples, self.seconds + seconds
        if self._speed is not None and seconds < self._SHORTEST:
            return self._speed
        return examples / max(seconds, 1e-9) if examples else None

    def finish(self):
        """Returns the numbers of a log line and starts anew.

        Speeds leave out the steps that waited for a program; a line of no others has none.
        """
        values = self.numbers()
        values.update({name: float(self.sums[name]) for name in self._LAST})
        if self.timed["examples"]:
            for name, count in self.timed.items():
                values[f"{name}_per_sec"] = count / max(self.seconds, 1e-9)
            self._speed = values["examples_per_sec"]
            values.update(self.speeds(self._speed))
        if self._measured:
            values["data_wait_share"] = min(self._waited / self._measured, 1.0)
        self._reset()
        return values

    def numbers(self):
        """Returns the first numbers of a line, from `sums`."""
        return {"loss": float(self.sums["loss"] / self.sums["examples"])}

    def speeds(self, examples_per_sec):
        """Returns the last numbers of a line."""
        return {}

    def dump(self):
        """Returns the sums as JSON values."""
        return {name: np.asarray(value).tolist() for name, value in self.sums.items()}

    def load(self, checkpoint):
        """Takes what `dump` gave from the state of a Checkpoint, if it is there.

        Raises:
            ValueError: damaged sums; in `add`, sums of another shape than the steps'.
        """
        self._reset()
        self.checkpoint, dumped = checkpoint, checkpoint.state.get("interval", {})
        self.sums = {name: checkpoint.numbers(value)[()] for name, value in dumped.items()}
