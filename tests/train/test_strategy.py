"""Choosing devices: what each name gives here, and the errors of what is not there."""

import json

import pytest
import tensorflow as tf

from electra.train import strategy as strategy_module
from electra.train.strategy import choose_placement


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)


@pytest.mark.parametrize("strategy", ["auto", "one"])
def test_one_cpu_is_one_replica(strategy):
    placement = choose_placement(strategy, precision="float32")
    assert (placement.num_replicas, placement.num_workers, placement.device) == (1, 1, "CPU")
    assert (placement.is_chief, placement.compile_step) == (True, False)
    assert placement.describe() == (
        "1 replica(s) on CPU, 1 process(es), OneDeviceStrategy, float32, compiled islands"
    )


def test_mirrored_takes_every_device():
    placement = choose_placement("mirrored", precision="bfloat16", xla=True)
    assert placement.num_replicas == len(tf.config.list_logical_devices("CPU")) == 2
    assert (placement.dtype, placement.compile_step) == ("mixed_bfloat16", True)
    assert placement.is_chief


def test_no_gpu_is_said_at_start(caplog):
    with caplog.at_level("INFO", logger="absl"):
        choose_placement("one")
    assert "No GPU found: training on the CPU. TF_CPP_MIN_LOG_LEVEL=0 in the env" in caplog.text


def test_require_gpu_stops_without_one():
    with pytest.raises(ValueError, match="require_gpu is set, but TensorFlow finds no GPU"):
        choose_placement("auto", require_gpu=True)


def test_multi_worker_needs_a_cluster():
    with pytest.raises(ValueError, match="TF_CONFIG is not set"):
        choose_placement("multi_worker")


@pytest.mark.parametrize("strategy", ["auto", "multi_worker"])
@pytest.mark.parametrize(
    "text",
    [
        "{cluster", "[]", "5", '{"cluster": []}', '{"cluster": {"worker": "a"}}',
        '{"cluster": {"worker": [["a:1"]]}}', '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
    ],
)  # fmt: skip
def test_a_malformed_cluster_is_refused(monkeypatch, text, strategy):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="variable TF_CONFIG is malformed"):
        choose_placement(strategy)


def test_a_tpu_that_is_not_there_is_named(monkeypatch):
    def resolver(**kwargs):
        raise RuntimeError("Missing runtime dependency.")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
    with pytest.raises(ValueError, match="The TPU 'medium'.*Missing runtime dependency"):
        choose_placement("auto", use_tpu=True, tpu_name="medium")


def test_a_cluster_of_one_process_is_no_cluster(monkeypatch):
    cluster = {"worker": ["localhost:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster}))
    assert choose_placement("auto").num_workers == 1


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({"worker": ["a:1", "b:1"]}, {"worker 0"}),
        ({"chief": ["a:1"], "worker": ["b:1", "c:1"]}, {"chief 0"}),
    ],
)
def test_a_cluster_has_one_chief(monkeypatch, cluster, expected):
    found = set()
    for role, hosts in cluster.items():
        for index in range(len(hosts)):
            about = {"cluster": cluster, "task": {"type": role, "index": index}}
            monkeypatch.setenv("TF_CONFIG", json.dumps(about))
            resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
            if strategy_module._is_chief(resolver):
                found.add(f"{role} {index}")
    assert found == expected
