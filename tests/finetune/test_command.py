"""The families' commands: flags become a task file and a run; what makes none is refused."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from electra.finetune import classification, command, squad, tagging
from electra.finetune.config import FinetuningConfig
from electra.finetune.runner import Finetuning
from electra.finetune.task_files import read_task_file
from tests.finetune.runs import HPARAMS, make_data
from tests.shared import ROOT

COMMON = (
    "train_file dev_file test_file predict_file model_dir vocab_file output_dir metrics "
    "dev_fraction"
).split()
OWN = {
    classification: "text_column text_b_column label_column id_column labels score_range format "
    "quoted",
    squad: "format",
    tagging: "labels",
}


def settings_of(family, **values):
    """What the command makes of flags."""
    flags = dict.fromkeys([*COMMON, *OWN[family].split()])
    flags |= {"hparams": "{}", "name": "my", "word_column": 0, "tag_column": -1}
    flags |= {"multi_label": False, **values}
    flags = SimpleNamespace(**flags)
    return command.settings(flags, family.row_of(flags))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("command") / "data")


@pytest.fixture
def model(data, tmp_path, monkeypatch):
    """The model's folder; the working directory is an empty one."""
    monkeypatch.chdir(tmp_path)
    return str(data / "models" / "m")


def test_flags_become_a_task_file(model, tmp_path):
    name, folder, hparams = settings_of(
        classification,
        model_dir=model,
        train_file="a.csv",
        dev_file="b/b.csv",
        test_file="c.csv",
        predict_file=["d.csv"],
        text_column="text",
        text_b_column="-2",
        label_column="0",
        labels=["no", "yes"],
        metrics=["f1", "accuracy"],
        output_dir="out",
        quoted=False,
        vocab_file="v.txt",
        hparams='{"num_trials": 2, "do_eval": false}',
    )
    assert os.path.join(folder, "models", name) != model
    assert (name, folder) == ("m", os.path.dirname(model))
    assert hparams == {
        "task_names": ["my"],
        "task_files": ["out/my_task.json"],
        "init_checkpoint": model,
        "output_dir": "out",
        "vocab_file": "v.txt",
        "write_test_outputs": True,
        "do_predict": True,
        "predict_files": {"my": ["d.csv"]},
        "num_trials": 2,
        "do_eval": False,
    }
    task = read_task_file("out/my_task.json")
    assert (task.family, task.labels, task.metrics) == (
        "classification",
        ("no", "yes"),
        ("f1", "accuracy"),
    )
    (source,) = task.sources["dev"]
    assert source.path == str(tmp_path / "b" / "b.csv")
    assert source.columns == {"text_a": "text", "text_b": -2, "label": 0}
    assert source.is_quoted is False


def test_each_family_makes_its_row(model):
    def task_of(family, **values):
        settings_of(family, model_dir=model, train_file="a", **values)
        return read_task_file(os.path.join(model, "my_task.json"))

    task = task_of(classification, text_column="t", label_column="s", score_range=["1", "5"])
    assert (task.family, task.label_range, task.metrics) == ("regression", (1, 5), ("spearman",))
    task = task_of(squad, format="mrqa", metrics=["mrqa"])
    assert (task.family, task.sources["train"][0].format) == ("qa", "mrqa")
    assert task.hparams["max_seq_length"] == 512
    task = task_of(tagging, word_column=1, tag_column=3, metrics=["accuracy"])
    assert (task.family, task.sources["train"][0].columns) == ("tagging", {"words": 1, "tags": 3})


@pytest.mark.parametrize(
    ("values", "do_eval", "hparams"),
    [
        ({}, True, {}),
        ({"dev_fraction": 0.3}, True, {"dev_fraction": 0.3}),
        ({"dev_fraction": 0.0}, False, {"dev_fraction": 0.0}),
        ({"hparams": '{"dev_fraction": 0}'}, False, {}),
        ({"dev_file": "b"}, True, {}),
        ({"train_file": None, "test_file": "c", "hparams": '{"do_train": false}'}, False, {}),
    ],
)
def test_without_a_dev_file_some_of_the_training_file_is_scored(model, values, do_eval, hparams):
    values = {"train_file": "a", **values}
    _, _, given = settings_of(tagging, model_dir=model, metrics=["accuracy"], **values)
    assert given["do_eval"] == do_eval
    assert read_task_file(given["task_files"][0]).hparams == hparams


def test_a_checkpoint_names_the_model(model, tmp_path):
    (tmp_path / "tf1").mkdir()
    (tmp_path / "tf1" / "model.ckpt-5.index").touch()
    name, folder, hparams = settings_of(tagging, model_dir="tf1/model.ckpt-5", train_file="a")
    assert (name, folder) == ("tf1", str(tmp_path))
    assert (hparams["init_checkpoint"], hparams["output_dir"]) == ("tf1/model.ckpt-5", "tf1")


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        (tagging, {"model_dir": "none"}, "No model at none. Expected: the folder"),
        (tagging, {"train_file": None}, "--train_file is missing"),
        (tagging, {"hparams": '{"task_names": ["a"]}'}, "'task_names' belongs to run_finetuning"),
        (
            tagging,
            {"metrics": ["f1"]},
            "Command line: metric 'f1' is unknown. Known: accuracy, span_f1",
        ),
        (tagging, {"name": "a b"}, "Command line: 'name' must be of letters"),
        (tagging, {"dev_file": "b", "dev_fraction": 0.1}, "--dev_fraction exclude each other"),
        (tagging, {"dev_fraction": float("nan")}, "--dev_fraction must be a number of at most"),
        (classification, {"text_column": "t", "score_range": ["a"]}, "two numbers, e.g. 0,5. Rec"),
        (classification, {"text_column": "t", "labels": ["a"]}, "labels must be two or more"),
    ],
)
def test_flags_that_make_no_run_are_refused(model, family, values, message):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        settings_of(family, **{"model_dir": model, "train_file": "a", **values})
    assert message in str(error.value)


def test_a_command_trains_and_scores_and_its_model_is_found_again(data, model, tmp_path):
    """In a process of its own, with the official spelling of flags and relative paths."""
    folder = tmp_path / "files"
    folder.mkdir()
    for split in ("train", "dev"):
        rows = (data / "finetuning_data" / "cola" / f"{split}.tsv").read_text().splitlines()
        rows = [row.split("\t") for row in rows]
        lines = [f'"{text}",{("no", "yes")[int(label)]}' for _, label, _, text in rows]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *lines]))
    (folder / "new.csv").write_text("text\nw5 w9\nw9\n")
    (folder / "more.csv").write_text("label,text\n?,w5\n")
    hparams = {k: v for k, v in HPARAMS.items() if k != "task_names"} | {"num_train_epochs": 1}
    flags = {
        "--model-dir": model,
        "--train-file": "files/train.csv",
        "--dev_file": "files/dev.csv",
        "--text-column": "text",
        "--label-column": "label",
        "--metrics": "mcc,accuracy",
        "--output-dir": "out",
        "--name": "has_w5",
        "--hparams": json.dumps(hparams),
        "--test-file": "files/new.csv",
        "--predict-file": "files/more.csv",
    }
    arguments = [word for pair in flags.items() for word in pair]
    done = subprocess.run(
        [sys.executable, "-m", "electra.finetune.classification", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out/results/has_w5_results.json").read_text())
    gathered = json.loads((tmp_path / "out/results/results.json").read_text())
    assert gathered == {"has_w5": results["summary"]}
    (record,) = results["trials"]
    assert done.stdout.startswith(f"has_w5: mcc: {record['scores']['has_w5']['mcc']:.2f} - acc")
    assert record["steps"] == 6  # an epoch of 48 examples in batches of 8
    for name, count in (("trial_1/has_w5.jsonl", 2), ("has_w5_more.jsonl", 1)):
        rows = (tmp_path / "out" / "test_predictions" / name).read_text().splitlines()
        assert [set(json.loads(row)["probabilities"]) for row in rows] == [{"no", "yes"}] * count
    # Without the training file the model still knows its labels.
    os.remove(folder / "train.csv")
    path = tmp_path / "out" / "has_w5_task.json"

    def again():
        return Finetuning(
            FinetuningConfig(
                "m", str(data), do_train=False, output_dir="out", task_files=[str(path)], **hparams
            )
        )

    run = again()
    assert run.data.tasks[0].labels == ("no", "yes")
    assert run.run() is None
    results = json.loads((tmp_path / "out/results/has_w5_results.json").read_text())
    assert results["trials"][0]["scores"] == record["scores"]
    # Its flags may name nothing but what is predicted.
    only = json.dumps(hparams | {"do_train": False})
    name, folder_of, given = settings_of(
        classification,
        model_dir=model,
        name="has_w5",
        output_dir="out",
        text_column="text",
        predict_file=["files/new.csv"],
        hparams=only,
    )
    assert given["task_files"] == ["out/has_w5_reuse_task.json"]
    assert "write_test_outputs" not in given
    assert Finetuning(FinetuningConfig(name, folder_of, **given)).run() is None
    rows = (tmp_path / "out/test_predictions/has_w5_new.jsonl").read_text().splitlines()
    assert [set(json.loads(row)["probabilities"]) for row in rows] == [{"no", "yes"}] * 2
    # Files to predict may come and go, labels not.
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row | {"files": row["files"] | {"test": "new.csv"}}))
    again()
    path.write_text(json.dumps(row | {"labels": ["no", "maybe", "yes"]}))
    with pytest.raises(ValueError, match=r"labels was \['no', 'yes'\] and is now \['no', 'maybe'"):
        again()


@pytest.mark.parametrize("family", OWN)
def test_help_names_every_flag_with_an_example(family):
    module = family.__name__
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"python -m {module} --model_dir" in done.stdout
    for name in [*COMMON, *OWN[family].split(), "name", "hparams"]:
        assert f"--{name}:" in done.stdout or f"--[no]{name}:" in done.stdout
