"""The quickstart's tables; the commands it runs have tests of their own."""

import json
import subprocess

import pytest

from electra.pretrain.config import PretrainingConfig
from electra.pretrain.metrics import METRICS
from examples import quickstart


def evaluation(step, **values):
    return {"step": step, **dict.fromkeys(METRICS, 0.25), **values}


def test_the_report_compares_the_first_evaluation_with_the_last(tmp_path):
    lines = [
        evaluation(0, disc_auc=0.5, mask_slot_loss=7.6, unigram_slot_loss=6.25),
        evaluation(50, disc_auc=0.6, mask_slot_loss=6.3, unigram_slot_loss=6.25),
        evaluation(100, disc_auc=0.75, mask_slot_loss=5.5, unigram_slot_loss=6.25),
    ]
    log = tmp_path / "eval_log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = quickstart.report(*quickstart.read_evaluations(tmp_path))
    assert all(name in text for name in METRICS)
    assert "disc_auc                          0.5000      0.7500" in text
    assert "5.5000   +0.7500 nats better than the unigram" in text


def test_a_log_without_step_zero_is_refused(tmp_path):
    log = tmp_path / "eval_log.jsonl"
    log.write_text("".join(json.dumps({"step": step}) + "\n" for step in (50, 100)))
    with pytest.raises(ValueError, match=r"expected an evaluation at step 0.*\[50, 100\]"):
        quickstart.read_evaluations(tmp_path)


def test_the_last_table_sets_scores_beside_baselines(tmp_path):
    folder = quickstart.tasks_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "baselines.json").write_text('{"library": 14.0, "code": 50.0, "argument": 20.0}')
    for model, score in ((quickstart.SCRATCH_NAME, 30.0), (quickstart.MODEL_NAME, 60.25)):
        results = tmp_path / "models" / model / "results"
        results.mkdir(parents=True)
        for name in quickstart.TASKS:
            summary = {name: {"f1": {"mean": score}}}
            values = {"main_metrics": {name: "f1"}, "summary": summary}
            (results / f"{name}_results.json").write_text(json.dumps(values))
    lines = quickstart.compare(tmp_path).splitlines()
    assert [line.split()[-4:] for line in lines[1:]] == [
        ["f1", "14.0", "30.0", "60.2"],
        ["f1", "50.0", "30.0", "60.2"],
        ["f1", "20.0", "30.0", "60.2"],
    ]


def test_the_last_stage_is_the_report_and_its_path_is_printed(monkeypatch, capsys, tmp_path):
    commands = []
    monkeypatch.setattr(quickstart, "run", lambda *command, **flags: commands.append(command))
    monkeypatch.setattr(quickstart, "read_evaluations", lambda folder: (1, 2))
    monkeypatch.setattr(quickstart, "report", lambda *evaluations: "")
    monkeypatch.setattr(quickstart, "compare", lambda folder: "")
    assert quickstart.main(["--data_dir", str(tmp_path)]) == 0
    assert commands[-1] == ("-m electra.serve.report",)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (tmp_path / "models" / "quickstart" / "report.html").as_uri()


def test_the_report_gets_what_stands_beside_the_scores(tmp_path):
    config = PretrainingConfig(quickstart.MODEL_NAME, str(tmp_path))
    places = quickstart.report_places(config)
    assert places == {
        "model_dir": str(tmp_path / "models" / "quickstart"),
        "beside": tmp_path / "models" / "quickstart_from_scratch",
        "baselines": tmp_path / "finetuning_data" / "docstrings" / "baselines.json",
    }


def test_a_failing_command_ends_the_quickstart_with_its_status(monkeypatch, capsys, tmp_path):
    def fail(*arguments, **options):
        raise subprocess.CalledProcessError(3, arguments)

    monkeypatch.setattr(subprocess, "Popen", fail)
    assert quickstart.main(["--data_dir", str(tmp_path)]) == 3
    shown = capsys.readouterr().out
    assert f" examples/docstring_corpus.py --out {tmp_path}/corpus" in shown
    assert "Run again to go on" in shown


@pytest.mark.parametrize("text", ["{", '{"vocab_siez": 2000}'])
def test_bad_hparams_end_the_quickstart_before_its_first_command(tmp_path, capsys, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    assert quickstart.main(["--data_dir", str(tmp_path / "d"), "--hparams", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "Error: " in shown and "$ " not in shown
