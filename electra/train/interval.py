"""The numbers of a log line, from those of its steps.

Enters: what the loop returned for some steps. Leaves: one dict a log line.
"""

import numpy as np

from electra.pretrain.metrics import metrics_from_sums
from electra.train.evaluation import training_loss


class Interval:
    """Adds up the numbers of the steps since the last log line.

    The sums are float64, added step by step and saved with every checkpoint, so that a resumed
    run logs what an unbroken one would have logged.

    Args:
        model: PretrainingModel.
        flops_per_example: of a training step, see pretrain/flops.py.
        peak_flops: function without arguments, FLOP/s of the devices; called when a line is due.
    """

    _LAST = ("learning_rate", "grad_norm")  # of the last step; all else is summed

    def __init__(self, model, flops_per_example, peak_flops):
        self.model = model
        self.flops_per_example, self.peak_flops = flops_per_example, peak_flops
        self._reset()

    def _reset(self):
        self.sums, self.restored, self.seconds = {}, {}, 0.0

    def add(self, steps):
        for name, rows in steps.values.items():
            for row in rows.astype(np.float64):
                is_last = name in self._LAST
                self.sums[name] = row if is_last else self.sums.get(name, 0.0) + row
        self.seconds += steps.seconds

    def finish(self):
        """Returns the numbers of a log line and starts anew."""
        sums, seconds = self.sums, max(self.seconds, 1e-9)
        metrics = metrics_from_sums(sums)
        values = {"loss": training_loss(self.model, sums)}
        if "masked_lm_loss" in metrics:
            values["masked_lm_loss"] = metrics["masked_lm_loss"]
        if "disc_auc" in metrics:
            values["disc_loss"] = float(sums["token_loss"] / sums["tokens"])
            values["disc_auc"] = metrics["disc_auc"]
        values.update({name: float(sums[name]) for name in self._LAST})
        for name in ("examples", "tokens"):  # what this process made, not one before it
            made = float(sums[name] - self.restored.get(name, 0.0))
            values[f"{name}_per_sec"] = made / seconds
        values["model_flops_per_sec"] = values["examples_per_sec"] * self.flops_per_example
        values["share_of_peak"] = values["model_flops_per_sec"] / self.peak_flops()
        self._reset()
        return values

    def dump(self):
        """Returns the sums as JSON values."""
        return {name: np.asarray(value).tolist() for name, value in self.sums.items()}

    def load(self, dumped):
        self._reset()
        self.sums = {name: np.float64(value) for name, value in (dumped or {}).items()}
        self.restored = dict(self.sums)
