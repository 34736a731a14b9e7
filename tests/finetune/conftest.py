"""A fine-tuned model that several tests look at; what changes its folder copies it first."""

import json
from types import SimpleNamespace

import pytest

from tests.finetune import runs as finetune_runs

# Two trials of a task of each family, the first of which predicts the test files.
HPARAMS = {
    "task_names": ["cola", "chunk", "sts", "squad"],
    "num_train_epochs": 6,
    "num_trials": 2,
    "ensemble": True,
    "keep_all_models": False,
    "write_test_outputs": True,
    "n_writes_test": 1,
}


@pytest.fixture(scope="session")
def finetuned(tmp_path_factory):
    """The run of HPARAMS from pre-trained weights: data (its folder), hparams, run, results."""
    data = finetune_runs.make_data(tmp_path_factory.mktemp("finetuned") / "data")
    folder = data / "finetuning_data"
    (folder / "cola" / "test.tsv").write_text("index\tsentence\n0\tw9 w5\n1\tw9\n")
    (folder / "squad" / "test.json").write_text(json.dumps(finetune_runs.SQUAD))
    run, results = finetune_runs.finetune(data, **HPARAMS)
    return SimpleNamespace(data=data, hparams=HPARAMS, run=run, results=results)
