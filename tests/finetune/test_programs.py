"""The programs that XLA compiles of a run: few, and kept for the next run.

TensorFlow keeps one file a program; for CPUs the variable of the environment asks for it.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from electra.serve import forward
from electra.serve.model import LoadedModel
from electra.serve.opening import open_model
from electra.train.strategy import choose_placement
from tests.finetune.runs import HPARAMS, make_data
from tests.serve.models import write_pretrained
from tests.shared import ROOT

MOST_PROGRAMS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("programs") / "data")


def run(data, name):
    hparams = HPARAMS | {
        "train_batch_size": 2,
        "num_train_epochs": 0.5,
        "xla": True,
        "compilation_cache_dir": str(data / "compiled"),
        "output_dir": str(data / name),
    }
    return subprocess.run(
        [sys.executable, "run_finetuning.py", "--data_dir", data, "--model_name", "m"]
        + ["--hparams", json.dumps(hparams)],
        cwd=ROOT,
        env={**os.environ, "TF_XLA_FLAGS": "--tf_xla_persistent_cache_device_types=CPU"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_compiles_few_programs_and_the_next_run_none(data):
    done = run(data, "first")
    assert done.returncode == 0, done.stderr
    (folder,) = (data / "compiled").iterdir()
    assert f"Programs that XLA compiles are kept in {folder}" in done.stderr
    assert folder.stat().st_mode & 0o777 == 0o700
    programs = {path: path.stat().st_mtime_ns for path in folder.glob("*.pb")}
    assert 2 <= len(programs) <= MOST_PROGRAMS  # of training, and of the dev file
    assert run(data, "second").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == programs
    results = [data / name / "results/cola_results.json" for name in ("first", "second")]
    first, second = (json.loads(path.read_text())["summary"] for path in results)
    assert first == second


def test_a_damaged_program_ends_in_one_line_that_names_the_folder(data):
    (folder,) = (data / "compiled").iterdir()
    for path in folder.iterdir():
        os.truncate(path, 100)
    done = run(data, "third")
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith(f"Error: A compiled program in {folder} is damaged (")
    assert line.endswith("Remove that folder")


def test_predictions_of_like_length_share_a_program(tmp_path, monkeypatch):
    programs, encode = [], forward.encode

    def traced(network, batch, weights, output):
        programs.append(batch["input_ids"].shape)
        return encode(network, batch, weights, output)

    monkeypatch.setattr(forward, "encode", traced)
    opened = open_model(write_pretrained(tmp_path))
    model = LoadedModel(opened, choose_placement("one", precision="float32", xla=True))
    short, long = "w5 w6", "w5 w6 w7 w8 w9 w10 w11 w12"
    first = model.encode([long, short], batch_size=2)
    again = [model.encode(short, batch_size=2), *model.encode([short] * 5, batch_size=2)]
    assert programs == [(2, 16)]
    for vector in again:
        np.testing.assert_allclose(vector, first[1], atol=1e-6)
