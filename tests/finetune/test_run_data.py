"""A run's data: own tasks of every family and format are what the table's are on the same rows."""

import gzip
import json

import numpy as np
import pytest

from electra.finetune.run_data import FinetuningData
from tests.finetune.runs import config_of, make_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("finetuning_data") / "data")


def read(data, **hparams):
    return FinetuningData(config_of(data, **hparams))


def rows_of(data, split):
    """The texts of cola and of sts, in every format, and the questions as MRQA."""
    folder = data / "finetuning_data"
    cola = [line.split("\t") for line in (folder / f"cola/{split}.tsv").read_text().splitlines()]
    sts = [line.split("\t") for line in (folder / f"sts/{split}.tsv").read_text().splitlines()][1:]
    squad = json.loads((folder / "squad" / f"{split}.json").read_text())["data"][0]["paragraphs"]
    for paragraph in squad:
        for asked in paragraph["qas"]:
            asked["detected_answers"] = [
                {"text": each["text"], "char_spans": [[each["answer_start"], 0]]}
                for each in asked["answers"]
            ]
            asked["answers"] = [each["text"] for each in asked["answers"]]
    return {
        "tsv": [f"{text}\t{label}" for _, label, _, text in cola],
        "csv": ["label,text", *(f'{label},"{text}"' for _, label, _, text in cola)],
        "jsonl": [json.dumps({"text": text, "label": int(label)}) for _, label, _, text in cola],
        "scores.csv": ["a,b,s", *(f"{a},{b},{score}" for _, a, b, score in sts)],
        "mrqa.jsonl": ['{"header": {}}', *map(json.dumps, squad)],
    }


OWN = {
    "tsv": ("cola", {"columns": {"text_a": 0, "label": -1}}),
    "csv": ("cola", {"columns": {"text_a": "text", "label": "label"}}),
    "jsonl": ("cola", {"columns": {"text_a": "text", "label": "label"}, "labels": [0, 1]}),
    "scores.csv": (
        "sts",
        {
            "family": "regression",
            "columns": {"text_a": "a", "text_b": "b", "label": "s"},
            "label_range": [0, 5],
            "metrics": "pearson",
        },
    ),
    "mrqa.jsonl": ("squad", {"family": "qa", "format": "mrqa"}),
    "squad": ("squad", {"family": "qa"}),
    "chunk": ("chunk", {"family": "tagging", "hparams": {"num_train_epochs": 7}}),
}


@pytest.mark.parametrize("kind", OWN)
def test_own_tasks_give_the_features_of_the_tables(data, tmp_path, kind):
    name, values = OWN[kind]
    files = {}
    for split in ("train", "dev"):
        if kind in ("squad", "chunk"):
            ending = {"squad": "json", "chunk": "txt"}[kind]
            text = (data / "finetuning_data" / name / f"{split}.{ending}").read_text()
            files[split] = f"own_{split}.{ending}"
        else:
            text = "\n".join(rows_of(data, split)[kind]) + "\n"
            files[split] = f"{split}.{kind}"
        if split == "dev":
            (tmp_path / f"{files[split]}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (tmp_path / files[split]).write_text(text)
    row = {"name": "my", "family": "classification", "files": files, **values}
    (tmp_path / "my.json").write_text(json.dumps(row))
    own = read(data, task_names=["my"], task_files=[str(tmp_path / "my.json")])
    table = read(data, task_names=[name], double_unordered=False)
    assert own.tasks[0].labels == table.tasks[0].labels
    pairs = [(own.train["my"], table.train[name]), (own.dev[0].features, table.dev[0].features)]
    for found, expected in pairs:
        assert set(found.columns) == set(expected.columns)
        for key, column in expected.columns.items():
            np.testing.assert_array_equal(found.columns[key], column, err_msg=key)
        for key, (flat, offsets) in expected.ragged.items():
            np.testing.assert_array_equal(found.ragged[key][0], flat, err_msg=key)
            np.testing.assert_array_equal(found.ragged[key][1], offsets, err_msg=key)


def test_hparams_of_a_task_file_are_defaults(data, tmp_path):
    row = {"name": "my", "family": "tagging", "files": {"train": "a"}, "hparams": {"seed": 5}}
    (tmp_path / "my.json").write_text(json.dumps(row))
    files = {"task_files": [str(tmp_path / "my.json")], "task_names": ["my"]}
    assert config_of(data, **files).seed == 5
    assert config_of(data, **files, seed=6).seed == 6


def test_fewer_lengths_make_the_same_batches(data):
    run = read(data, train_batch_size=1)
    pairs = [(run.batch_at(0, step), run.batch_at(0, step, 1)) for step in range(96)]
    assert [len({b["input_ids"].shape[1] for b in of}) for of in zip(*pairs, strict=True)] == [2, 1]
    for batch, longer in pairs:
        length = batch["input_ids"].shape[1]
        np.testing.assert_array_equal(longer["input_ids"][:, :length], batch["input_ids"])
        np.testing.assert_array_equal(longer["cola_label_ids"], batch["cola_label_ids"])
