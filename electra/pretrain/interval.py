"""The numbers of a pre-training log line, from those of its steps."""

from electra.pretrain.metrics import metrics_from_sums
from electra.pretrain.objectives import loss_from_sums
from electra.train.interval import Interval


class PretrainingInterval(Interval):
    """Adds the metrics of pre-training and the share of the devices' peak.

    Args:
        model: PretrainingModel.
        flops_per_example: of a training step, see pretrain/flops.py.
        peak_flops: function without arguments, FLOP/s of the devices; called when a line is due.
            None leaves the share out.
        about: dict that every line begins with.
    """

    def __init__(self, model, flops_per_example, peak_flops, about=None):
        super().__init__()
        self.model, self.about = model, about or {}
        self.flops_per_example, self.peak_flops = flops_per_example, peak_flops

    def numbers(self):
        metrics = metrics_from_sums(self.sums)
        values = {**self.about, "loss": loss_from_sums(self.model.loss_terms, self.sums)}
        if "masked_lm_loss" in metrics:
            values["masked_lm_loss"] = metrics["masked_lm_loss"]
        if "disc_auc" in metrics:
            values["disc_loss"] = float(self.sums["token_loss"] / self.sums["tokens"])
            values["disc_auc"] = metrics["disc_auc"]
        return values

    def speeds(self, examples_per_sec):
        flops = examples_per_sec * self.flops_per_example
        share = {"share_of_peak": flops / self.peak_flops()} if self.peak_flops else {}
        return {"model_flops_per_sec": flops, **share}
