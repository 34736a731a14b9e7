"""The command that prints which tokens look replaced."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from electra.serve import detect, views
from tests.serve.models import write_pretrained
from tests.shared import ROOT


def test_scores_are_printed_with_a_bar():
    assert views.format_scores([("the", 0.1), ("was", 0.5), ("##s", 0.0)]) == (
        f"  the  0.100  {'#' * 3}\n  was  0.500  {'#' * 15}\n  ##s  0.000"
    )


def test_no_text_is_refused(monkeypatch):
    monkeypatch.setattr(detect.flags, "FLAGS", SimpleNamespace(model_dir="", text=None, input=None))
    with pytest.raises(ValueError, match="no text to score. Give one or more with --text"):
        detect.main([])


def test_the_command_prints_every_token(tmp_path):
    folder = write_pretrained(tmp_path)
    command = [sys.executable, "-m", "electra.serve.detect", "--model_dir", str(folder)]
    done = subprocess.run(
        [*command, "--text", "w5 w6", "--text", "w7"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    lines = done.stdout.split("\n")
    assert [line.split()[:1] for line in lines] == [
        [],
        ["w5"],
        ["w5"],
        ["w6"],
        [],
        ["w7"],
        ["w7"],
        [],
    ]
