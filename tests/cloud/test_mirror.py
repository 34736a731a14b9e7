"""Working copies: what is pulled, what is pushed and in which order, and who may write."""

import json
import os
import threading

import pytest

from electra.cloud import files, lease, mirror, store
from electra.cloud.urls import is_url, normal, origin, working_copy
from electra.data.finding import find_files
from electra.pretrain.config import PretrainingConfig
from electra.saving.folder import OF_FINETUNING
from electra.storage import LockedError, locked


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


def test_a_lock_that_can_be_neither_made_nor_seen_ends_in_one_line(url, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(store, "write", lambda *_, **__: False)
    unseen = pytest.raises(store.BucketError, match="cannot be made, and is not there")
    with unseen, lease.taken(working_copy(url)):
        pass


def test_a_lock_that_is_none_is_named(url):
    store.write(f"{url}/{lease.NAME}", b"what")
    with pytest.raises(LockedError, match="is no lock of ours"), lease.taken(working_copy(url)):
        pass


def test_a_copy_that_does_not_fit_on_the_disk_is_refused(url, monkeypatch):
    put(url, {"a": "1"})
    monkeypatch.setattr(store, "find", lambda url: {"a": store.About(10**18, "x")})
    with pytest.raises(store.BucketError, match="whose disk has fewer"):
        mirror.pull(working_copy(url))


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def test_who_could_not_renew_looks_before_it_writes(url, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0)
    monkeypatch.setattr(lease._Lease, "_keep", lambda self: None)
    here = working_copy(url)
    with pytest.raises(store.BucketError, match="is another process's now"), lease.held(here):
        other = {"owner": "x", "machine": "elsewhere", "process": 1, "count": 3}
        store.write(f"{url}/{lease.NAME}", json.dumps(other).encode())
        write(f"{here}/late.txt", "late")
        mirror.push(here)
    assert list(got(url)) == [lease.NAME]


def test_the_lock_is_looked_at_before_each_file(url, monkeypatch):
    here, lost = working_copy(url), []

    def guard():
        if lost:
            raise store.BucketError("lost")

    with pytest.raises(store.BucketError, match="lost"), mirror.covered(here):
        for name in "abc":
            write(f"{here}/{name}", name)
        monkeypatch.setattr(mirror, "guards", {guard})
        send = store.send
        monkeypatch.setattr(store, "send", lambda *a: lost.append(1) or send(*a))
        mirror.push(here)
    assert len(got(url)) == 1
    with pytest.raises(store.BucketError, match="lost"):
        mirror.push_file(f"{here}/c")


def test_what_a_process_of_this_machine_trains_is_left_alone(url):
    here = working_copy(url)
    put(url, {"t_1/log.jsonl": "old", "t_2/log.jsonl": "old", "vocab.txt": "old"})
    for name in ("t_1/log.jsonl", "t_2/log.jsonl", "t_2/new", "vocab.txt", "t_1/vocab.txt"):
        write(f"{here}/{name}", "new")
    with locked(f"{here}/t_1", ""):  # as of a run, whose other trials have no lock of their own
        mirror.pull_like(f"{here}/t_")
        assert mirror.pull_file(f"{here}/t_1/vocab.txt")
    for name in ("t_1/log.jsonl", "t_2/log.jsonl", "t_2/new", "t_1/vocab.txt"):
        with open(f"{here}/{name}", encoding="utf-8") as file:
            assert file.read() == "new"


def test_what_other_commands_wrote_to_a_shared_folder_stays(url):
    here = working_copy(url)
    put(url, {"a": "1"})
    write(f"{here}/of_another", "2")
    with mirror.pushed(shared=[here]):
        assert os.path.exists(f"{here}/of_another")
    assert got(url) == {"a": "1", "of_another": "2"}


def test_what_a_process_no_longer_has_is_not_pushed(url):
    here = working_copy(url)
    with lease.held(here):
        write(f"{here}/a", "1")
    write(f"{here}/a", "2")
    mirror.push(here)
    assert got(url) == {"a": "1"}


def test_results_in_a_models_folder_leave_its_parts_alone(url):
    here = working_copy(url)
    write(f"{here}/finetuning_models/a", "1")
    with lease.held(here, OF_FINETUNING), mirror.pushed(shared=[here]):
        write(f"{here}/results.txt", "2")
    assert got(url) == {"results.txt": "2"}


def test_older_checkpoints_stay_where_a_model_is_read(url):
    here = working_copy(url)
    put(url, {f"model.ckpt-{step}.safetensors": "x" for step in (5, 40)})
    mirror.pull(here)
    mirror._pulled.clear()
    write(f"{here}/model.ckpt-300.safetensors", "was never sent")
    mirror.pull_model(here)
    assert sorted(mirror._files(here, ())) == [f"model.ckpt-{s}.safetensors" for s in (40, 5)]


def test_what_came_before_an_error_does_not_come_again(url, monkeypatch):
    here, fetched, fetch = working_copy(url), [], store.fetch
    put(url, {"a": "1", "b": "2"})

    def failing(source, about, path):
        fetched.append(path.rsplit("/", 1)[1])
        if fetched.count("b") == 1 and fetched[-1] == "b":
            raise store.BucketError("no")
        fetch(source, about, path)

    monkeypatch.setattr(store, "fetch", failing)
    with pytest.raises(store.BucketError, match="no"):
        mirror.pull(here)
    mirror.pull(here)
    assert fetched == ["a", "b", "b"]


def test_folders_that_a_console_made_are_none(bucket):
    put(f"{bucket}/m", {"a": "1"})
    for key in ("m/", "m/sub/"):
        name = bucket.removeprefix("s3://")
        store._filesystem("s3").call_s3("put_object", Bucket=name, Key=key, Body=b"")
    assert list(store.find(f"{bucket}/m")) == ["a"]
    mirror.pull(working_copy(f"{bucket}/m"))


def test_a_request_in_another_is_given_up_once(url, machine, monkeypatch, tmp_path):
    monkeypatch.setenv("ELECTRA_BUCKET_PATIENCE", "0")
    asked = []

    def stat(url):
        asked.append(url)
        raise store.BucketError("no answer")

    monkeypatch.setattr(store, "stat", stat)
    write(f"{tmp_path}/a", "1")
    with pytest.raises(store.BucketError, match="no answer"):
        store.send(f"{tmp_path}/a", f"{url}/a")
    assert len(asked) == 1


def test_rights_to_a_folder_alone_suffice(bucket, monkeypatch):
    fs = store._filesystem("s3")

    def info(path, **more):
        raise PermissionError("Forbidden")

    monkeypatch.setattr(fs, "info", info)
    assert store.find(f"{bucket}/nothing") == {}


def test_a_file_that_changed_is_asked_for_anew(url):
    for text in ("1", "longer"):
        put(url, {"a": text})
        assert files.matches(f"{url}/a") == find_files(f"{url}/a") == [f"{url}/a"]
        assert files.about(f"{url}/a")[0] == len(text)


def test_a_url_is_spelled_in_one_way_where_it_is_read(bucket):
    put(bucket, {"a": "1"})
    loud = bucket.replace("s3://", "S3://")
    assert find_files(loud) == files.matches(f"{loud}//a") == files.matches(f"{loud}/[a]")
    with pytest.raises(ValueError, match="which no file here may have"):
        find_files(f"{bucket}/../a")


def test_a_password_in_a_url_is_refused_and_not_told():
    with pytest.raises(ValueError, match="holds a password") as raised:
        working_copy("ftp://me:secret@host/a")
    assert "secret" not in str(raised.value)
    assert working_copy("abfs://box@host:1/a:b@c").endswith("/box@host:1/a:b@c")


def test_a_store_that_lacks_a_setting_is_named():
    with pytest.raises(store.BucketError, match=r"ftp:// cannot be opened: .*host"):
        store.find("ftp://host/a")


def test_results_above_the_models_are_refused(machine):
    data = "memory://test/data"
    with pytest.raises(ValueError, match="Choose a folder for results alone"):
        PretrainingConfig("m", data, results_txt=f"{data}/results.txt")
    PretrainingConfig("m", data, results_txt=f"{data}/models/m/results.txt")


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_setting_that_is_no_number_is_named(text, monkeypatch):
    monkeypatch.setenv("ELECTRA_BUCKET_PATIENCE", text)
    with pytest.raises(ValueError, match="ELECTRA_BUCKET_PATIENCE must be a number"):
        store.patience_seconds()
