"""Records that are built from a bucket into a bucket are those of local folders, byte for byte."""

import gzip
import io
import os
import subprocess
import sys
import tarfile

import pytest

from electra.cloud import store
from electra.data.build import build
from electra.data.reader import Records
from electra.text.vocab import read_vocab
from tests.data import tiny
from tests.shared import ROOT

FLAGS = {"max_seq_length": 32, "eval_fraction": 0.2, "num_out_files": 3}


def packed_tar(texts):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return packed.getvalue()


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "corpus").mkdir()
    tar = {"x/1.txt": tiny.make_text(9, 4).encode(), "2.txt": tiny.make_text(8, 5).encode()}
    texts = {
        "a.txt": tiny.make_text(40),
        "sub/b.txt.gz": gzip.compress(tiny.make_text(30, 1).encode()),
        "sub/deep/c.jsonl": '{"text": "the cat sees the dog . the dog likes it ."}\n' * 9,
        "d.tar": packed_tar(tar),
        ".hidden": "the the the",
    }
    tiny.write_vocab(tmp_path)
    return tiny.write_files(tmp_path / "corpus", texts)


def upload(folder, url):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.send(str(path), f"{url}/{path.relative_to(folder)}")


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_a_build_in_a_bucket_equals_a_local_one(kind, request, corpus, tmp_path, machine):
    root = request.getfixturevalue("bucket") if kind == "s3" else f"memory://{tmp_path.name}"
    upload(corpus, f"{root}/corpus")
    store.send(str(tmp_path / "vocab.txt"), f"{root}/vocab.txt")
    local = build(corpus, tmp_path / "vocab.txt", tmp_path / "out", **FLAGS)
    there = build(f"{root}/corpus", f"{root}/vocab.txt", f"{root}/out", **FLAGS)
    for manifest in (local, there):
        manifest["identity"].pop("corpus")  # says when its files were changed
    assert local == there
    names = [*(entry["name"] for entry in local["files"]), "records.index", "manifest.json"]
    found = store.find(f"{root}/out")
    assert sorted(found) == sorted(names)
    for name in names[:-1]:
        data = store.read(f"{root}/out/{name}", 0, found[name].size)
        assert data == (tmp_path / "out" / name).read_bytes(), name
    assert list((tmp_path / "cache" / "buckets").rglob("*.tfrecord*")) == []
    machine("another")
    again = build(f"{root}/corpus", f"{root}/vocab.txt", f"{root}/out", **FLAGS)
    assert again["files"] == local["files"]
    assert_same_records(tmp_path, root, machine)


def assert_same_records(tmp_path, root, machine):
    """Reads the training records of both; some with the index, and without."""
    vocab = read_vocab(tmp_path / "vocab.txt")
    local = Records(f"{tmp_path}/out/pretrain_data*", vocab=vocab)
    numbers = [len(local) - 1, 0, 3, 3]
    for is_indexed in (True, False):
        if not is_indexed:
            store.remove(f"{root}/out/records.index")
            machine("third")
        there = Records(f"{root}/out/pretrain_data*", vocab=vocab)
        assert len(there) == len(local)
        assert there.files == [f"{root}/out/{path.rsplit('/')[-1]}" for path in local.files]
        ours, theirs = there.read(numbers), local.read(numbers)
        assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_a_build_that_was_cut_off_goes_on(bucket, corpus, tmp_path, monkeypatch):
    send, sent = store.send, []

    def cut_off(path, url):
        sent.append(url)
        if len(sent) > 2:
            raise store.BucketError("the network is gone")
        return send(path, url)

    arguments = corpus, tmp_path / "vocab.txt", f"{bucket}/out"
    monkeypatch.setattr(store, "send", cut_off)
    with pytest.raises(store.BucketError, match="the network is gone"):
        build(*arguments, **FLAGS)
    assert "manifest.json" not in store.find(f"{bucket}/out")
    monkeypatch.setattr(store, "send", send)
    build(*arguments, **FLAGS)
    build(corpus, tmp_path / "vocab.txt", tmp_path / "out", **FLAGS)
    found = store.find(f"{bucket}/out")
    assert sorted(found) == sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_file())
    for name in set(found) - {"manifest.json"}:
        data = store.read(f"{bucket}/out/{name}", 0, found[name].size)
        assert data == (tmp_path / "out" / name).read_bytes()


def test_what_cannot_be_built_in_a_bucket_is_refused_at_once(bucket, corpus, tmp_path):
    vocab = tmp_path / "vocab.txt"
    with pytest.raises(ValueError, match="need a folder on a disk that all machines see"):
        build(corpus, vocab, f"{bucket}/out", num_tasks=2, task_index=0)
    with pytest.raises(ValueError, match="lies in --corpus_dir"):
        build(f"{bucket}/corpus", vocab, f"{bucket}/corpus/out")
    with pytest.raises(ValueError, match="holds no files"):
        build(f"{bucket}/corpus", vocab, f"{bucket}/out")


def test_a_text_of_a_web_server_is_read(s3, bucket, corpus, tmp_path):
    """The S3 server is one too, of what everybody may read."""
    vocab, web = tmp_path / "vocab.txt", os.environ["AWS_ENDPOINT_URL"] + bucket[4:]
    upload(corpus, f"{bucket}/corpus")
    s3.chmod(f"{bucket}/corpus/d.tar", acl="public-read")
    (tmp_path / "one").mkdir()
    (corpus / "d.tar").rename(tmp_path / "one" / "d.tar")
    there = build(f"{web}/corpus/d.tar", vocab, tmp_path / "there", **FLAGS)
    assert there["files"] == build(tmp_path / "one", vocab, tmp_path / "here", **FLAGS)["files"]
    for entry in there["files"]:
        data = (tmp_path / "there" / entry["name"]).read_bytes()
        assert data == (tmp_path / "here" / entry["name"]).read_bytes()
    with pytest.raises(ValueError, match="web servers list no folders. Name one file"):
        build(f"{web}/corpus", vocab, tmp_path / "none")


def test_a_vocabulary_is_trained_from_a_bucket_into_one(bucket, corpus, tmp_path):
    upload(corpus, f"{bucket}/corpus")
    command = [sys.executable, "-m", "electra.text.vocab", "--vocab_size", "60"]
    for source, output in (
        (str(corpus), str(tmp_path / "ours.txt")),
        (f"{bucket}/corpus", f"{bucket}/data/vocab.txt"),
    ):
        places = ["--corpus_dir", source, "--output", output]
        subprocess.run([*command, *places], cwd=ROOT, check=True, capture_output=True)
    assert read_vocab(f"{bucket}/data/vocab.txt").tokens == read_vocab(tmp_path / "ours.txt").tokens
