"""The files that the leaderboards read, as written."""

import dataclasses
import json
import os
import zipfile

import numpy as np
import pytest

from electra.finetune.families import REGRESSION, get_family
from electra.finetune.families.qa import write_squad
from electra.finetune.families.tagging import TaggingExample
from electra.finetune.families.text import TextExample
from electra.finetune.predictions import write_clue, write_glue
from electra.finetune.tasks import TASKS, get_task

ANSWERS = {
    "q1": ([{"text": "Łódź", "probability": 1.0, "start_logit": 2.0, "end_logit": 1.0}], -4.5),
    "q2": ([{"text": "1569", "probability": 1.0, "start_logit": 0.0, "end_logit": 0.0}], 3.0),
}


def tables(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_glue_wants_these_files(tmp_path):
    missing = []
    for task in TASKS.values():
        for split, file in task.leaderboard.items():
            if file.endswith(".tsv"):
                missing = write_glue(tmp_path, task, split, [(task.labels or (0.5,))[0]])
    assert missing == []
    names = [
        "AX.tsv",
        "CoLA.tsv",
        "MNLI-m.tsv",
        "MNLI-mm.tsv",
        "MRPC.tsv",
        "QNLI.tsv",
        "QQP.tsv",
        "RTE.tsv",
        "SST-2.tsv",
        "STS-B.tsv",
        "WNLI.tsv",
    ]
    assert sorted(tables(tmp_path / "glue.zip")) == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "glue.zip"])


def test_glue_tables_have_a_header_and_count_from_0(tmp_path):
    for name, split, values in (
        ("cola", "test", ["1", "0"]),
        ("sts", "test", [5.2, 2.34567, -0.1]),
        ("rte", "test", ["not_entailment"]),
        ("mnli", "test_mismatched", ["neutral", "contradiction"]),
    ):
        missing = write_glue(tmp_path, get_task(name), split, values)
    assert missing == [
        "AX.tsv",
        "MNLI-m.tsv",
        "MRPC.tsv",
        "QNLI.tsv",
        "QQP.tsv",
        "SST-2.tsv",
        "WNLI.tsv",
    ]
    expected = {
        "CoLA.tsv": "index\tprediction\n0\t1\n1\t0\n",
        "STS-B.tsv": "index\tprediction\n0\t5.000\n1\t2.346\n2\t0.000\n",
        "RTE.tsv": "index\tprediction\n0\tnot_entailment\n",
        "MNLI-mm.tsv": "index\tprediction\n0\tneutral\n1\tcontradiction\n",
    }
    assert tables(tmp_path / "glue.zip") == expected
    for name, table in expected.items():
        assert (tmp_path / name).read_bytes() == table.encode()


def test_what_glue_does_not_know_is_refused_and_the_old_files_stay(tmp_path):
    write_glue(tmp_path, get_task("cola"), "test", ["1"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="cola: GLUE's labels are .* Received: \\['yes'\\]"):
        write_glue(tmp_path, get_task("cola"), "test", ["1", "yes"])
    with pytest.raises(ValueError, match="'chunk', split 'test': no leaderboard takes it as .tsv"):
        write_glue(tmp_path, get_task("chunk"), "test", ["O"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_appear_by_renaming(tmp_path, monkeypatch):
    write_clue(tmp_path, get_task("afqmc"), "test", ["0"])
    before = (tmp_path / "afqmc_predict.json").read_text()

    def stop(source, target):
        raise InterruptedError

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(InterruptedError):
        write_clue(tmp_path, get_task("afqmc"), "test", ["1"])
    assert (tmp_path / "afqmc_predict.json").read_text() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_odds_that_are_no_number_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_squad(tmp_path / "p", tmp_path / "o", {"q1": (ANSWERS["q1"][0], float("nan"))})


def test_squad_files_hold_texts_and_odds(tmp_path):
    preds, odds = tmp_path / "preds.json", tmp_path / "odds.json"
    write_squad(preds, odds, ANSWERS)
    assert preds.read_text("utf-8") == '{\n  "q1": "Łódź",\n  "q2": "1569"\n}\n'
    assert odds.read_text("utf-8") == '{\n  "q1": -4.5,\n  "q2": 3.0\n}\n'
    write_squad(preds, None, ANSWERS, null_odds_threshold=-2.75)
    assert json.loads(preds.read_text("utf-8")) == {"q1": "Łódź", "q2": ""}


def rows_of(task, examples, predictions, threshold):
    rows = get_family(task.family).rows(task, examples, predictions, threshold)
    return [{"id": each.id, **row} for each, row in zip(examples, rows, strict=True)]


def test_clue_wants_one_object_a_line(tmp_path):
    path = write_clue(tmp_path, get_task("tnews"), "test", ["109", "100"])
    assert path == str(tmp_path / "tnews11_predict.json")
    lines = (tmp_path / "tnews11_predict.json").read_text().splitlines()
    assert lines == ['{"id": 0, "label": "109"}', '{"id": 1, "label": "100"}']
    write_clue(tmp_path, get_task("wsc"), "test", ["true"], ids=["7"])
    line = (tmp_path / "cluewsc11_predict.json").read_text()
    assert line == '{"id": 7, "label": "true"}\n'
    with pytest.raises(ValueError, match="'cola', split 'test': no leaderboard takes it as .json"):
        write_clue(tmp_path, get_task("cola"), "test", ["1"])


def test_rows_say_all_that_is_predicted():
    text = [TextExample("a", "w5", None, None)]
    assert rows_of(get_task("cola"), text, np.float32([[0.1, 0.9]]), 0.0) == [
        {"id": "a", "label": "1", "probabilities": {"0": 0.1, "1": 0.9}}
    ]
    assert rows_of(get_task("sts"), text, np.float32([0.5]), 0.0) == [{"id": "a", "value": 2.5}]
    assert get_family(REGRESSION).labels_of(get_task("sts"), [], [0.0, 1.0]) == [0.0, 5.0]
    chunk = dataclasses.replace(get_task("chunk"), labels=("O", "S-NP"))
    words = [TaggingExample("0", ("w5", "w6", "w7"), None)]
    assert rows_of(chunk, words, [np.array([[0.2, 0.8], [0.7, 0.3]])], 0.0) == [
        {"id": "0", "words": ("w5", "w6", "w7"), "tags": ["S-NP", "O", "O"]}  # the last is cut off
    ]
    asked = [TextExample(key, "", None, None) for key in ANSWERS]  # only their ids count
    for name, texts in (("squad", ["Łódź", ""]), ("squadv1", ["Łódź", "1569"])):
        assert rows_of(get_task(name), asked, ANSWERS, -2.75) == [
            {"id": key, "text": text, "null_odds": odds, "n_best": n_best}
            for (key, (n_best, odds)), text in zip(ANSWERS.items(), texts, strict=True)
        ]
