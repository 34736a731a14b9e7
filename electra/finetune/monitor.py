"""What the dev scores of a training lead to: which step was the best, and when to stop.

Enters: the score of each evaluation. Leaves: a Verdict for train/fit.py, numbers for checkpoints.
"""

import math

from electra.train.fit import Verdict


class Monitor:
    """Follows the score of a trial while it trains; the higher, the better.

    Args:
        load_best_model_at_end, early_stopping_patience, early_stopping_min_delta: the hparams.
    Attributes:
        best_step, best_score: of the best evaluation, of equals the first; -1 and -inf before.
        waited: evaluations since the score last rose by more than early_stopping_min_delta.
    """

    def __init__(
        self, load_best_model_at_end, early_stopping_patience=None, early_stopping_min_delta=0.0
    ):
        self.keeps_best = load_best_model_at_end
        self.patience, self.min_delta = early_stopping_patience, early_stopping_min_delta
        self.best_step, self.best_score = -1, -math.inf
        self._risen_to, self.waited = -math.inf, 0

    @property
    def is_over(self):
        """Whether patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    @property
    def kept_steps(self):
        """The steps whose checkpoints are kept besides the newest."""
        return [self.best_step] if self.keeps_best else []

    def update(self, step, score):
        """Takes the score of an evaluation. Returns: Verdict."""
        self.waited += 1
        if score > self._risen_to + self.min_delta:
            self._risen_to, self.waited = score, 0
        is_best = score > self.best_score
        if is_best:
            self.best_step, self.best_score = step, score
        return Verdict(save=is_best and self.keeps_best, stop=self.is_over)

    def dump(self):
        """Returns what the state of a checkpoint says of it, {} before the first evaluation."""
        if self.best_step < 0:
            return {}
        return {"monitor": [self.best_step, self.best_score, self._risen_to, self.waited]}

    def load(self, checkpoint):
        """Takes what `dump` gave from the state of a Checkpoint, if it is there.

        Raises:
            ValueError: damaged numbers.
        """
        dumped = checkpoint.state.get("monitor")
        if dumped:
            step, self.best_score, self._risen_to, waited = checkpoint.numbers(
                dumped, (4,)
            ).tolist()
            self.best_step, self.waited = int(step), int(waited)
