"""Working copies: what is pulled, what is pushed and in which order, and who may write."""

import json
import os
import threading

import pytest

from electra.cloud import lease, mirror, store
from electra.cloud.urls import is_url, normal, origin, working_copy
from electra.saving.folder import OF_FINETUNING
from electra.storage import LockedError


@pytest.fixture(params=["s3", "memory"])
def url(request, machine, tmp_path):
    """Returns the URL of a folder that is not there, in each kind of store."""
    root = request.getfixturevalue("bucket") if request.param == "s3" else "memory://test"
    return f"{root}/{tmp_path.name}/m"


def put(url, files):
    for key, text in files.items():
        store.write(f"{url}/{key}", text.encode())


def got(url):
    """Returns dict key -> text of a bucket's folder."""
    return {k: store.read(f"{url}/{k}", 0, v.size).decode() for k, v in store.find(url).items()}


def test_a_url_has_one_place_here(machine, tmp_path):
    place = tmp_path / "cache" / "buckets" / "s3" / "bucket" / "a" / "b.txt"
    assert working_copy("s3://bucket/a//b.txt") == str(place)
    assert origin(str(place)) == normal("S3://bucket/a/b.txt/") == "s3://bucket/a/b.txt"
    for path in ("a/b", "/a/b", "s3:", ""):
        assert not is_url(path)
        assert working_copy(path) == origin(path) == path
    with pytest.raises(ValueError, match="pathlib spoils a URL"):
        is_url("s3:/bucket/a")


@pytest.mark.parametrize("name", ["..", "a\\b", "a\nb", "x" * 256, "\x7f"])
def test_a_key_that_leads_elsewhere_is_refused(name, machine, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="which no file here may have"):
        working_copy(f"s3://bucket/{name}/b")
    found = {"good.txt": store.About(1, "1"), f"{name}/evil.txt": store.About(1, "1")}
    monkeypatch.setattr(store, "find", lambda url: found)
    with pytest.raises(ValueError, match="which no file here may have"):
        mirror.pull(working_copy("s3://bucket/m"))
    assert not list(tmp_path.rglob("*.txt"))


def test_a_pull_makes_the_copy_equal(url, monkeypatch):
    here, fetched, fetch = working_copy(url), [], store.fetch

    def counted(source, about, path):
        fetched.append(origin(path).removeprefix(url + "/"))
        fetch(source, about, path)

    monkeypatch.setattr(store, "fetch", counted)
    put(url, {"a": "1", "sub/b": "2", "finetuning_models/c": "3", ".hidden": "4", "d.tmp": "5"})
    mirror.pull(here, left_out=OF_FINETUNING, fresh=True)
    assert sorted(fetched) == ["a", "sub/b"]
    put(url, {"a": "one", "new": "6"})
    store.remove(f"{url}/sub/b")
    mirror.pull(here, left_out=OF_FINETUNING, fresh=True)
    assert sorted(fetched[2:]) == ["a", "new"]  # what is the same is not fetched again
    assert sorted(mirror._files(here, ())) == ["a", "new"]


def test_of_a_model_that_is_read_only_the_newest_checkpoint_comes(url):
    files = {f"model.ckpt-{step}.safetensors": "x" for step in (5, 40, 300)}
    put(url, {**files, "hparams.json": "{}", "results/a.txt": "a"})
    mirror.pull_model(working_copy(url))
    here = working_copy(url)
    assert sorted(mirror._files(here, ())) == ["hparams.json", "model.ckpt-300.safetensors"]
    mirror.pull_model(f"{here}/model.ckpt-40.safetensors")
    assert "model.ckpt-40.safetensors" in mirror._files(here, ())


def test_a_push_sends_logs_first_then_in_order_of_change_and_removes_last(url, monkeypatch):
    here, asked = working_copy(url), []
    put(url, {"model.ckpt-1.safetensors": "1"})
    for name in ("send", "remove"):
        call = getattr(store, name)
        monkeypatch.setattr(
            store, name, lambda *a, call=call: asked.append(normal(a[-1])) or call(*a)
        )
    with lease.held(here, OF_FINETUNING):
        for name in ("hparams.json", "model.ckpt-2.safetensors", "scores.json", "train_log.jsonl"):
            with open(f"{here}/{name}", "w", encoding="utf-8") as file:
                file.write(name)
        removed = "model.ckpt-1.safetensors"
        os.remove(f"{here}/{removed}")
        asked.clear()
        mirror.push(here)
        names = ["train_log.jsonl", "hparams.json", "model.ckpt-2.safetensors", "scores.json"]
        assert [each.removeprefix(url + "/") for each in asked] == [*names, removed]
        asked.clear()
        mirror.push(here)
        assert asked == []
    assert sorted(got(url)) == sorted(names)


def test_what_was_not_pulled_to_write_is_not_pushed(url):
    here = working_copy(url)
    put(url, {"a": "1"})
    mirror.pull(here)
    with open(f"{here}/a", "w", encoding="utf-8") as file:
        file.write("changed")
    mirror.push(here)
    assert got(url) == {"a": "1"}


def test_one_process_has_a_folder(url, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(lease, "_is_dead", lambda now: False)
    here, refused = working_copy(url), pytest.raises(LockedError, match="is at work there")
    with lease.taken(here), refused, lease.taken(here):
        pass
    with lease.taken(working_copy(url)):  # it was given back
        pass
    assert store.find(url) == {}


def test_a_lock_that_nobody_renews_is_taken_over(url, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.4)
    left = {"owner": "x", "machine": "elsewhere", "process": 1, "count": 3}
    store.write(f"{url}/{lease.NAME}", json.dumps(left).encode())
    with lease.taken(working_copy(url)):
        assert json.loads(got(url)[lease.NAME])["owner"] != "x"


def test_who_lost_the_lock_writes_no_more(url, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.2)
    here, lost = working_copy(url), threading.Event()
    with pytest.raises(store.BucketError, match="is another process's now"), lease.held(here):
        other = {"owner": "x", "machine": "elsewhere", "process": 1, "count": 3}
        store.write(f"{url}/{lease.NAME}", json.dumps(other).encode())
        for guard in list(mirror.guards):
            while not lost.wait(0.05):
                try:
                    guard()
                except store.BucketError:
                    lost.set()
        mirror.push(here)
    assert json.loads(got(url)[lease.NAME])["owner"] == "x"


def test_a_lock_whose_answer_was_lost_is_ones_own(url, monkeypatch):
    write = store.write

    def lost(*arguments, is_new=False):
        return write(*arguments, is_new=is_new) and not is_new

    monkeypatch.setattr(store, "write", lost)
    with lease.taken(working_copy(url)):
        pass
    assert got(url) == {}


def test_what_was_cleared_away_here_stays_in_the_bucket(url):
    here = working_copy(url)
    put(url, {"vocab.txt": "1", "model.ckpt-5.safetensors": "2"})
    with lease.held(here):
        os.remove(f"{here}/vocab.txt")
        mirror.push(here)
        assert "vocab.txt" in got(url)


def test_a_lock_that_is_none_is_named(url):
    store.write(f"{url}/{lease.NAME}", b"what")
    with pytest.raises(LockedError, match="is no lock of ours"), lease.taken(working_copy(url)):
        pass


def test_a_copy_that_does_not_fit_on_the_disk_is_refused(url, monkeypatch):
    put(url, {"a": "1"})
    monkeypatch.setattr(store, "find", lambda url: {"a": store.About(10**18, "x")})
    with pytest.raises(store.BucketError, match="whose disk has fewer"):
        mirror.pull(working_copy(url))
