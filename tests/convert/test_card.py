"""The model card says what was recorded, and no more."""

import json

import pytest

from electra.data.manifest import write_manifest
from electra.publish.formats import convert
from electra.text.vocab import read_vocab
from tests.convert.models import write_task
from tests.serve.models import write_pretrained


def card(folder, tmp_path, **options):
    convert(folder, "huggingface", tmp_path / "o", **options)
    return (tmp_path / "o" / "README.md").read_text()


def write_log(folder, name, rows):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_without_logs_there_are_no_numbers_of_quality(tmp_path):
    text = card(write_pretrained(tmp_path), tmp_path, part="discriminator")
    assert text.startswith("---\nlibrary_name: transformers\ntags:\n- electra\n---\n\n# o\n")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## Sizes", "## Settings", "## Use"]
    assert "| hidden size | 16 |" in text and "| `learning_rate` | `0.001` |" in text
    assert "checkpoint of 7 updates" in text


def test_weights_that_a_run_began_with_are_named(tmp_path):
    folder = write_pretrained(tmp_path, init_checkpoint="/a/private/folder/bert")
    text = card(folder, tmp_path, part="encoder")
    assert '| `init_checkpoint` | `"bert"` |' in text and "private" not in text


def test_held_out_metrics_are_those_of_the_checkpoint(tmp_path):
    folder = write_pretrained(tmp_path)
    rows = [{"step": step, "loss": 40 - step, "disc_auc": 0.5 + step / 100} for step in (2, 7, 9)]
    write_log(folder, "eval_log.jsonl", rows)
    write_log(folder, "train_log.jsonl", [{"step": 7, "tokens_per_sec": 1234.4}])
    text = card(folder, tmp_path, part="discriminator")
    assert "## Held-out text, at step 7" in text
    assert "| disc_auc | 0.57 |" in text and "0.59" not in text
    assert "| 2 | 38 |\n| 7 | 33 |" in text
    assert "1,234 tokens a second" in text


def test_phases_have_columns_of_their_own(tmp_path):
    phases = [{"steps": 9}, {"steps": 3, "max_seq_length": 24, "learning_rate": 0.25}]
    folder = write_pretrained(tmp_path, phases=phases)
    rows = [{"step": step, "phase": step // 4 + 1, "loss": 9.5 - step} for step in (3, 7)]
    write_log(folder, "eval_log.jsonl", rows)
    digest = read_vocab(folder / "vocab.txt").sha256
    for length in (16, 24):
        about = {"vocab_sha256": digest, "max_seq_length": length, "documents": length + 1000}
        write_manifest(tmp_path / f"r{length}", about)
    dirs = f"{tmp_path}/r16,{tmp_path}/r24"
    text = card(folder, tmp_path, part="discriminator", records_dir=dirs)
    assert "| longest text | 24 tokens |" in text
    assert "| hparam | phase 1 | phase 2 |\n|---|---|---|\n| `steps` | `9` | `3` |" in text
    assert "| `learning_rate` | `0.001` | `0.25` |" in text
    assert "| `max_seq_length` | `16` | `24` |" in text
    assert text.count("`learning_rate`") == 1 and "| `num_train_steps` | `12` |" in text
    assert "| of the records of 24 tokens |  |\n|---|---|\n| documents | 1,024 |" in text
    assert "| step | phase | loss |\n|---|---|---|\n| 3 | 1 | 6.5 |\n| 7 | 2 | 2.5 |" in text


def test_the_data_is_that_of_the_manifest(tmp_path):
    folder = write_pretrained(tmp_path)
    digest = read_vocab(folder / "vocab.txt").sha256
    write_manifest(tmp_path / "r", {"vocab_sha256": digest, "documents": 1200, "train_tokens": 5})
    text = card(folder, tmp_path, part="discriminator", records_dir=tmp_path / "r")
    assert "| documents | 1,200 |" in text
    write_manifest(tmp_path / "r", {"vocab_sha256": "other"})
    options = {"part": "encoder", "records_dir": tmp_path / "r"}
    with pytest.raises(ValueError, match="was built with another vocabulary than"):
        convert(folder, "huggingface", tmp_path / "x", **options)
    with pytest.raises(FileNotFoundError, match="holds no manifest.json"):
        options["records_dir"] = tmp_path
        convert(folder, "huggingface", tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


def test_scores_are_those_of_the_trial_and_of_all_trials(tmp_path):
    model = write_task(tmp_path, "classification", labels=["no", "yes"])
    folder = tmp_path / "models" / "m" / "finetuning_models" / "t_model_2"
    folder.parent.mkdir(parents=True)
    model.rename(folder)
    text = card(folder, tmp_path)
    assert "## Scores" not in text and "pipeline_tag: text-classification" in text
    (tmp_path / "o").rename(tmp_path / "before")
    (folder / "scores.json").write_text(json.dumps({"scores": {"t": {"accuracy": 81.25}}}))
    results = tmp_path / "models" / "m" / "results"
    results.mkdir()
    summary = {"t": {"accuracy": {"mean": 80.5, "std": 1.25, "trials": 5}}}
    about = {"summary": summary, "baselines": {"t": {"accuracy": 50.0}}}
    (results / "t_results.json").write_text(json.dumps(about))
    text = card(folder, tmp_path)
    assert "fine-tuned on t (classification)" in text
    assert "| t | accuracy | 81.25 |" in text
    assert "| t | accuracy | 80.5 | 1.25 | 50 | 5 |" in text


def test_a_card_of_keras_hub(tmp_path):
    convert(write_pretrained(tmp_path), "keras_hub", tmp_path / "o")
    text = (tmp_path / "o" / "README.md").read_text()
    assert "library_name: keras-hub" in text and "GELU by tanh" in text
    assert "ElectraBackbone.from_preset('o')" in text
