"""What a bucket may do wrong: the end is equal, or one line says what is the matter."""

import os
import signal
import subprocess
import sys
import urllib.parse

import pytest

from electra.cli import exit_status
from electra.cloud import store
from electra.data.build import build
from tests.cloud.faults import Proxy
from tests.data import tiny
from tests.shared import ROOT

DATA = os.urandom(1 << 20)


@pytest.fixture
def proxy(bucket, monkeypatch):
    """Returns a Proxy in front of the server, without faults yet, that clients talk to."""
    there = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
    proxy = Proxy(there.hostname, there.port, lambda number, method: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setenv("ELECTRA_BUCKET_TIMEOUT", "1")
    monkeypatch.setenv("ELECTRA_BUCKET_PATIENCE", "30")
    monkeypatch.setattr(store, "_FIRST_WAIT", 0.02)
    forget_clients()
    yield proxy
    proxy.close()
    forget_clients()


def forget_clients():
    import s3fs

    store._filesystem.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


def every(count, *faults):
    """A plan: each count-th request meets the next of the faults."""
    return lambda number, method: (
        faults[number // count % len(faults)] if number % count == count - 1 else None
    )


@pytest.mark.parametrize("fault", ["busy", "hang", "cut", "short", "trickle", "down"])
def test_what_passes_by_is_tried_again(fault, proxy, bucket, tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    proxy.plan = every(4 if fault == "hang" else 2, fault)
    for name in ("x", "y"):
        about = store.send(str(tmp_path / "a"), f"{bucket}/f/{name}")
        assert about.size == len(DATA)
    assert sorted(store.find(f"{bucket}/f")) == ["x", "y"]
    spans = [(f"{bucket}/f/x", at, at + 999) for at in range(0, 9000, 1000)]
    assert store.read_ranges(spans) == [DATA[start:end] for _, start, end in spans]
    store.fetch(f"{bucket}/f/y", about, str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == DATA
    store.remove(f"{bucket}/f/x")
    assert sorted(store.find(f"{bucket}/f")) == ["y"]
    assert proxy.faults.count(fault) >= 2


def test_a_build_under_faults_equals_an_undisturbed_one(proxy, bucket, tmp_path):
    (tmp_path / "corpus").mkdir()
    tiny.write_files(tmp_path / "corpus", {"a.txt": tiny.make_text(60), "b.txt": "the cat .\n"})
    vocab = tiny.write_vocab(tmp_path)
    for name in ("a.txt", "b.txt"):
        store.send(str(tmp_path / "corpus" / name), f"{bucket}/corpus/{name}")
    proxy.plan = every(3, "busy", "cut", "short", "down", "trickle", "hang")
    flags = {"max_seq_length": 16, "num_out_files": 4}
    build(f"{bucket}/corpus", vocab, f"{bucket}/out", **flags)
    assert len(set(proxy.faults)) >= 5, proxy.faults
    proxy.plan = lambda number, method: None
    build(tmp_path / "corpus", vocab, tmp_path / "out", **flags)
    for name, about in store.find(f"{bucket}/out").items():
        if name != "manifest.json":
            data = store.read(f"{bucket}/out/{name}", 0, about.size)
            assert data == (tmp_path / "out" / name).read_bytes()


@pytest.fixture
def says(capsys):
    """Returns a function that runs a function as a command and returns its last line."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(function, *arguments):
        status = exit_status(lambda: function(*arguments))
        for number, handler in before.items():
            signal.signal(number, handler)
        assert status == 1
        return capsys.readouterr().err.splitlines()[-1]

    return run


@pytest.mark.parametrize("fault", ["busy", "hang", "down"])
def test_an_outage_ends_in_one_line(fault, proxy, bucket, tmp_path, monkeypatch, says):
    (tmp_path / "a").write_bytes(b"a")
    monkeypatch.setenv("ELECTRA_BUCKET_PATIENCE", "2")
    proxy.plan = every(1, fault)
    line = says(store.send, str(tmp_path / "a"), f"{bucket}/a")
    assert line.startswith(f"Error: Cannot write {bucket}/a: ")
    assert " tries, 2 s or more). Run the same command again when the store answers" in line


def test_mistakes_are_told_at_once(s3, machine, monkeypatch, says):
    line = says(store.find, "s3://no-such-bucket/a")
    assert line == (
        "Error: s3://no-such-bucket: there is no such bucket. Make it, or mend its name"
    )
    line = says(store.write, "s3://no-such-bucket/a", b"")
    assert line == "Error: Cannot write s3://no-such-bucket/a: there is no such bucket. Make it"
    line = says(store.find, "gss://bucket/a")
    assert line == "Error: gss:// is unknown. Closest: gs://"
    line = says(store.find, "abfs://bucket/a")
    assert "abfs:// needs " in line and "pip install -e '.[cloud]'" in line


def test_missing_credentials_are_told_at_once(bucket, monkeypatch, tmp_path, says):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_clients()
    line = says(store.write, f"{bucket}/a", b"")
    forget_clients()
    assert "credentials" in line and "docs/buckets.md" in line


def test_a_missing_package_is_named():
    code = (
        "import sys; from electra.cli import exit_status; from electra.cloud import store\n"
        "sys.modules['s3fs'] = None  # an import of it fails\n"
        "sys.exit(exit_status(lambda: store.find('s3://bucket/a')))"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.startswith("Error: s3:// needs s3fs: pip install -e '.[cloud]'")
