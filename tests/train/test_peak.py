"""The measured peak: plausible, and counted once for logical devices of one machine."""

import dataclasses

import tensorflow as tf

from electra.train import peak
from electra.train.strategy import choose_placement


def test_peak_counts_a_machine_once_and_devices_each(monkeypatch):
    placement = choose_placement("one", precision="float32")
    found = peak.peak_flops(placement)
    assert 1e8 < found < 1e15
    monkeypatch.setattr(peak, "_one_device", lambda device, dtype: {"float32": 3.0}[dtype])
    two = choose_placement("mirrored", precision="float32")
    assert two.num_replicas == len(tf.config.list_logical_devices("CPU")) == 2
    assert peak.peak_flops(two) == 3.0
    assert peak.peak_flops(dataclasses.replace(two, device="GPU")) == 6.0
