"""What a run came to, for who calls it from Python; commands print it and exit with its status."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What run_pretraining returns.

    Attributes:
        folder: str, of the model; electra.load opens it.
        step: int, updates that the model was trained for.
        scores: dict metric -> float, on held-out text; {} where nothing was evaluated.
        stop_signal: int, the signal that stopped the run with something left to do, which the same
            call does then; None where it came to its end.
        report: str, what a command prints.
    """

    folder: str
    step: int
    scores: dict[str, Any]
    stop_signal: int | None = None
    report: str = dataclasses.field(default="", repr=False)

    @property
    def was_stopped(self) -> bool:
        """Whether a signal stopped the run before its end."""
        return self.stop_signal is not None

    @property
    def exit_status(self) -> int:
        """0, or 128 and the number of the signal."""
        return 0 if self.stop_signal is None else 128 + self.stop_signal
