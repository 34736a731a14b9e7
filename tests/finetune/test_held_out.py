"""Dev splits that are held out of the training file: what goes where, and that it stays so."""

import collections
import json
import os

import numpy as np
import pytest

from electra.finetune.families import get_family
from electra.finetune.families.text import TextExample
from electra.finetune.held_out import choose_units
from electra.finetune.run_data import FinetuningData
from electra.finetune.runner import Finetuning
from tests.finetune.runs import config_of, make_data

CLASSIFICATION = get_family("classification")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("held_out") / "data")


def texts(**counts):
    return [
        TextExample(str(i), f"{label} {i}", None, label)
        for label, count in counts.items()
        for i in range(count)
    ]


def test_every_label_gives_its_share():
    examples = texts(often=100, seldom=20, once=1)
    units = choose_units(CLASSIFICATION, examples, 0.1)
    assert len(units) == 12
    labels = collections.Counter(text.split()[0] for text, _ in units)
    assert labels == {"often": 10, "seldom": 2}
    assert choose_units(CLASSIFICATION, examples, 0.1) == units
    assert choose_units(CLASSIFICATION, examples[::-1], 0.1) != units  # it is drawn
    assert len(choose_units(CLASSIFICATION, texts(a=3), 0.1)) == 1


@pytest.mark.parametrize(("counts", "fraction"), [({"a": 1}, 0.1), ({"a": 2, "b": 1}, 0.6)])
def test_too_few_examples_are_refused(counts, fraction):
    with pytest.raises(ValueError, match=r"different examples are too few to hold 0\..* dev file"):
        choose_units(CLASSIFICATION, texts(**counts), fraction)


def own(data, folder, family, train, **hparams):
    folder.mkdir(exist_ok=True)
    row = {"name": "my", "family": family, "files": {"train": str(train)}}
    if family != "qa":
        row["columns"] = (
            {"words": 0, "tags": -1} if family == "tagging" else {"text_a": 3, "label": 1}
        )
    (folder / "my.json").write_text(json.dumps(row))
    places = {"output_dir": str(folder), "task_files": [str(folder / "my.json")]}
    return config_of(data, **{"task_names": ["my"], "dev_fraction": 0.25} | places | hparams)


@pytest.mark.parametrize(
    ("family", "train"),
    [
        ("classification", "cola/train.tsv"),
        ("tagging", "chunk/train.txt"),
        ("qa", "squad/train.json"),
    ],
)
def test_train_and_dev_have_nothing_in_common(data, tmp_path, family, train):
    config = own(data, tmp_path, family, data / "finetuning_data" / train)
    read = FinetuningData(config)
    (task,), (dev,) = read.tasks, read.dev
    unit_of = get_family(family).unit_of
    learnt = {unit_of(each) for each in read.splits.examples(task, "train")}
    scored = {unit_of(each) for each in dev.examples}
    whole = FinetuningData(config.replace(do_eval=False))
    assert not learnt & scored
    assert learnt | scored == {unit_of(e) for e in whole.splits.examples(task, "train")}
    assert len(scored) == round(0.25 * len(learnt | scored))
    assert len(read.train["my"]) < len(whole.train["my"])
    assert read.digests()["my dev"] == whole.digests()["my train"] != read.digests()["my train"]
    again = FinetuningData(config)  # from the cache
    for name, column in read.train["my"].columns.items():
        np.testing.assert_array_equal(column, again.train["my"].columns[name])
    assert [each.id for each in again.dev[0].examples] == [each.id for each in dev.examples]


def test_questions_on_one_text_stay_together(data, tmp_path):
    asked = [{"id": f"{i}{k}", "question": "w7", "answers": []} for i in range(8) for k in range(3)]
    paragraphs = [{"context": f"w5 w{6 + i}", "qas": asked[3 * i : 3 * i + 3]} for i in range(8)]
    (tmp_path / "train.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    read = FinetuningData(own(data, tmp_path, "qa", tmp_path / "train.json"))
    assert len(read.dev[0].examples) == 6
    assert len({each.document.context for each in read.dev[0].examples}) == 2


def test_what_was_learnt_is_never_scored_as_held_out(data, tmp_path):
    """A run may not begin with all of the file and go on with a part of it held out."""
    train = data / "finetuning_data" / "cola" / "train.tsv"
    begun = own(data, tmp_path, "classification", train, num_train_epochs=1, do_eval=False)
    assert Finetuning(begun).run() is None
    for hparams in ({}, {"do_train": False}):
        config = own(data, tmp_path, "classification", train, num_train_epochs=1, **hparams)
        with pytest.raises(ValueError, match="my_model_1 holds a trial with other contents of: my"):
            Finetuning(config)
    os.remove(tmp_path / "my.json")
