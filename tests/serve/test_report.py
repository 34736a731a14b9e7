"""The report of a run: what stands in it, that it needs nothing else, and that texts stay texts."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from electra.pretrain import corrupted
from electra.pretrain.config import PretrainingConfig
from electra.serve import report_html
from electra.serve.report import next_commands, write_report
from tests.shared import ROOT

EVIL = "<script>alert(1)</script>&\"'"
VOID = {"meta"}


class Page(HTMLParser):
    """A page's elements; raises AssertionError where tags do not match."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.texts, self._open = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts += [(self._open[-1], data.strip())] if data.strip() else []

    def of(self, tag):
        return [text for inside, text in self.texts if inside == tag]

    def count(self, tag, **attributes):
        return sum(t == tag and attributes.items() <= found.items() for t, found in self.elements)


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_results(folder, task, score, trials=1, metric="accuracy", **more):
    (folder / "results").mkdir(exist_ok=True, parents=True)
    found = {"mean": score, "std": 1.5, "trials": trials}
    values = {"main_metrics": {task: metric}, "summary": {task: {metric: found}}, **more}
    (folder / "results" / f"{task}_results.json").write_text(json.dumps(values))


@pytest.fixture
def run(tmp_path):
    """A run with everything in it; its texts try to be HTML."""
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    config = PretrainingConfig("m", str(tmp_path), vocab_size=2000, learning_rate=2e-3)
    hparams = config.to_json() | {"model_name": EVIL}
    (folder / "hparams.json").write_text(json.dumps(hparams))
    train = [{"step": s, "loss": 45 - s / 9, "disc_auc": 0.5 + s / 400} for s in range(10, 110, 10)]
    write_lines(folder / "train_log.jsonl", train)
    numbers = {"disc_auc": 0.6, "loss": 40.0, "unigram_slot_loss": 6.25}
    held_out = [{"step": s, "mask_slot_loss": 8 - s / 50, **numbers} for s in (0, 50, 100)]
    write_lines(folder / "eval_log.jsonl", held_out)
    examples = [
        [
            {"token": EVIL, "probability": 0.25},
            {"token": "b", "probability": 0.75, "original": EVIL},
            {"token": "##c", "probability": 0.5, "original": "d"},
        ]
    ]
    (folder / corrupted.FILE).write_text(json.dumps({"step": 100, "examples": examples}))
    write_results(folder, EVIL.replace("/", ""), 60.0, baselines={})
    write_results(folder, "cola", 55.5, trials=3, baselines={"cola": {"accuracy": 50.0}})
    (folder / "results" / "unsup_results.json").write_text('{"disc_auc": 0.6}')
    return folder


def test_all_that_was_run_is_on_the_page(run, tmp_path):
    beside = tmp_path / "models" / "from_scratch"
    write_results(beside, "cola", 52.25)
    path = run / "report.html"
    assert write_report(run, beside=beside) == str(path)
    page = Page(path)
    assert page.of("h2") == [
        "Which tokens were replaced?",
        "Learning curves",
        "Scores on dev files",
        "What was run",
        "The same with text of your own",
    ]
    assert page.of("b") == ["100", "6.00", "0.600"]
    assert page.of("rt") == [EVIL, "d"]
    assert page.count("span", **{"class": "token replaced found", "title": "0.750"}) == 1
    assert page.count("span", **{"class": "token replaced", "title": "0.500"}) == 1
    assert "Found here: 1 of 2." in path.read_text()
    assert page.of("h3") == [
        "Loss on slots that show [MASK], nats",
        "disc_auc: replaced above original (0.5: a guess)",
        "Total loss",
    ]
    assert page.count("polyline") == 6
    assert page.of("title").count("counting words, step 100: 6.25") == 1
    assert page.of("th") == ["task", "metric", "without a network", "from_scratch", EVIL]
    scores = page.of("td")
    assert scores[scores.index("cola") :][:5] == [
        *("cola", "accuracy", "50.0", "52.2"),
        "55.5 ± 1.5 (3 trials)",
    ]
    assert len(page.of("pre")) == page.count("button") == 3


def test_texts_stay_texts_and_nothing_comes_from_outside(run):
    write_report(run)
    text = (run / "report.html").read_text()
    assert "<script>alert" not in text and text.count("<script") == 1
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#x27;") >= 4
    page = Page(run / "report.html")
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name in ("src", "href") or name.startswith("on")}
    assert not re.findall(r"https?:|url\(|@import", text)
    assert "color-scheme: light dark;" in text and "@media (prefers-color-scheme: dark)" in text


def test_what_a_run_lacks_is_left_out(run):
    for path in (run / "eval_log.jsonl", run / corrupted.FILE):
        path.unlink()
    for path in (run / "results").iterdir():
        path.unlink()
    write_report(run)
    page = Page(run / "report.html")
    assert page.of("h2") == ["Learning curves", "What was run", "The same with text of your own"]
    assert page.of("b") == ["100", "0.750"]
    assert page.count("polyline") == 2
    (run / "train_log.jsonl").unlink()
    before = (run / "report.html").read_text()
    with pytest.raises(FileNotFoundError, match="holds no hparams.json with logs or results"):
        write_report(run)
    assert (run / "report.html").read_text() == before
    write_results(run, "cola", 55.5)
    write_report(run)
    assert Page(run / "report.html").of("h2")[0] == "Scores on dev files"


def test_a_folder_without_a_run_and_damaged_files_are_refused(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="Give the folder of a pre-training run"):
        write_report(tmp_path)
    (run / corrupted.FILE).write_text('{"step": 1, "examples": [[{"token": 5}]]}')
    with pytest.raises(ValueError, match="corrupted.json is damaged: 'token'.*Remove it"):
        write_report(run)


def test_what_a_log_holds_besides_numbers_is_left_out(run):
    good = {"step": 5, "loss": 45.0, "tokens_per_sec": 7.0}
    strange = ["9", None, [1], {}, True, 10**200, float("inf"), float("nan")]
    rows = [{"step": 6, "loss": value, "tokens_per_sec": value} for value in strange]
    rows += [{"step": -5, "loss": 1.0}, {"step": 10**200, "loss": 1.0}]
    write_lines(run / "train_log.jsonl", [good, *rows])
    names = ("mask_slot_loss", "unigram_slot_loss", "disc_auc")
    write_lines(run / "eval_log.jsonl", [{"step": 7, **dict.fromkeys(names, "<b>")}])
    write_report(run)
    page = Page(run / "report.html")
    assert page.of("h3") == ["Total loss"] and page.of("b") == ["7"]
    (points,) = [found["points"] for tag, found in page.elements if tag == "polyline"]
    assert len(points.split()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("model_size", "huge"), ("vocab_size", "<b>"), ("model_hparam_overrides", [1]), ("seed", -1)],
)
def test_damaged_hparams_are_refused(run, name, value):
    path = run / "hparams.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(ValueError, match=f"hparams.json is damaged: hparam '{name}'"):
        write_report(run)


def test_curves_of_one_point_or_many_are_drawn(run):
    write_lines(run / "train_log.jsonl", [{"step": 1, "loss": 45.0, "disc_auc": float("nan")}])
    write_lines(run / "eval_log.jsonl", [])
    write_report(run)
    page = Page(run / "report.html")
    assert page.of("h3") == ["Total loss"] and page.of("b") == ["1", "nan"]
    rows = [{"step": step, "loss": 1 / step} for step in range(1, 10_001)]
    write_lines(run / "train_log.jsonl", rows)
    write_report(run)
    page = Page(run / "report.html")
    (points,) = [found["points"] for tag, found in page.elements if tag == "polyline"]
    assert 250 < len(points.split()) <= 300
    assert page.count("circle") == 1


def test_a_line_of_few_points_is_drawn_whole(run):
    write_lines(run / "train_log.jsonl", [{"step": s, "loss": 6.0} for s in range(20, 201, 20)])
    write_lines(run / "eval_log.jsonl", [{"step": 0, "loss": 9.0}, {"step": 200, "loss": 5.0}])
    write_report(run)
    lines = [v["points"] for tag, v in Page(run / "report.html").elements if tag == "polyline"]
    heights = [float(point.split(",")[1]) for line in lines for point in line.split()]
    assert min(heights) >= report_html._TOP


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 2500, [0, 500, 1000, 1500, 2000, 2500]),
        (0.48, 0.79, [0.5, 0.6, 0.7]),
        (5.79, 6.23, [5.8, 5.9, 6.0, 6.1, 6.2]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3, 12, [0, 5, 10]),
        (0, 1_000_000, [0, 200_000, 400_000, 600_000, 800_000, 1_000_000]),
        (1e-7, 5e-7, [1e-7, 2e-7, 3e-7, 4e-7, 5e-7]),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert report_html._ticks(low, high, 5) == pytest.approx(expected)


def test_the_commands_repeat_the_run_on_other_text(tmp_path):
    hparams = {"vocab_size": 2000, "max_seq_length": 32, "do_lower_case": False}
    config = PretrainingConfig("m", str(tmp_path), **hparams)
    vocab, build, pretrain = next_commands(config.to_json())
    assert vocab.startswith("python3 -m electra vocab --corpus_dir my_text --vocab_size 2000")
    assert "--do_lower_case=false" in vocab and "--do_lower_case=false" in build
    assert "--max_seq_length 32" in build
    given = json.loads(re.search(r"'(\{.*\})'", pretrain)[1])
    assert given == {"model_size": "small", **hparams, "strip_accents": False}
    again = PretrainingConfig("m", str(tmp_path), **given)
    assert again.to_json() == config.to_json()


def test_the_commands_do_not_depend_on_what_lies_around(tmp_path, monkeypatch):
    hparams = {"max_seq_length": 32, "vocab_size": 2000, "model_size": "mini"}
    config = PretrainingConfig("m", str(tmp_path), **hparams)
    before = next_commands(config.to_json())
    records = tmp_path / "my_data" / "pretrain_tfrecords"
    records.mkdir(parents=True)
    manifest = {"version": 1, "max_seq_length": 64, "vocab_size": 2000}
    (records / "manifest.json").write_text(json.dumps(manifest))
    (records / "pretrain_data.tfrecord-0-of-1").touch()
    monkeypatch.chdir(tmp_path)
    assert next_commands(config.to_json()) == before


def test_the_command_writes_the_page_without_tensorflow(run, tmp_path):
    baselines, output = tmp_path / "baselines.json", tmp_path / "page.html"
    baselines.write_text('{"cola": 12.5}')
    code = (
        "import sys; from electra.cli import run_command; from electra.serve import report\n"
        "report._define_flags()\n"
        "try: run_command(report.main)\n"
        "finally: assert 'tensorflow' not in sys.modules"
    )
    flags = ["--model-dir", run, "--output", output, "--baselines", baselines]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, flags)], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Wrote {output}\n", "")
    assert "12.5" in Page(output).of("td")
    assert not (run / "report.html").exists()
