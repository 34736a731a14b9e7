"""The build: the same files whatever the way there, and clear refusals."""

import gzip
import json
import os
import platform

import numpy as np
import pytest
import tensorflow as tf

from electra.data import build as building
from electra.data import corpus, engines, join, units
from electra.data.build import build
from electra.data.frames import index_file
from electra.data.index import read_index
from electra.data.manifest import read_manifest
from tests.data import dying
from tests.data.tiny import (
    CLS,
    PAD,
    SEP,
    TOKENS,
    make_text,
    read_examples,
    read_files,
    write_files,
    write_vocab,
)
from tests.shared import FIXTURES, needs_fixtures

LENGTH = 32


@pytest.fixture
def small_units(monkeypatch):
    """Makes many units and files of a small corpus."""
    monkeypatch.setattr(corpus.cut_units, "__defaults__", (3000, False))  # unit_bytes
    monkeypatch.setattr(join, "FILE_BYTES", 20_000)


@pytest.fixture
def place(tmp_path):
    """A folder with a corpus of several files and a vocabulary."""
    texts = {"a.txt": make_text(120), "b/c.txt.gz": gzip.compress(make_text(30, 1).encode())}
    write_files(tmp_path / "corpus", texts)
    write_vocab(tmp_path)
    return tmp_path


def run(place, name="out", **options):
    options = {"max_seq_length": LENGTH, "seed": 3, **options}
    return build(place / "corpus", place / "vocab.txt", place / name, **options)


def tokens_of(examples):
    return [t for e in examples for t in e["input_ids"] if t not in (PAD, CLS, SEP)]


def corpus_tokens(*texts):
    return [TOKENS.index(word) for text in texts for word in text.split()]


def test_all_tokens_of_a_corpus_are_in_its_records(place, small_units):
    manifest = run(place, eval_fraction=0.2)
    train, held_out = (
        read_examples(place / "out", name) for name in ("pretrain_data", "eval_data")
    )
    everything = corpus_tokens(make_text(120), make_text(30, 1))
    assert sorted(tokens_of(train) + tokens_of(held_out)) == sorted(everything)
    assert 0.1 < len(tokens_of(held_out)) / len(everything) < 0.3
    for example in train + held_out:
        n = sum(example["input_mask"])
        ids, segments = example["input_ids"], example["segment_ids"]
        assert len(ids) == LENGTH
        assert example["input_mask"] == [1] * n + [0] * (LENGTH - n)
        assert ids[0] == CLS
        assert ids[n - 1] == SEP
        start = ids.index(SEP) + 1
        assert segments == [0] * start + [1] * (n - start) + [0] * (LENGTH - n)
    assert manifest == read_manifest(place / "out")


def test_the_index_says_where_the_records_lie(place, small_units):
    manifest = run(place, eval_fraction=0.2)
    index = read_index(place / "out")
    assert list(index) == [entry["name"] for entry in manifest["files"]]
    assert len(index) > 2
    for name, offsets in index.items():
        assert offsets.tolist() == index_file(place / "out" / name).tolist()


def test_the_manifest_counts_what_the_files_hold(place, small_units):
    manifest = run(place, eval_fraction=0.2)
    names = [entry["name"] for entry in manifest["files"]]
    assert sorted(os.listdir(place / "out")) == sorted([*names, "manifest.json", "records.index"])
    n = sum(name.startswith("pretrain") for name in names)
    assert n > 1
    assert names[0] == f"pretrain_data.tfrecord-0-of-{n}"
    assert names[-1] == "eval_data.tfrecord-0-of-1"
    for entry in manifest["files"]:
        examples = read_examples(place / "out", entry["name"].split(".")[0])
        index = int(entry["name"].split("-")[1])
        before = sum(e["examples"] for e in manifest["files"][:index])
        own = examples[before : before + entry["examples"]]
        assert entry["tokens"] == sum(sum(example["input_mask"]) for example in own)
    for split, name in (("train", "pretrain_data"), ("eval", "eval_data")):
        examples = read_examples(place / "out", name)
        assert manifest[f"{split}_examples"] == len(examples)
        assert manifest[f"{split}_tokens"] == sum(sum(e["input_mask"]) for e in examples)
    expected = {
        "version": 1,
        "max_seq_length": LENGTH,
        "vocab_size": len(TOKENS),
        "do_lower_case": True,
        "strip_accents": True,
        "seed": 3,
        "documents": 150,
    }
    assert {key: manifest[key] for key in expected} == expected
    assert manifest["flags"]["eval_fraction"] == 0.2


@pytest.mark.parametrize("number", [1, 7])
def test_the_number_of_files_can_be_given(place, small_units, number):
    counts = [entry["examples"] for entry in run(place, num_out_files=number)["files"]]
    assert len(counts) == number
    assert max(counts) - min(counts) <= 1
    run(place, "other")
    assert read_examples(place / "out") == read_examples(place / "other")


def test_no_file_is_empty(tmp_path):
    write_vocab(tmp_path)
    write_files(tmp_path / "corpus", {"a.txt": "the cat\n\nthe dog\n\na tree"})
    manifest = run(tmp_path, num_out_files=1000)
    assert [entry["examples"] for entry in manifest["files"]] == [1, 1, 1]


def test_the_number_of_processes_changes_nothing(place, small_units):
    run(place, "one", eval_fraction=0.2)
    run(place, "two", eval_fraction=0.2, num_processes=2)
    assert read_files(place / "one") == read_files(place / "two")


def test_another_seed_makes_other_examples_of_the_same_tokens(place):
    run(place, "one")
    run(place, "two", seed=4)
    one, two = read_examples(place / "one"), read_examples(place / "two")
    assert one != two
    assert sorted(tokens_of(one)) == sorted(tokens_of(two))


def test_documents_are_not_mixed_and_held_out_whole(tmp_path):
    # Every document has a word of its own.
    words = [f"w{i}" for i in range(50)]
    write_vocab(tmp_path, [*TOKENS, *words])
    text = "\n\n".join("\n".join(f"{w} {w} {w}" for _ in range(30)) for w in words)
    write_files(tmp_path / "corpus", {"a.txt": text})
    run(tmp_path, eval_fraction=0.3)
    found = {}
    for name in ("pretrain_data", "eval_data"):
        for example in read_examples(tmp_path / "out", name):
            (word,) = set(tokens_of([example]))
            found.setdefault(word, set()).add(name)
    assert len(found) == 50
    assert all(len(names) == 1 for names in found.values())


def test_without_blanks_a_file_is_a_document(place):
    manifest = run(place, blanks_separate_docs=False)
    assert manifest["documents"] == 2
    examples = read_examples(place / "out")
    assert manifest["train_examples"] < run(place, "other")["train_examples"]
    assert len(tokens_of(examples)) == len(corpus_tokens(make_text(120), make_text(30, 1)))


@needs_fixtures
def test_records_of_the_official_corpus_have_every_token(tmp_path):
    from electra.text.vocab import read_vocab
    from electra.text.wordpiece import WordPieceTokenizer

    folder, vocab_file = FIXTURES / "dataset_builder" / "corpus", FIXTURES / "tokenizer/vocab.txt"
    manifest = build(folder, vocab_file, tmp_path / "out")
    tokenizer = WordPieceTokenizer(read_vocab(vocab_file))
    lines = [line for path in folder.glob("*") for line in path.read_text("utf-8").split("\n")]
    special = (tokenizer.vocab.pad_id, tokenizer.vocab.cls_id, tokenizer.vocab.sep_id)
    examples = read_examples(tmp_path / "out")
    found = [t for e in examples for t in e["input_ids"] if t not in special]
    assert sorted(found) == sorted(token for line in lines for token in tokenizer.encode(line))
    assert manifest["train_tokens"] == sum(sum(e["input_mask"]) for e in examples)


# ---- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["build_unit", "join_files", "write_manifest", "rmtree"])
@pytest.mark.parametrize("calls", [1, 3])
def test_a_build_that_ends_anywhere_goes_on_to_the_same_files(
    place, small_units, monkeypatch, failing, calls
):
    run(place, "whole", eval_fraction=0.2)
    where = {"build_unit": units, "join_files": join, "rmtree": building.shutil}
    where = where.get(failing, building)
    original, left = getattr(where, failing), [calls]

    def fails(*args, **kwargs):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(where, failing, fails)
        if failing == "build_unit" or calls == 1:
            with pytest.raises(KeyboardInterrupt):
                run(place, eval_fraction=0.2)
    run(place, eval_fraction=0.2)
    assert read_files(place / "out") == read_files(place / "whole")


def test_units_that_are_finished_are_not_built_again(place, small_units, monkeypatch):
    original, built = units.build_unit, []

    def interrupted(folder, unit, **options):
        if len(built) == 3:
            raise KeyboardInterrupt
        built.append(folder)
        return original(folder, unit, **options)

    monkeypatch.setattr(units, "build_unit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(place)
    built.append("the rest")
    run(place)
    assert len(set(built)) == len(built)
    assert len(built) > 5


def test_what_a_dead_process_of_the_same_id_left_is_overwritten(place):
    left = place / "out" / building.WORK / f"unit-000000.{platform.node()}-{os.getpid()}.tmp"
    left.mkdir(parents=True)
    (left / "train").write_bytes(b"half a record")
    run(place)
    run(place, "whole")
    assert read_files(place / "out") == read_files(place / "whole")


def test_a_finished_build_is_left_as_it_is(place):
    first = run(place)
    before = {path: path.stat().st_mtime_ns for path in (place / "out").iterdir()}
    assert run(place) == first
    assert {path: path.stat().st_mtime_ns for path in (place / "out").iterdir()} == before


def test_a_finished_build_that_lost_a_file_is_refused(place):
    run(place)
    (place / "out" / "pretrain_data.tfrecord-0-of-1").unlink()
    with pytest.raises(ValueError, match="lacks .*tfrecord-0-of-1.*Remove that folder"):
        run(place)


OTHER = {
    "max_seq_length": 64,
    "blanks_separate_docs": False,
    "do_lower_case": False,
    "strip_accents": False,
    "keep_long_lines": False,
    "num_out_files": 2,
    "eval_fraction": 0.1,
    "seed": 4,
    "jsonl_field": "body",
}


@pytest.mark.parametrize("is_finished", [True, False])
def test_other_flags_are_refused_with_the_difference_named(place, monkeypatch, is_finished):
    if is_finished:
        run(place)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(building, "_join", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                run(place)
    before = read_files(place / "out")
    for name, value in OTHER.items():
        with pytest.raises(ValueError, match=f"differs in: .*{name} .* there, {value!r} now"):
            run(place, **{name: value})
    os.utime(place / "corpus" / "a.txt", (1, 1))
    with pytest.raises(ValueError, match="differs in: the corpus's files. Choose another"):
        run(place)
    write_vocab(place, [*TOKENS, "new"])
    with pytest.raises(ValueError, match="differs in: the vocabulary's tokens"):
        run(place)
    assert read_files(place / "out") == before


def test_two_builds_in_one_folder_are_refused(place, monkeypatch):
    original = units.build_unit

    def meets_another(*unit, **options):
        with pytest.raises(ValueError, match="Another process is at work in .*build. Wait"):
            run(place)
        return original(*unit, **options)

    monkeypatch.setattr(units, "build_unit", meets_another)
    manifest = run(place)
    assert run(place) == manifest


def test_a_worker_that_dies_ends_the_build_with_an_error(place, small_units, monkeypatch):
    monkeypatch.setattr(units, "build_unit", dying.die)
    monkeypatch.setattr(engines, "_prepare_worker", None)  # it would load TensorFlow
    with pytest.raises(ValueError, match="worker process ended at once.*same command again"):
        run(place, num_processes=2)


# ---- bad input ----------------------------------------------------------------------------------


def test_impossible_flags_are_refused(place):
    for name, value, expected in (
        ("max_seq_length", 4, "at least 5 and at most 1048576"),
        ("max_seq_length", 10**20, r"a whole number of at most 9.22337e\+18"),
        ("eval_fraction", 1.0, "at least 0 and below 1"),
        ("eval_fraction", -0.1, "at least 0 and below 1"),
        ("num_out_files", -1, "at least 0"),
        ("num_processes", 0, "at least 1"),
        ("seed", -1, "at least 0"),
    ):
        with pytest.raises(ValueError, match=f"--{name} must be {expected}. Received: {value}"):
            run(place, **{name: value})
    assert not (place / "out").exists()


def test_a_missing_vocabulary_or_special_token_is_an_error(place):
    write_vocab(place, [token for token in TOKENS if token != "[MASK]"])
    with pytest.raises(ValueError, match=r"lacks \[MASK\]"):
        run(place)
    (place / "vocab.txt").unlink()
    with pytest.raises(FileNotFoundError, match="Vocabulary file .*vocab.txt' does not exist"):
        run(place)


def test_an_output_folder_inside_the_corpus_is_refused(place):
    for name in ("corpus", "corpus/out", "corpus/..out"):
        with pytest.raises(ValueError, match="lies in --corpus_dir"):
            run(place, name)
    (place / "file").write_text("")
    with pytest.raises(ValueError, match="--output_dir .*file is a file. Expected: a folder"):
        run(place, "file")


def test_records_of_someone_else_are_not_overwritten(place):
    write_files(place / "out", {"pretrain_data.tfrecord-0-of-1": b"mine"})
    with pytest.raises(ValueError, match="holds records without a manifest"):
        run(place)
    assert read_files(place / "out") == {"pretrain_data.tfrecord-0-of-1": b"mine"}


def test_a_work_folder_that_is_a_link_is_refused(place):
    write_files(place / "elsewhere", {"unit-000000/mine": b"mine"})
    (place / "out").mkdir()
    (place / "out" / building.WORK).symlink_to(place / "elsewhere")
    with pytest.raises(OSError, match=r"\.build is a link to .*elsewhere.*Remove the link"):
        run(place)
    assert read_files(place / "elsewhere") == {"unit-000000/mine": b"mine"}


def test_a_corpus_that_gives_no_example_is_an_error(tmp_path):
    write_vocab(tmp_path)
    write_files(tmp_path / "corpus", {"a.txt": "\n \n", "b.txt": "", "c.txt": "\u200b\n"})
    with pytest.raises(ValueError, match="gives no training example"):
        run(tmp_path)
    write_files(tmp_path / "corpus", {"a.txt": "the cat\n"})
    with pytest.raises(ValueError, match="--eval_fraction 0.001 of 2 documents leaves none"):
        run(tmp_path, "other", eval_fraction=0.001)
    assert run(tmp_path, "other")["train_examples"] == 1  # other flags may follow
    with pytest.raises(ValueError, match="1 held-out examples.*held out whole"):
        run(tmp_path, "third", eval_fraction=0.999)


def test_bad_input_ends_the_build_with_its_place(place):
    write_files(place / "corpus", {"z.jsonl": '{"text": "the"}\n{"other": 1}\n'})
    with pytest.raises(ValueError, match="z.jsonl, line 2: KeyError"):
        run(place)
    assert not (place / "out" / "manifest.json").exists()
    assert json.loads((place / "out" / ".build" / "state.json").read_text())["seed"] == 3


@pytest.mark.parametrize("kind", ["about.json", "documents", "train", "train.sizes"])
def test_a_damaged_unit_is_built_again(place, small_units, monkeypatch, kind):
    run(place, "whole")
    with monkeypatch.context() as patch:
        patch.setattr(building, "_join", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(place)
    work = place / "out" / building.WORK
    if kind == "documents":
        for number, value in enumerate(["null", '"x"', "-5"]):
            (work / f"unit-00000{number}" / "about.json").write_text(f'{{"documents": {value}}}')
    else:
        unit = work / "unit-000001" / kind
        unit.write_bytes(unit.read_bytes()[:-8])
    run(place)
    assert read_files(place / "out") == read_files(place / "whole")


def test_a_damaged_state_of_a_build_is_named(place):
    (place / "out" / building.WORK).mkdir(parents=True)
    (place / "out" / building.WORK / "state.json").write_text("[]")
    with pytest.raises(ValueError, match=r"state.json is damaged.*Remove .*\.build to begin"):
        run(place)


def test_a_full_disk_names_the_file_and_leaves_no_unfinished_one(place, monkeypatch):
    def full(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.io.TFRecordWriter, "write", full)
    with pytest.raises(OSError, match=r"No space left on device.*unit-000000.*train"):
        run(place)
    assert sorted(os.listdir(place / "out" / building.WORK)) == [".lock", "state.json"]


def test_an_output_folder_is_in_utf_8(place):
    with pytest.raises(ValueError, match="--output_dir must be .* in UTF-8. Received: .*udcff'"):
        run(place, "\udcff")


def test_an_output_folder_needs_a_name(place):
    with pytest.raises(ValueError, match="--output_dir must be a folder"):
        build(place / "corpus", place / "vocab.txt", "")


@pytest.mark.parametrize("text", ["the cat " * 5000, "the\n\n" * 5000, '{"text": ""}\n' * 5000])
def test_few_characters_and_few_documents_are_tokenised_together(tmp_path, monkeypatch, text):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 100)
    monkeypatch.setattr(corpus, "LONGEST_LINE", 1000)
    monkeypatch.setattr(units, "_CHARACTERS", 500)
    together = []

    class Tokenizer:
        def encode_lines(self, lines):
            together.append(sum(map(len, lines)))
            return np.zeros(0, np.int32), np.zeros(len(lines) + 1, np.int64)

    write_files(tmp_path, {"a.jsonl" if "{" in text else "a.txt": text})
    (unit,) = corpus.cut_units(tmp_path, corpus.find_files(tmp_path))
    pieces = list(units._tokenized(unit, Tokenizer(), building.BuildFlags()))
    assert max(together) <= 500 + 1000 + 100
    assert len(pieces) / len(together) <= 500


def test_a_corpus_that_was_refused_can_be_mended(place):
    broken = place / "corpus" / "a.txt"
    text = broken.read_bytes()
    broken.write_bytes(b"\xff" + text)
    with pytest.raises(ValueError, match="is not UTF-8"):
        run(place)
    broken.write_bytes(text)
    assert run(place, seed=4)["train_examples"] > 0
