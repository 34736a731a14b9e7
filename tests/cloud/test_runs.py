"""Runs whose folders lie in a bucket come to what runs in local folders come to."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import electra
from electra.cloud import lease, store
from electra.finetune.runner import run_finetuning
from electra.publish.formats import convert
from electra.serve.report import write_report
from electra.train.compare import differences
from tests.finetune import runs as finetune_runs
from tests.pretrain import runs
from tests.shared import ROOT


def upload(folder, url, patterns=("**/*",)):
    """Copies what of a local folder matches patterns into a bucket."""
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        if path.is_file():
            store.send(str(path), f"{url}/{path.relative_to(folder)}")


def download(url, folder):
    """Copies a bucket's folder to a local one. Returns: its path as a str."""
    for key, about in store.find(url).items():
        store.fetch(f"{url}/{key}", about, str(folder / key))
    return str(folder)


def newest_step(folder):
    """Returns the step of the newest checkpoint in a bucket's folder, -1 where there is none."""
    found = [re.fullmatch(r"model\.ckpt-(\d+)\.safetensors", key) for key in store.find(folder)]
    return max([int(each[1]) for each in found if each], default=-1)


def stop(process, number, folder, after_step):
    """Sends a signal once a checkpoint of that step or later is in the bucket.

    Returns: what the process printed.
    """
    while process.poll() is None:
        if newest_step(folder) >= after_step:
            process.send_signal(number)
            break
        time.sleep(0.01)
    return process.communicate(timeout=60)[0]


LAST_STEP = 24
HPARAMS = runs.TINY | {"num_train_steps": LAST_STEP, "keep_checkpoint_max": 2, "do_eval": True}
RESULTS = "results/unsup_results.txt"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("local") / "data")


@pytest.fixture(scope="module")
def unbroken(data):
    """The folder of a run that nothing stops, in a local folder."""
    assert runs.train(data, **HPARAMS) == 0
    return data / "models" / "m"


def assert_equals(url, unbroken, tmp_path):
    """Compares a bucket's folder with that of the unbroken run."""
    there = download(url, tmp_path / "there")
    assert differences(there, str(unbroken)) == []
    assert (tmp_path / "there" / RESULTS).read_text() == (unbroken / RESULTS).read_text()
    names = {path.name for path in unbroken.glob("model.ckpt*")}
    assert {key for key in store.find(url) if key.startswith("model.ckpt")} == names


def test_a_run_killed_goes_on_elsewhere_and_equals_a_local_one(
    bucket, data, unbroken, machine, tmp_path
):
    upload(data, f"{bucket}/data", ("vocab.txt", "pretrain_tfrecords/*"))
    folder, often = f"{bucket}/data/models/m", {"iterations_per_loop": 1}
    process = runs.start(f"{bucket}/data", "m", HPARAMS | often)
    output = stop(process, signal.SIGKILL, folder, 4)
    assert process.returncode == -signal.SIGKILL, output
    step = newest_step(folder)
    assert 4 <= step < LAST_STEP
    assert lease.NAME in store.find(folder)
    machine("another")
    assert runs.train(f"{bucket}/data", **HPARAMS | often) == 0
    assert_equals(folder, unbroken, tmp_path)
    assert lease.NAME not in store.find(folder)
    recorded = store.read(f"{folder}/hparams.json", 0, store.stat(f"{folder}/hparams.json").size)
    assert str(tmp_path) not in recorded.decode()  # no path of one machine
    # Evaluated where nothing is known of it: only the newest checkpoint comes.
    machine("third")
    store.remove(f"{folder}/{RESULTS}")
    assert runs.train(f"{bucket}/data", **HPARAMS | {"do_train": False}) == 0
    lines = download(f"{folder}/results", tmp_path / "results") and (
        (tmp_path / "results" / "unsup_results.txt").read_text().splitlines()
    )
    assert len(lines) > 5
    assert set(lines) <= set((unbroken / RESULTS).read_text().splitlines())
    here = tmp_path / "third" / "buckets" / folder.replace("s3://", "s3/")
    assert [path.name for path in here.glob("*.safetensors")] == [
        f"model.ckpt-{LAST_STEP}.safetensors"
    ]
    assert not list((tmp_path / "third").rglob("*.tfrecord*"))


def test_a_run_in_memory_equals_a_local_one(data, unbroken, machine, tmp_path):
    url = f"memory://{tmp_path.name}/data"
    upload(data, url, ("vocab.txt", "pretrain_tfrecords/*"))
    assert runs.train(url, **HPARAMS) == 0
    assert_equals(f"{url}/models/m", unbroken, tmp_path)


def test_a_model_in_a_bucket_is_opened_converted_and_reported(bucket, unbroken, machine, tmp_path):
    upload(unbroken, f"{bucket}/m")
    vectors = electra.load(unbroken).encode(["w5 w6"])
    assert (electra.load(f"{bucket}/m").encode(["w5 w6"]) == vectors).all()
    newest = f"model.ckpt-{LAST_STEP}.safetensors"
    assert electra.load(f"{bucket}/m/{newest}").step == LAST_STEP
    convert(f"{bucket}/m", "huggingface", f"{bucket}/hf", part="discriminator")
    convert(unbroken, "huggingface", tmp_path / "hf", part="discriminator")
    there = download(f"{bucket}/hf", tmp_path / "there")
    names = {path.name for path in (tmp_path / "hf").iterdir()}
    assert names == set(os.listdir(there))
    for name in names - {"README.md"}:  # which names the folder
        assert (tmp_path / "hf" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    with pytest.raises(ValueError, match="is not empty"):
        convert(f"{bucket}/m", "huggingface", f"{bucket}/hf")
    machine("another")
    assert (electra.load(f"{bucket}/hf").encode(["w5 w6"]) == vectors).all()
    assert write_report(f"{bucket}/m") == f"{bucket}/m/report.html"
    assert "report.html" in store.find(f"{bucket}/m")
    with pytest.raises(ValueError, match="is a URL. Export to a folder"):
        electra.load(f"{bucket}/m").export(f"{bucket}/served")


@pytest.mark.slow
def test_a_run_killed_and_stopped_goes_on_each_time_on_another_machine(
    bucket, data, machine, tmp_path
):
    """Killed, then stopped in order; each time the next machine knows nothing of it."""
    upload(data, f"{bucket}/data", ("vocab.txt", "pretrain_tfrecords/*"))
    folder, last = f"{bucket}/data/models/killed", 60
    hparams = runs.TINY | {"num_train_steps": last, "save_checkpoints_steps": 4}
    hparams |= {"iterations_per_loop": 2, "keep_checkpoint_max": 2, "eval_every_steps": 8}
    unbroken = runs.start(data, "unbroken", hparams)
    for number, after_step in ((signal.SIGKILL, 8), (signal.SIGTERM, 24)):
        machine(f"machine {number}")
        process = runs.start(f"{bucket}/data", "killed", hparams)
        output = stop(process, number, folder, after_step)
        assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143}[number], output
        step = newest_step(folder)
        assert after_step <= step < last
    assert f"Stopped at step {step};" in output
    machine("last machine")
    output = runs.finish(runs.start(f"{bucket}/data", "killed", hparams))
    assert f"model.ckpt-{step}.safetensors, step {step}" in output
    runs.finish(unbroken)
    there = download(folder, tmp_path / "there")
    assert differences(there, str(data / "models" / "unbroken")) == []
    assert sorted(key for key in store.find(folder) if key.startswith("model.ckpt")) == [
        f"model.ckpt-{last - 4}.safetensors",
        f"model.ckpt-{last}.safetensors",
    ]
    assert ".electra-lock" not in store.find(folder)


@pytest.mark.slow
def test_two_machines_train_in_a_bucket(bucket, data, machine, tmp_path):
    """The chief alone writes there; killed, both go on with nothing but the bucket."""
    upload(data, f"{bucket}/data", ("vocab.txt", "pretrain_tfrecords/*"))
    folder, hparams = f"{bucket}/data/models/m", runs.TINY | {"iterations_per_loop": 1}
    hparams |= {"strategy": "multi_worker", "num_train_steps": 40}

    def start(data_dir, name):
        cluster = {"worker": [f"127.0.0.1:{port}" for port in runs.free_ports(2)]}
        workers = []
        for index in range(2):
            task = {"type": "worker", "index": index}
            environment = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
            environment["ELECTRA_CACHE"] = str(tmp_path / f"{name}-{index}")
            workers.append(runs.start(data_dir, "m", hparams, environment))
        return workers

    chief, other = start(f"{bucket}/data", "first")
    output = stop(chief, signal.SIGKILL, folder, 4)
    assert chief.returncode == -signal.SIGKILL, output
    runs.finish(other, status=75)
    assert 4 <= newest_step(folder) < 40
    for worker in start(f"{bucket}/data", "second"):
        runs.finish(worker)
    local = runs.make_data(tmp_path / "data")
    for worker in start(local, "local"):
        runs.finish(worker)
    there = download(folder, tmp_path / "there")
    assert differences(there, str(local / "models" / "m")) == []


@pytest.mark.slow
def test_files_of_ones_own_in_a_bucket(bucket, machine, tmp_path):
    data = finetune_runs.make_data(tmp_path / "data")
    upload(data / "models" / "m", f"{bucket}/m")
    rows = [f"w{5 + i % 4} w9,{i % 2}" for i in range(24)]
    store.write(f"{bucket}/own/train.csv", "\n".join(["text,label", *rows, ""]).encode())
    command = [sys.executable, "-m", "electra.finetune.classification", "--text_column", "text"]
    places = {"train_file": f"{bucket}/own/train.csv", "model_dir": f"{bucket}/m"}
    hparams = {"max_seq_length": 16, "num_train_epochs": 1, "num_trials": 1}
    places |= {"output_dir": f"{bucket}/out", "label_column": "label"}
    places |= {"hparams": json.dumps(hparams | {"precision": "float32"})}
    words = [word for name, value in places.items() for word in (f"--{name}", value)]
    for name in ("first", "second"):
        machine(name)
        subprocess.run([*command, *words], cwd=ROOT, check=True)
    found = set(store.find(f"{bucket}/out"))
    assert {"my_task.json", "results/my_results.json"} <= found
    assert "finetuning_models/my_model_1/scores.json" in found


def test_fine_tuning_in_a_bucket_equals_that_in_a_folder(bucket, machine, tmp_path):
    data = finetune_runs.make_data(tmp_path / "data")
    upload(data, f"{bucket}/data")
    hparams = {"num_trials": 2, "num_train_epochs": 1}
    local = run_finetuning(finetune_runs.config_of(data, **hparams))
    there = run_finetuning(finetune_runs.config_of(f"{bucket}/data", **hparams))
    assert there.scores == local.scores
    assert there.folder == local.folder.replace(str(data), f"{bucket}/data")
    machine("another")
    assert electra.load(there.folder).predict("w5 w9") == electra.load(local.folder).predict(
        "w5 w9"
    )
    models = "models/m/finetuning_models"
    there = download(f"{bucket}/data/{models}", tmp_path / "there")
    for trial in ("cola_model_1", "cola_model_2"):
        assert differences(f"{there}/{trial}", str(data / models / trial)) == []
    names = {f"models/m/results/cola_results.{kind}" for kind in ("txt", "json")}
    assert names <= set(store.find(f"{bucket}/data"))
    # A second command finds the trials finished; a third machine has nothing but the bucket.
    machine("third")
    again = run_finetuning(finetune_runs.config_of(f"{bucket}/data", **hparams))
    assert again.scores == local.scores
