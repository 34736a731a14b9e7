"""Fine-tuning runs: tasks together, trials, going on, what is refused before time is spent."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from electra.finetune import outputs
from electra.finetune.config import FinetuningConfig
from electra.finetune.families import CLASSIFICATION
from electra.finetune.results import best_kept
from electra.finetune.runner import Finetuning, run_finetuning
from electra.saving import checkpoints
from electra.saving.folder import locked_folder, write_folder
from electra.text.vocab import Vocabulary
from electra.train.compare import differences
from electra.train.loop import Loop
from tests.finetune.reference import HEADS, heads_of, pick, values_of
from tests.finetune.runs import config_of, finetune, make_data
from tests.pretrain.runs import TOKENS
from tests.shared import FIXTURES, needs_fixtures


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("finetuning") / "data")


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    """The tests of outputs look at them."""
    for name in ("write_summary", "write_dev"):
        monkeypatch.setattr(outputs, name, lambda *args: None)


def test_several_tasks_are_learnt_together_and_scored(finetuned):
    run, results = finetuned.run, finetuned.results
    assert run.data.steps_per_epoch == 30  # 48 examples of each, of sts 96, in batches of 8
    assert results["main_metrics"] == {
        "cola": "mcc",
        "chunk": "f1",
        "sts": "spearman",
        "squad": "best_f1",
    }
    assert set(results["summary"]) == set(results["main_metrics"])
    # One attention layer learns at once what a word says; how well answers are told from none
    # depends on the processor's rounding.
    assert results["summary"]["chunk"]["f1"]["best"] > 90
    squad = results["trials"][0]["scores"]["squad"]
    nothing = 100 * squad["NoAns_total"] / squad["total"]
    assert results["summary"]["squad"]["best_f1"]["best"] > nothing + 5
    for record in results["trials"]:
        assert record["last_loss"] < 0.8 * record["first_loss"]
        assert record["steps"] == 180


def test_results_hold_every_trial_and_what_they_come_to(finetuned):
    run, results = finetuned.run, finetuned.results
    values = [each["scores"]["sts"]["pearson"] for each in results["trials"]]
    assert [each["seed"] for each in results["trials"]] == [0, 1]
    assert values[0] != values[1]
    assert results["summary"]["sts"]["pearson"] == pytest.approx(
        {
            "mean": np.mean(values),
            "std": np.std(values, ddof=1),
            "median": np.median(values),
            "best": max(values),
            "trials": 2,
        }
    )
    lines = Path(run.config.results_txt).read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == finetuned.hparams["task_names"] * 2
    assert lines[0].startswith(f"cola: mcc: {results['trials'][0]['scores']['cola']['mcc']:.2f} - ")
    assert set(results["ensemble"]["scores"]) == set(finetuned.hparams["task_names"])


def test_only_the_best_trials_model_is_kept(finetuned):
    folders = sorted((finetuned.data / "models" / "m" / "finetuning_models").iterdir())
    assert [len(list(each.glob("model.ckpt-*"))) for each in folders] == [
        1 if finetuned.results["best_trial"] == name else 0 for name in ("1", "2")
    ]
    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        assert {"hparams.json", "vocab.txt", "scores.json", "train_log.jsonl"} <= names


@pytest.mark.parametrize("num_trials", [1, 2])
def test_finished_trials_are_neither_run_again_nor_forgotten(finetuned, monkeypatch, num_trials):
    monkeypatch.setattr(Loop, "run", None)
    _, results = finetune(finetuned.data, **finetuned.hparams | {"num_trials": num_trials})
    assert results == finetuned.results


def test_a_trial_that_was_stopped_goes_on_as_if_it_had_not(data, tmp_path, monkeypatch):
    def places(name):
        return {"model_dir": str(tmp_path / name), "results_txt": str(tmp_path / f"{name}.txt")}

    _, unbroken = finetune(data, **places("unbroken"))
    run = Loop.run

    def stop(loop, first, count):
        if first in (7, 15):  # in the middle, and in the last call
            loop.request_stop(15)
        return run(loop, first, count)

    hparams = places("stopped") | {"save_checkpoints_steps": 7}
    monkeypatch.setattr(Loop, "run", stop)
    assert finetune(data, **hparams)[1] is None
    assert finetune(data, **hparams)[1] is None
    assert not (tmp_path / "stopped.json").exists()
    monkeypatch.setattr(Loop, "run", run)
    _, results = finetune(data, **hparams)
    assert differences(str(tmp_path / "stopped_1"), str(tmp_path / "unbroken_1")) == []
    assert results["trials"][0]["scores"] == unbroken["trials"][0]["scores"]
    assert results["trials"][0]["last_loss"] == unbroken["trials"][0]["last_loss"]


def test_two_replicas_train_as_one(data, tmp_path):
    """Without dropout, that of the encoder; the tagging head has none."""
    without = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    results = [
        finetune(
            data,
            task_names=["chunk"],
            strategy=strategy,
            model_hparam_overrides=without,
            num_train_epochs=1,
            eval_batch_size=7,
            model_dir=str(tmp_path / strategy),
            results_txt=str(tmp_path / f"{strategy}.txt"),
        )[1]["trials"][0]
        for strategy in ("one", "mirrored")
    ]
    for name in ("first_loss", "last_loss"):
        assert results[0][name] == pytest.approx(results[1][name], rel=1e-3)
    assert results[0]["scores"]["chunk"] == pytest.approx(results[1]["scores"]["chunk"], rel=1e-2)


def test_a_collapsed_trial_is_flagged_and_repeated_apart(data, tmp_path):
    _, results = finetune(
        data,
        learning_rate=0.3,  # far too high: one label for everything
        num_train_epochs=1,
        retry_collapsed=True,
        from_scratch=True,
        model_dir=str(tmp_path / "model"),
        results_txt=str(tmp_path / "results.txt"),
    )
    (trial,), (retry,) = results["trials"], results["retries"]
    assert trial["collapsed"]
    assert retry["trial"] == "1_retry"
    assert retry["seed"] != trial["seed"]
    assert results["summary"]["cola"]["mcc"]["trials"] == 1


def test_other_hparams_or_labels_do_not_go_on(finetuned, tmp_path):
    with pytest.raises(ValueError, match="'learning_rate' was 0.01 and is now 0.1"):
        Finetuning(config_of(finetuned.data, **finetuned.hparams, learning_rate=0.1))
    shutil.copytree(finetuned.data, tmp_path / "data")
    with open(tmp_path / "data" / "finetuning_data" / "chunk" / "dev.txt", "a") as file:
        file.write("\nw9 X B-VP\n")
    with pytest.raises(ValueError, match="another task 'chunk': labels was"):
        Finetuning(config_of(tmp_path / "data", **finetuned.hparams))


def test_trials_of_other_weights_or_files_are_not_counted(finetuned, tmp_path):
    data, other = tmp_path / "data", "holds a trial with other contents of: "
    shutil.copytree(finetuned.data, data)
    with open(data / "finetuning_data" / "cola" / "dev.tsv", "a") as file:
        file.write("x\t1\t*\tw5\n")
    with pytest.raises(ValueError, match=f"cola,chunk,sts,squad_model_1 {other}cola dev. To"):
        Finetuning(config_of(data, **finetuned.hparams))
    first = checkpoints.read(data / "models" / "m")
    checkpoints.save(data / "models" / "m", 13, first.tensors, {})
    with pytest.raises(ValueError, match=f"{other}pre-trained weights, cola dev"):
        Finetuning(config_of(data, **finetuned.hparams))
    again = finetuned.hparams | {"do_train": False, "write_test_outputs": False}
    assert len(Finetuning(config_of(data, **again)).data.dev[0].examples) == 21


def test_a_run_goes_on_where_it_was_moved_to(data, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(data, old / "data")
    shutil.copytree(data / "finetuning_data" / "cola", old / "out" / "files")
    row = {
        "name": "my",
        "family": "classification",
        "columns": {"text_a": 3, "label": 1},
        "files": {"train": "train.tsv", "dev": "dev.tsv"},
        "folder": "files",
    }
    (old / "out" / "my.json").write_text(json.dumps(row))

    def run(folder, task_file, **hparams):
        return Finetuning(
            config_of(
                folder / "data",
                task_names=["my", "chunk"],
                output_dir=str(folder / "out"),
                task_files=[str(folder / task_file)],
                **hparams,
            )
        )

    begun = run(old, "out/my.json")
    described = {"tasks": begun.data.described_tasks(), "inputs": begun.inputs}
    assert described["tasks"][0]["folder"] == str(old / "out" / "files")
    write_folder(
        f"{begun.config.model_dir}_1",
        {**begun.config.to_json(), **described},
        begun.config.vocab_file,
    )
    shutil.move(old, new)
    os.rename(new / "out" / "files" / "dev.tsv", new / "out" / "files" / "d.tsv")
    (new / "task.json").write_text(
        json.dumps(
            row
            | {
                "folder": "",
                "files": {"train": "out/files/train.tsv", "dev": "out/files/d.tsv"},
                "hparams": {"num_train_epochs": 3},
            }
        )
    )
    assert run(new, "task.json").inputs == begun.inputs
    row |= {"columns": {"text_a": 2, "label": 1}, "files": {"train": "train.tsv", "dev": "d.tsv"}}
    (new / "out" / "my.json").write_text(json.dumps(row))
    with pytest.raises(ValueError, match="a model of another task 'my': sources was"):
        run(new, "out/my.json")


def test_what_is_wrong_is_said_before_the_first_step(data, tmp_path):
    for hparams, error, message in (
        ({"init_checkpoint": str(tmp_path)}, FileNotFoundError, "holds no checkpoint"),
        ({"task_names": ["rte"]}, FileNotFoundError, "Task 'rte', split 'dev': no file"),
    ):
        with pytest.raises(error, match=message):
            Finetuning(config_of(data, **hparams))
    vocab = tmp_path / "vocab.txt"
    vocab.write_text((data / "vocab.txt").read_text().replace("w9", "v9"))
    with pytest.raises(ValueError, match="is not the vocabulary this model was trained with"):
        Finetuning(config_of(data, vocab_file=str(vocab), task_names=["sts"]))


def test_the_log_says_how_many_parameters_the_network_has(data, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    hparams = {"init_checkpoint": str(data / "models" / "m"), "output_dir": str(tmp_path / "out")}
    model = Finetuning(config_of(data, **hparams)).trainer.model
    count = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert f"Parameters: {count:,}" in caplog.messages


def cut_vocab(path):
    path.write_text("\n".join(TOKENS[:-1]))


def test_a_vocabulary_cut_short_after_pre_training_is_noticed(data, tmp_path):
    model = shutil.copytree(data / "models" / "m", tmp_path / "m")
    state = {"vocab_sha256": Vocabulary(TOKENS).sha256}
    checkpoints.save(model, 13, checkpoints.read(model).tensors, state)
    config_with = {"init_checkpoint": str(model), "output_dir": str(tmp_path / "out")}
    assert Finetuning(config_of(data, **config_with)).config.vocab_file == str(model / "vocab.txt")
    cut_vocab(model / "vocab.txt")
    with pytest.raises(ValueError, match="m/vocab.txt is not the vocabulary that .*ckpt-13"):
        Finetuning(config_of(data, **config_with))


def test_a_vocabulary_cut_short_after_fine_tuning_is_noticed(finetuned, tmp_path):
    data = shutil.copytree(finetuned.data, tmp_path / "data")
    for path in data.glob("models/m/finetuning_models/*/vocab.txt"):
        cut_vocab(path)
    scores = finetuned.hparams | {"do_train": False, "num_trials": 1, "write_test_outputs": False}
    run = Finetuning(config_of(data, **scores))
    with pytest.raises(ValueError, match="model_[12]/vocab.txt is not the vocabulary that "):
        run.trainer.restore(best_kept(run.config))


def test_two_runs_of_the_same_tasks_are_refused(data):
    folder = data / "models" / "m" / "finetuning_models" / "cola_model_1"
    with (
        locked_folder(folder, True),
        pytest.raises(ValueError, match="is at work in .*cola_model_1. Wait"),
    ):
        (folder / "hparams.json").write_text("{")  # what the other has not finished
        run_finetuning(config_of(data, task_names=["cola"]))
    (folder / "hparams.json").unlink()


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": None},
        {"tasks": "cola"},
        {"tasks": ["cola"]},
        {"tasks": [{"name": "cola"}]},
        {"tasks": [{"name": "cola", "labels": "01"}]},
        {"tasks": [{"name": 5, "labels": []}]},
        {"tasks": [{"name": "cola", "labels": [], "sources": 5}]},
        {"inputs": []},
        {"inputs": {"cola train": 5}},
    ],
    ids=str,
)
@pytest.mark.parametrize("do_train", [True, False])
def test_a_folder_of_another_shape_is_refused(data, tmp_path, change, do_train):
    config = config_of(data, model_dir=str(tmp_path / "model"), do_train=do_train)
    (tmp_path / "model_1").mkdir()
    recorded = {**config.to_json(), "tasks": [], **change}
    (tmp_path / "model_1" / "hparams.json").write_text(json.dumps(recorded))
    with pytest.raises(ValueError, match="model_1/hparams.json is damaged: .* Write it anew"):
        Finetuning(config)


def test_all_files_are_looked_for_before_any_is_read(data, tmp_path):
    (data / "finetuning_data" / "rte").mkdir()
    (data / "finetuning_data" / "rte" / "dev.tsv").touch()
    cache = tmp_path / "cache"
    with pytest.raises(FileNotFoundError, match="Task 'rte', split 'train': no file"):
        Finetuning(config_of(data, task_names=["cola", "rte"], preprocessed_data_dir=str(cache)))
    assert not cache.exists()


def test_features_of_another_length_are_made_anew(data):
    lengths = []
    for length in (16, 8, 16):
        run = Finetuning(config_of(data, model_dir=str(data / "none"), max_seq_length=length))
        lengths.append(int(run.data.train["cola"].lengths().max()))
    assert lengths == [12, 8, 12]
    names = list((data / "models/m/finetuning_tfrecords/cola_tfrecords").iterdir())
    assert len(names) == 4  # train and dev of either


def test_a_models_folder_says_what_it_is(finetuned):
    run = finetuned.run
    described = json.loads(Path(f"{run.config.model_dir}_2/hparams.json").read_text())
    assert (described["seed"], described["trial_seed"]) == (0, 1)
    assert [task["name"] for task in described["tasks"]] == finetuned.hparams["task_names"]
    assert described["tasks"][1]["labels"] == ["O", "S-NP"]


@needs_fixtures
def test_a_tf1_checkpoint_serves_as_the_pretrained_model(tmp_path):
    variant, task = heads_of(CLASSIFICATION)[0]
    hparams = values_of(f"heads/{variant}.json")["hparams"]
    sizes = pick(hparams, "model_size", "embedding_size", "model_hparam_overrides")
    path = str(next(HEADS.glob("model.ckpt-*.index")).with_suffix(""))
    config = FinetuningConfig(
        "m",
        str(tmp_path),
        init_checkpoint=path,
        task_names=[task],
        vocab_file=str(FIXTURES / "tokenizer" / "vocab.txt"),
        raw_data_dir=str(FIXTURES / "finetune" / "finetuning_data"),
        **sizes,
    )
    run = Finetuning(config)
    trainer = run.trainer
    assert all(name.startswith("electra/") for name in trainer.pretrained)
    expected = checkpoints.read(path).tensors
    for name, value in trainer.pretrained.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert set(trainer.variables) - set(trainer.pretrained) == {
        f"task_specific/{task}/dense/kernel",
        f"task_specific/{task}/dense/bias",
    }
    rows = len(expected["electra/embeddings/word_embeddings"])
    other = FinetuningConfig("m", str(tmp_path), vocab_file=str(tmp_path / "v.txt"), **sizes)
    with pytest.raises(ValueError, match=f"holds 40 tokens, the word table {rows}. Set vocab_file"):
        other.check_vocab(Vocabulary(TOKENS))
