"""The files that the leaderboards read, as written."""

import json
import os
import zipfile

import pytest

from electra.finetune.predictions import write_clue, write_glue, write_squad
from electra.finetune.tasks import TASKS, get_task

ANSWERS = {
    "q1": ([{"text": "Łódź", "probability": 1.0, "start_logit": 2.0, "end_logit": 1.0}], -4.5),
    "q2": ([{"text": "1569", "probability": 1.0, "start_logit": 0.0, "end_logit": 0.0}], 3.0),
}


def test_glue_wants_these_files(tmp_path):
    one = [
        (task, split, [task.labels[0] if task.labels else 0.5])
        for task in TASKS.values()
        for split, file in task.leaderboard.items()
        if file.endswith(".tsv")
    ]
    write_glue(tmp_path / "submission" / "glue.zip", one)
    with zipfile.ZipFile(tmp_path / "submission" / "glue.zip") as archive:
        assert sorted(archive.namelist()) == [
            "AX.tsv", "CoLA.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "MRPC.tsv", "QNLI.tsv", "QQP.tsv",
            "RTE.tsv", "SST-2.tsv", "STS-B.tsv", "WNLI.tsv",
        ]  # fmt: skip
    assert [path.name for path in (tmp_path / "submission").iterdir()] == ["glue.zip"]


def test_glue_tables_have_a_header_and_count_from_0(tmp_path):
    predictions = [
        (get_task("cola"), "test", ["1", "0"]),
        (get_task("sts"), "test", [5.2, 2.34567, -0.1]),
        (get_task("rte"), "test", ["not_entailment"]),
        (get_task("mnli"), "test_mismatched", ["neutral", "contradiction"]),
    ]
    write_glue(tmp_path / "glue.zip", predictions)
    with zipfile.ZipFile(tmp_path / "glue.zip") as archive:
        tables = {name: archive.read(name).decode() for name in archive.namelist()}
    assert tables == {
        "CoLA.tsv": "index\tprediction\n0\t1\n1\t0\n",
        "STS-B.tsv": "index\tprediction\n0\t5.000\n1\t2.346\n2\t0.000\n",
        "RTE.tsv": "index\tprediction\n0\tnot_entailment\n",
        "MNLI-mm.tsv": "index\tprediction\n0\tneutral\n1\tcontradiction\n",
    }


def test_what_glue_does_not_know_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "glue.zip"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="cola: GLUE's labels are .* Received: \\['yes'\\]"):
        write_glue(path, [(get_task("cola"), "test", ["1", "yes"])])
    with pytest.raises(ValueError, match="'chunk', split 'test': no leaderboard takes it as .tsv"):
        write_glue(path, [(get_task("chunk"), "test", ["O"])])
    assert path.read_bytes() == b"old"


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
        write_squad(tmp_path, "squad", {"q1": (ANSWERS["q1"][0], float("nan"))})


def test_squad_files_hold_texts_odds_and_n_best(tmp_path):
    write_squad(tmp_path, "squad", ANSWERS)
    read = {path.name: json.loads(path.read_text("utf-8")) for path in tmp_path.iterdir()}
    assert read == {
        "squad_preds.json": {"q1": "Łódź", "q2": "1569"},
        "squad_null_odds.json": {"q1": -4.5, "q2": 3.0},
        "squad_n_best.json": {"q1": ANSWERS["q1"][0], "q2": ANSWERS["q2"][0]},
    }
    write_squad(tmp_path, "squad", ANSWERS, null_odds_threshold=-2.75)
    assert json.loads((tmp_path / "squad_preds.json").read_text("utf-8")) == {
        "q1": "Łódź", "q2": ""
    }  # fmt: skip


def test_clue_wants_one_object_a_line(tmp_path):
    path = write_clue(tmp_path, get_task("tnews"), "test", ["109", "100"])
    assert path == str(tmp_path / "tnews11_predict.json")
    lines = (tmp_path / "tnews11_predict.json").read_text().splitlines()
    assert lines == ['{"id": 0, "label": "109"}', '{"id": 1, "label": "100"}']
    write_clue(tmp_path, get_task("wsc"), "test", ["true"], ids=[7])
    line = (tmp_path / "cluewsc11_predict.json").read_text()
    assert line == '{"id": 7, "label": "true"}\n'
    with pytest.raises(ValueError, match="'cola', split 'test': no leaderboard takes it as .json"):
        write_clue(tmp_path, get_task("cola"), "test", ["1"])
