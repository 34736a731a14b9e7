"""Choosing devices: what each name gives here, and the errors of what is not there."""

import json
import os
import re
import subprocess
import urllib.error

import pytest
import tensorflow as tf

from electra.train import strategy as strategy_module
from electra.train.strategy import choose_placement
from tests import pages
from tests.shared import ROOT


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


@pytest.mark.parametrize(
    ("strategy", "batches"),
    [("one", [[[0]], [[1]], [[2]]]), ("mirrored", [[[0], [1]], [[2], [3]]])],
)
def test_every_replica_gets_its_batches_in_turn(strategy, batches):
    placement, contexts = choose_placement(strategy), []

    def make_dataset(context):
        contexts.append(context)
        return tf.data.Dataset.range(4).batch(1)

    found = placement.iterate(make_dataset)
    values = placement.strategy.experimental_local_results
    assert [[v.numpy().tolist() for v in values(next(found))] for _ in batches] == batches
    assert [(c.num_input_pipelines, c.input_pipeline_id) for c in contexts] == [(1, 0)]


def test_batches_of_one_cpu_pass_through_no_other_dataset():
    """The strategy's would be tuned by tf.data, whatever the options of ours, see iterate."""
    found = choose_placement("one").iterate(lambda context: tf.data.Dataset.range(4))
    assert isinstance(found, tf.data.Iterator)


def test_no_gpu_is_said_at_start(caplog):
    with caplog.at_level("INFO", logger="absl"):
        choose_placement("one")
    assert "No GPU found: using the CPU. TF_CPP_MIN_LOG_LEVEL=0 in the env" in caplog.text


def test_a_gpu_multiplies_float32_in_float32_and_keeps_programs(monkeypatch, tmp_path, caplog):
    for name in ("XLA_FLAGS", "TF_XLA_FLAGS", "TF_FORCE_GPU_ALLOW_GROWTH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert tf.config.experimental.tensor_float_32_execution_enabled()
    try:
        with caplog.at_level("INFO", logger="absl"):
            cache = str(tmp_path / "programs")
            placement = choose_placement("one", precision="float32", compilation_cache_dir=cache)
        assert not tf.config.experimental.tensor_float_32_execution_enabled()
        product = tf.function(lambda x, y: x @ y, jit_compile=True, autograph=False)
        program = product.experimental_get_compiler_ir(*[tf.ones((2, 2))] * 2)(stage="hlo")
        assert "operand_precision={highest,highest}" in program
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)
    assert (placement.device, placement.compile_step) == ("GPU", True)
    (folder,) = (tmp_path / "programs").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert f"Programs that XLA compiles are kept in {folder}" in caplog.text


def test_require_gpu_stops_without_one():
    with pytest.raises(ValueError, match="require_gpu is set, but TensorFlow finds no GPU"):
        choose_placement("auto", require_gpu=True)


def test_multi_worker_needs_a_cluster():
    with pytest.raises(ValueError, match="TF_CONFIG is not set"):
        choose_placement("multi_worker")


TWO = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": %s}}'
ROLE = '{"cluster": {"worker": ["a:1"], "%s": ["b:1"]}, "task": {"type": "%s", "index": 0}}'
ADDRESSES = '{"cluster": {"worker": %s}, "task": {"type": "worker", "index": 0}}'


@pytest.mark.parametrize("strategy", ["auto", "multi_worker"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{cluster", "JSON: not JSON at line 1"),
        ("[]", "expected a JSON dict"),
        ("5", "expected a JSON dict"),
        ("[" * 10**5, "nested too deep"),
        ('{"cluster": []}', "cluster and task are no dicts"),
        ('{"task": [1]}', "cluster and task are no dicts"),
        ('{"cluster": {"worker": "a"}}', "addresses of 'worker' are no list"),
        (ADDRESSES % '[["a:1"]]', r"\['a:1'\] is no host:port"),
        (ADDRESSES % '["a", "b:1"]', "'a' is no host:port"),
        (ADDRESSES % '["a:0", "b:1"]', "'a:0' is no host:port"),
        (ADDRESSES % '["a:99999", "b:1"]', "'a:99999' is no host:port"),
        (ADDRESSES % '["a:x", "b:1"]', "'a:x' is no host:port"),
        (ADDRESSES % "[1, 2]", "1 is no host:port"),
        (ADDRESSES % '["a:1", "a:1"]', "given twice"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "type of task, None, is no role"),
        (ROLE % ("ps", "ps"), "role 'ps' in cluster is none of chief, worker"),
        (ROLE % ("evaluator", "worker"), "role 'evaluator' in cluster is none of"),
        (ROLE % ("chief", "ps"), "type of task, 'ps', is no role"),
        ('{"cluster": {"chief": ["a:1", "b:1"]}}', "several chiefs"),
        (TWO % 2, "index of task, 2, is none of 0 to 1"),
        (TWO % -1, "index of task, -1, is none of 0 to 1"),
        (TWO % '"zero"', "index of task, zero, is none of 0 to 1"),
        (TWO % "1.0", "index of task, 1.0, is none of"),
        (TWO % "null", "index of task, None, is none of"),
    ],
)
def test_a_malformed_cluster_is_refused(monkeypatch, text, message, strategy):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=f"variable TF_CONFIG is malformed: .*{message}") as error:
        choose_placement(strategy)
    assert 'Expected: {"cluster": {"worker": ["host0:2222", "host1:' in str(error.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("Missing runtime dependency."), urllib.error.URLError("No such name")]
)
def test_a_tpu_that_is_not_there_is_named(monkeypatch, error):
    def resolver(**kwargs):
        raise error

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
    with pytest.raises(ValueError, match="The TPU 'medium'.*(Missing|No such).*Set tpu_name"):
        choose_placement("auto", use_tpu=True, tpu_name="medium")


def test_a_cluster_of_one_process_is_no_cluster(monkeypatch):
    cluster = {"worker": ["localhost:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster}))
    assert choose_placement("auto").num_workers == 1


@pytest.mark.parametrize("index", [0, 1])
def test_the_job_of_the_page_sets_tf_config(monkeypatch, index):
    (block,) = (b for b in pages.blocks(ROOT / "docs/devices.md") if b.language == "yaml")
    script = re.search(r"( +hosts=.*)exec electra", block.text, re.S)[1]
    environment = {**os.environ, "JOB_COMPLETION_INDEX": str(index)}
    command = ["bash", "-euc", f'{script}echo "$TF_CONFIG"']
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    monkeypatch.setenv("TF_CONFIG", found.stdout)
    names = {f"electra-{i}.electra:2222": f"worker {i}" for i in range(2)}
    assert strategy_module._cluster() == (f"electra-{index}.electra:2222", names)


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
