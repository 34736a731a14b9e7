"""The command that measures on a GPU, where there is none: arguments, limits, a tiny stage."""

import importlib
import json
import subprocess
import sys

import pytest

from tests.shared import ROOT

SCRIPT = ROOT / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        yield importlib.import_module("gpu")


def run(*flags):
    """Returns (the exit status, what is printed)."""
    command = [sys.executable, SCRIPT, *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_stages_are_chosen_by_name(gpu):
    parse = gpu.options().parse_args
    assert parse(["out"]).stages == ["steps", "start_up", "finetuning", "pretraining", "memory"]
    assert parse(["out", "--stages", "memory", "steps"]).stages == ["memory", "steps"]
    with pytest.raises(SystemExit):
        parse(["out", "--stages", "speed"])
    with pytest.raises(SystemExit):
        parse([])


def test_a_tiny_stage_writes_its_results_as_lines(tmp_path):
    status, text = run(tmp_path, "--tiny", "--stages", "steps", "--rounds", 1)
    assert status == 0, text
    lines = [json.loads(x) for x in (tmp_path / "results.jsonl").read_text().splitlines()]
    ours = [line for line in lines if line.get("side") == "ours"]
    sizes = {"stage": "steps", "size": "tiny", "batch": 8, "length": 16, "side": "ours"}
    assert [sizes.items() <= line.items() for line in ours] == [True, True]
    assert ours[0]["works"] and ours[1]["examples_per_sec"] > 0
    assert lines[-1]["ended"] == "well"


def test_a_stage_ends_at_its_limit_and_the_next_one_begins(tmp_path):
    flags = ("--stages", "steps", "memory", "--limit_minutes", 0.001)
    status, text = run(tmp_path, "--tiny", *flags)
    lines = [json.loads(x) for x in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert status == 0, text
    assert [(x["stage"], x["ended"]) for x in lines] == [
        ("steps", "after its limit of 0.001 minutes"),
        ("memory", "after its limit of 0.001 minutes"),
    ]


@pytest.mark.parametrize(
    ("room", "first", "expected"),
    [(70, 32, 64), (97, 32, 96), (7, 32, 6), (0, 32, 0), (999, 32, 128)],
)
def test_the_largest_batch_is_found(gpu, room, first, expected):
    tried = []

    def fits(batch):
        tried.append(batch)
        return batch <= room

    assert gpu.largest(fits, first, most=128) == expected
    assert len(tried) == len(set(tried))


def test_a_curve_is_put_beside_a_reference(gpu, tmp_path):
    reference = tmp_path / "reference.csv"
    reference.write_text("# read from a plot\nstep,total,disc_auc\n10,23.2,0.7\n20,21,0.75\n")
    lines = [{"step": 5, "loss": 30.0}, {"step": 12, "loss": 25.0, "disc_auc": 0.6}]
    assert gpu.beside_reference(reference, lines) == [
        {"step": 10, "total": [23.2, 30.0], "disc_auc": [0.7, None]}
    ]
    assert gpu.beside_reference(reference, []) == []
