"""What a run writes besides scores: submissions, predictions of any file, plots, TensorBoard."""

import dataclasses
import json
import shutil
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from electra.finetune import outputs, plots
from electra.finetune.dataset import Splits
from electra.finetune.families import CLASSIFICATION, FAMILIES, QA, REGRESSION, get_family
from electra.finetune.runner import Finetuning
from electra.finetune.tasks import get_task
from electra.text.vocab import read_vocab
from electra.text.wordpiece import WordPieceTokenizer
from electra.train import tensorboard
from electra.train.loop import Loop
from tests.finetune.runs import SQUAD, config_of, finetune
from tests.pretrain.runs import LENGTH, TOKENS

SIZES = {"max_seq_length": LENGTH, "max_query_length": 4, "doc_stride": 4}


class StandIn:
    """A predictor that says of a text what its number of words says; with its data and config."""

    def __init__(self, folder, *names):
        (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
        tokenizer = WordPieceTokenizer(read_vocab(folder / "vocab.txt"), True, True)
        tasks = [get_task(name) for name in names]
        chunk = {"labels": ("O", "S-NP")}
        self.data = types.SimpleNamespace(
            tasks=[dataclasses.replace(t, **chunk) if t.name == "chunk" else t for t in tasks],
            splits=Splits(str(folder), None, tokenizer, **SIZES),
        )
        self.config = types.SimpleNamespace(
            test_predictions=str(folder / "predictions"), qa_na_threshold=0.5, predict_batch_size=2
        )

    def predict(self, task, examples, features, batch_size):
        assert len(features) == len(examples)
        if task.family == QA:
            return {
                e.id: ([{"text": "w5", "probability": 1.0}], float(len(e.question.split()) - 1))
                for e in examples
            }, None
        if task.family not in (CLASSIFICATION, REGRESSION):
            return [np.eye(2)[[i % 2 for i in range(len(e.words))]] for e in examples], None
        words = [len(e.text_a.split()) for e in examples]
        if task.family == REGRESSION:
            return np.array(words) / 4, None
        count = len(task.labels)
        return np.eye(count)[[n % count for n in words]] * 0.5 + 0.5 / count, None

    def write_tests(self):
        tests = outputs.read_tests(self.data)
        submissions = outputs.Submissions(self.config, self.data.splits, tests)
        return Path(submissions.write("trial_1", submissions.predict(self))["folder"])

    def write_files(self, **files):
        outputs.write_files(self.config, self, outputs.read_files(self.data, files))
        return [
            [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            for path in sorted(Path(self.config.test_predictions).glob("*.jsonl"))
        ]


def test_the_tasks_of_two_commands_end_in_one_submission(tmp_path):
    pairs = "index\tsentence1\tsentence2\n0\tw5\tw6\n1\tw5 w6\tw7\n2\tw5 w6 w7\tw8\n"
    (tmp_path / "mnli").mkdir()
    for name in ("test_matched", "test_mismatched", "diagnostic"):
        rows = pairs if name == "test_matched" else pairs.replace("0\tw5", "0\tw5 w5")
        (tmp_path / "mnli" / f"{name}.tsv").write_text(rows)
    (tmp_path / "sts").mkdir()
    (tmp_path / "sts" / "test.tsv").write_text(pairs)
    folder = StandIn(tmp_path, "mnli").write_tests()
    assert StandIn(tmp_path, "sts").write_tests() == folder
    head = "index\tprediction\n0\t"
    tables = {
        "AX.tsv": head + "neutral\n1\tneutral\n2\tcontradiction\n",
        "MNLI-m.tsv": head + "entailment\n1\tneutral\n2\tcontradiction\n",
        "MNLI-mm.tsv": head + "neutral\n1\tneutral\n2\tcontradiction\n",
        "STS-B.tsv": head + "1.250\n1\t2.500\n2\t3.750\n",
    }
    for name, table in tables.items():
        assert (folder / name).read_bytes() == table.encode(), name
    with zipfile.ZipFile(folder / "glue.zip") as archive:
        assert {each: archive.read(each).decode() for each in archive.namelist()} == tables


def test_squad_clue_and_tags_have_files_of_their_own(tmp_path):
    for folder in ("squad", "afqmc", "chunk"):
        (tmp_path / folder).mkdir()
    (tmp_path / "squad" / "test.json").write_text(json.dumps(SQUAD))
    rows = [
        {"id": 7, "sentence1": "w5", "sentence2": "w6"},
        {"id": 9, "sentence1": "w5 w6", "sentence2": "w7"},
    ]
    (tmp_path / "afqmc" / "test.json").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "chunk" / "test.txt").write_text("w5 X B-VP\nw6 X O\n\nw7 X O\n")
    folder = StandIn(tmp_path, "squad", "afqmc", "chunk").write_tests()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "squad_preds.json": '{\n  "a": "w5",\n  "b": ""\n}\n',
        "squad_null_odds.json": '{\n  "a": 0.0,\n  "b": 1.0\n}\n',
        "afqmc_predict.json": '{"id": 7, "label": "1"}\n{"id": 9, "label": "0"}\n',
        "chunk.jsonl": '{"id": "0", "words": ["w5", "w6"], "tags": ["O", "S-NP"]}\n'
        '{"id": "1", "words": ["w7"], "tags": ["O"]}\n',
    }


def test_test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no test file. Task 'cola', split 'test': no file"):
        StandIn(tmp_path, "cola").write_tests()


def test_files_are_predicted_row_by_row_without_labels(tmp_path):
    own = tmp_path / "mine.tsv"
    own.write_text("sentence\tnotes\nw5\tx\nw5 w6\t\nw5\tx\n")
    dev = tmp_path / "dev.tsv"  # laid out as the task's dev file; the label is no matter
    dev.write_text("x\tno label\t*\tw5 w6\n")
    squad = tmp_path / "mine.json"
    squad.write_text(json.dumps(SQUAD))
    run = StandIn(tmp_path, "cola", "squad")
    of_dev, of_own, of_squad = run.write_files(cola=[str(own), str(dev)], squad=[str(squad)])
    assert of_own == [
        {"id": "0", "label": "1", "probabilities": {"0": 0.25, "1": 0.75}},
        {"id": "1", "label": "0", "probabilities": {"0": 0.75, "1": 0.25}},
        {"id": "2", "label": "1", "probabilities": {"0": 0.25, "1": 0.75}},
    ]
    assert [row["label"] for row in of_dev] == ["0"]
    tables = {path.name: path.read_text() for path in (tmp_path / "predictions").glob("*.tsv")}
    assert tables == {
        "cola_mine_preds.tsv": "sentence\tnotes\tprediction\tprobability\n"
        "w5\tx\t1\t0.75\nw5 w6\t\t0\t0.75\nw5\tx\t1\t0.75\n",
        "cola_dev_preds.tsv": "x\tno label\t*\tw5 w6\t0\t0.75\n",
    }
    n_best = [{"text": "w5", "probability": 1.0}]
    assert of_squad == [
        {"id": "a", "text": "w5", "null_odds": 0.0, "n_best": n_best},
        {"id": "b", "text": "", "null_odds": 1.0, "n_best": n_best},
    ]


def test_rows_that_would_be_left_out_in_training_are_predicted(tmp_path):
    rows = [{"sentence1": "w5", "sentence2": "w6", "label": label} for label in ("-", "?")]
    (tmp_path / "dev.json").write_text("\n".join(map(json.dumps, rows)))
    (made,) = StandIn(tmp_path, "ocnli").write_files(ocnli=[str(tmp_path / "dev.json")])
    assert [row["label"] for row in made] == ["entailment"] * 2
    (tmp_path / "short.tsv").write_text("question1\tquestion2\nw5\n")
    with pytest.raises(ValueError, match="line 2: 1 columns, none for text_b"):
        StandIn(tmp_path, "qqp").write_files(qqp=[str(tmp_path / "short.tsv")])


def test_two_files_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.tsv").write_text("sentence\nw5\n")
    with pytest.raises(ValueError, match="is the second x.tsv. Rename one"):
        StandIn(tmp_path, "cola").write_files(cola=[str(tmp_path / f / "x.tsv") for f in "ab"])


# ---- a run --------------------------------------------------------------------------------------


def test_the_first_trials_predict_the_test_files(finetuned):
    folder = finetuned.data / "models" / "m" / "test_predictions"
    assert sorted(path.name for path in folder.iterdir()) == ["ensemble", "trial_1"]
    for each in folder.iterdir():
        assert sorted(path.name for path in each.iterdir()) == [
            "CoLA.tsv",
            "glue.zip",
            "squad_null_odds.json",
            "squad_preds.json",
        ]
        assert len((each / "CoLA.tsv").read_text().splitlines()) == 3
    described = finetuned.results["ensemble"]["test_outputs"]
    assert described["folder"] == str(folder / "ensemble")
    assert described["files"] == finetuned.results["trials"][0]["test_outputs"]["files"]


def test_the_best_trial_leaves_plots_and_answers(finetuned):
    data, results = finetuned.data, finetuned.results
    folder = data / "models" / "m" / "results"
    best = next(t for t in results["trials"] if t["trial"] == results["best_trial"])
    qa = folder / "cola,chunk,sts,squad_qa"
    assert json.loads((qa / "squad_eval.json").read_text()) == best["scores"]["squad"]
    assert len(json.loads((qa / "squad_preds.json").read_text())) == 20
    assert len(json.loads((qa / "squad_null_odds.json").read_text())) == 20
    names = ("chunk_confusion", "cola_confusion", "learning_curves", "squad_no_answer")
    pictures = (folder / "cola,chunk,sts,squad_plots").iterdir()
    assert sorted(path.name for path in pictures) == [f"{name}.png" for name in names]


def test_tensorboard_compares_the_trials(finetuned):
    data, results = finetuned.data, finetuned.results
    folder = data / "models" / "m" / "finetuning_models"
    events = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    provider = MultiplexerDataProvider(events, str(folder))
    context = Context(TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=10, include_metrics=True, allowed_statuses=[api_pb2.STATUS_UNKNOWN]
    )
    groups = Handler(RequestContext(), context, "", request).run().session_groups
    found = {}
    for group in groups:
        values = {each.name.tag: each.value for each in group.metric_values}
        found[int(group.hparams["seed"].number_value)] = values["scores/cola/mcc"]
        assert group.hparams["learning_rate"].number_value == 1e-2
    expected = {t["seed"]: t["scores"]["cola"]["mcc"] for t in results["trials"]}
    assert found == pytest.approx(expected)
    tags = events.GetAccumulator(f"cola,chunk,sts,squad_model_{results['best_trial']}").Tags()
    images = [tag for tag in tags["tensors"] if "_" in tag and "/" not in tag]
    assert {"cola_confusion", "squad_no_answer", "learning_curves"} <= set(images)


def test_a_finished_model_predicts_without_its_data(finetuned, tmp_path, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(finetuned.data, data)
    shutil.rmtree(data / "finetuning_data")
    for path in [data / "vocab.txt", *(data / "models" / "m").iterdir()]:  # as pre-trained
        if path.is_file():
            path.unlink()
    (tmp_path / "mine.tsv").write_text("sentence\nw9 w5\nw9\n")
    monkeypatch.setattr(Loop, "run", None)
    files = {"cola": [str(tmp_path / "mine.tsv")]}
    predicts = {"do_train": False, "do_eval": False, "do_predict": True, "predict_files": files}
    run = Finetuning(config_of(data, task_names=finetuned.hparams["task_names"], **predicts))
    run.run()
    lines = (data / "models/m/test_predictions/cola_mine.jsonl").read_text().splitlines()
    assert [sum(json.loads(line)["probabilities"].values()) for line in lines] == pytest.approx(
        [1, 1], abs=1e-5
    )
    models = data / "models" / "m" / "finetuning_models"
    best = models / f"cola,chunk,sts,squad_model_{finetuned.results['best_trial']}"
    assert list(best.glob("model.ckpt-*.safetensors"))
    scores = json.loads((best / "scores.json").read_text())["scores"]
    assert scores["cola"]  # a run that does not score leaves the scores


def test_what_was_trained_before_is_predicted_later(finetuned, tmp_path, monkeypatch):
    data, best = tmp_path / "data", finetuned.results["best_trial"]
    shutil.copytree(finetuned.data, data)
    monkeypatch.setattr(Loop, "run", None)
    places = {"test_predictions": str(data / "later"), "n_writes_test": int(best)}
    _, again = finetune(data, **finetuned.hparams | places)
    made = [path.name for path in (data / "later").glob("*")]
    assert made == [f"trial_{best}"]  # the other model was not kept
    assert again["best_trial"] == best


def test_another_test_file_is_predicted_by_a_finished_trial(finetuned, tmp_path, monkeypatch):
    data, best = tmp_path / "data", finetuned.results["best_trial"]
    shutil.copytree(finetuned.data, data)
    monkeypatch.setattr(Loop, "run", None)
    hparams = finetuned.hparams | {"n_writes_test": int(best)}
    table = data / "models/m/test_predictions" / f"trial_{best}" / "CoLA.tsv"
    for sentences in (["w9"], ["w9", "w5", "w6"]):
        rows = "".join(f"{i}\t{text}\n" for i, text in enumerate(sentences))
        (data / "finetuning_data" / "cola" / "test.tsv").write_text("index\tsentence\n" + rows)
        finetune(data, **hparams)
        assert len(table.read_text().splitlines()) == 1 + len(sentences)


def test_scores_outlive_a_kill_and_plots_that_fail(finetuned, tmp_path, monkeypatch, caplog):
    data, best = tmp_path / "data", finetuned.results["best_trial"]
    shutil.copytree(finetuned.data, data)
    monkeypatch.setattr(Loop, "run", None)
    models, results = (data / "models" / "m" / each for each in ("finetuning_models", "results"))
    folder = models / f"cola,chunk,sts,squad_model_{best}"
    before = json.loads((folder / "scores.json").read_text())
    for path in (folder / "scores.json", *results.iterdir(), *folder.glob("*.summary")):
        path.unlink() if path.is_file() else shutil.rmtree(path)

    def fail(*args):
        raise KeyboardInterrupt

    hparams = finetuned.hparams | {"ensemble": False, "write_test_outputs": False}
    run = Finetuning(config_of(data, **hparams))  # once: its programs take long to make
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(outputs, "write_summaries", fail)
        run.run()
    record = json.loads((folder / "scores.json").read_text())
    assert (record["scores"], record["outputs_due"]) == (before["scores"], True)

    def broken(*args):
        raise RuntimeError("no font")

    monkeypatch.setattr(plots, "draw_no_answer", broken)
    for name in FAMILIES:
        monkeypatch.setattr(type(get_family(name)), "is_constant", lambda *args, **kwargs: True)
    shutil.rmtree(results / "cola,chunk,sts,squad_plots")
    run.run()
    assert "squad_no_answer.png is not drawn. RuntimeError: no font" in caplog.text
    assert (results / "cola,chunk,sts,squad_plots" / "cola_confusion.png").exists()
    record = json.loads((folder / "scores.json").read_text())
    assert "outputs_due" not in record
    assert record["collapsed"] == "; ".join(
        f"{name}: one label for everything" for name in hparams["task_names"]
    )
    again = json.loads((results / "cola,chunk,sts,squad_results.json").read_text())
    assert record in again["trials"]
    assert f"collapsed: {record['collapsed']}" in caplog.text
    tags = [
        value.tag
        for path in tensorboard.event_files(folder)
        for event in tensorboard.read_events(path)[0]
        for value in event.summary.value
    ]
    assert tags.count("scores/cola/mcc") == tags.count("learning_curves") == 1


def test_a_model_that_predicts_no_numbers_is_named(finetuned):
    run, dev = finetuned.run, finetuned.run.data.dev[0]
    variable = next(
        v for name, v in run.trainer.variables.items() if name.startswith("task_specific/cola")
    )
    before = variable.numpy()
    variable.assign(before * np.nan)
    try:
        with pytest.raises(ValueError, match="The model gives task .cola. logits, loss that are"):
            run.trainer.predictor.predict(*dev.inputs)
    finally:
        variable.assign(before)


def test_what_cannot_be_predicted_is_refused(tmp_path):
    data = tmp_path
    for hparams, message in (
        ({"do_predict": True}, "do_predict wants predict_files"),
        ({"do_predict": True, "predict_files": {"mrpc": ["x.tsv"]}}, "a list for each of cola"),
        ({"do_predict": True, "predict_files": {"cola": "x.tsv"}}, "Received: {'cola': 'x.tsv'}"),
        ({"predict_files": ["x.tsv"], "task_names": ["cola", "rte"]}, "of several tasks a dict"),
        ({"do_train": False, "do_eval": False}, "write_test_outputs are false: nothing to do"),
    ):
        with pytest.raises(ValueError, match=message):
            config_of(data, **hparams)
    with pytest.raises(FileNotFoundError, match="cola_model_1 holds no model. Train first"):
        Finetuning(config_of(data, do_train=False))
