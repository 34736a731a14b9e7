"""Recipes of published systems: they load, their networks have the published sizes, the page that
runs them names each and types commands that exist.
"""

import argparse
import math
import os
import re
import subprocess

import keras
import pytest

from electra.cli import normalize_argv
from electra.data.__main__ import FIELDS, PLACES
from electra.finetune.config import FinetuningConfig
from electra.hparams import load_hparams
from electra.pretrain.config import PretrainingConfig
from electra.pretrain.model import PretrainingModel
from electra.text.vocab import VocabFlags
from tests.shared import ROOT

FOLDER = ROOT / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.json"))
FINETUNING = sorted(path.stem for path in (FOLDER / "finetuning").glob("*.json"))
PAGE = ROOT / "docs" / "recipes.md"
# Parameters: millions as published (None: not given), discriminator, what the generator adds.
SMALL, BASE, LARGE = (14, 13_549_057), (110, 109_483_009), (335, 335_142_913)
PARAMETERS = {
    "electra_small": (*SMALL, 647_162),
    "electra_small_owt": (*SMALL, 647_162),
    "electra_small_plus_plus": (*SMALL, 9_573_818),
    "electra_base": (*BASE, 9_903_418),
    "electra_base_plus_plus": (*BASE, 9_903_418),
    "electra_base_two_lengths": (*BASE, 9_903_418),
    "electra_large": (*LARGE, 19_512_378),
    "electra_large_plus_plus": (*LARGE, 19_512_378),
    "lmtuners_small": (17, 17_488_897, 663_930),
    "alectra": (4, 4_861_697, 97_338),
    "selectra_small": (22, 22_475_265, 683_408),
    "selectra_medium": (41, 40_839_937, 1_467_056),
    "clue_tiny": (None, 11_419_633, 366_902),
}
RECORDER = """#!/bin/sh
printf '%s\037' "$@" >> {log}
echo >> {log}
"""


def recipe(name):
    return PretrainingConfig("M", "D", **load_hparams(str(FOLDER / f"{name}.json")))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_differs_from_the_defaults(name):
    config = recipe(name)
    for hparam in config.given - {"model_size"}:
        assert getattr(config, hparam) != PretrainingConfig.fields[hparam].default, hparam


@pytest.mark.parametrize("name", FINETUNING)
def test_settings_of_fine_tuning_load(name):
    hparams = load_hparams(str(FOLDER / "finetuning" / f"{name}.json"))
    config = FinetuningConfig("M", "D", **hparams)
    assert hparams and config.values(*hparams) == hparams


def test_every_recipe_has_its_published_size():
    assert list(PARAMETERS.keys() ^ RECIPES) == []


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_network_has_the_published_number_of_parameters(name):
    published, discriminator, generator = PARAMETERS[name]
    config = recipe(name)
    with keras.StatelessScope(initialize_variables=False):  # shapes only
        model = PretrainingModel(config.encoder, config.generator, {"cls": 2, "sep": 3, "mask": 4})
        sizes = {name: math.prod(v.shape) for name, v in model.named_variables().items()}
    own = sum(n for name, n in sizes.items() if re.match("electra/|discriminator_pred", name))
    assert (own, sum(sizes.values()) - own) == (discriminator, generator)
    if published:  # some round to nearest, some down, 110M to two digits
        assert abs(own / 1e6 - published) < 1
    row = re.search(rf"^\| `{name}` \|.*", PAGE.read_text(encoding="utf-8"), flags=re.M)[0]
    assert row.endswith(f"| {own:,} | {generator:,} |")
    assert f"| {published}M |" in row or published is None


def test_selectra_keeps_case_and_accents_and_restarts_its_rate():
    for name in ("selectra_small", "selectra_medium"):
        config = recipe(name)
        assert (config.do_lower_case, config.strip_accents) == (False, False)
        assert config.lr_restart_step * 2 == config.num_train_steps == 300_000


def test_two_lengths_follow_each_other_in_one_run():
    config = recipe("electra_base_two_lengths")
    lengths = [(phase["steps"], phase["max_seq_length"]) for phase in config.phases]
    assert lengths == [(900_000, 128), (100_000, 512)]
    assert (config.num_train_steps, config.max_seq_length) == (1_000_000, 512)


def test_the_page_names_every_file():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in RECIPES)
    assert all(f"{name}.json" in text for name in FINETUNING)


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """The arguments of every python3 that the page's blocks of code call, loops unrolled."""
    folder = tmp_path_factory.mktemp("bin")
    log, python = folder / "log", folder / "python3"
    python.write_text(RECORDER.format(log=log))
    python.chmod(0o755)
    blocks = re.findall(r"^```\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DATA_DIR": "D"}
    subprocess.run(["bash", "-eu", "-c", "\n".join(blocks)], env=environment, check=True)
    return [line.split("\37")[:-1] for line in log.read_text().split("\n")[:-1]]


def test_the_pages_commands_parse(commands, monkeypatch):
    monkeypatch.chdir(ROOT)
    seen = set()
    for argv in commands:
        script = argv.pop(0) if argv[0] != "-m" else [argv.pop(0), argv.pop(0)][1]
        if script in ("run_pretraining.py", "run_finetuning.py"):
            seen.update(checked_run(script, argv))
            continue
        fields = VocabFlags.fields if script == "electra.text.vocab" else FIELDS
        booleans = {name for name, field in fields.items() if field.kinds == (bool,)}
        argv = normalize_argv(["", *argv], booleans)
        names = {word.removeprefix("--") for word in argv if word.startswith("--")}
        assert names <= {*fields, *PLACES, "output", *(f"no{name}" for name in booleans)}, script
    assert seen >= {name for name in RECIPES if not re.search("small$|large|base_|s_plus", name)}


def checked_run(script, argv):
    """Makes the config of a command; returns the model's name and the tasks'."""
    parser = argparse.ArgumentParser()
    for name in ("--data_dir", "--model_name"):
        parser.add_argument(name, required=True)
    parser.add_argument("--hparams", action="append")
    args = parser.parse_args(normalize_argv(["", *argv], ())[1:])
    make = PretrainingConfig if script == "run_pretraining.py" else FinetuningConfig
    config = make(args.model_name, args.data_dir, **load_hparams(args.hparams))
    return {args.model_name, *getattr(config, "task_names", ())}
