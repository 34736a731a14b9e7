"""An S3 server on this machine: moto's, in a thread, and what tests need of it."""

import itertools
import logging
import os

import pytest

moto_server = pytest.importorskip("moto.server", reason="needs the extra `test`: moto")
pytest.importorskip("s3fs", reason="needs the extra `cloud`: s3fs")

from electra.cloud import files, mirror, store  # noqa: E402

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def s3():
    """Starts the server and points S3 clients to it, of this process and of those it starts."""
    logging.getLogger("werkzeug").setLevel("ERROR")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    values = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    values |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    before = dict(os.environ)
    os.environ.update(values)
    yield store._filesystem("s3")
    os.environ.clear()
    os.environ.update(before)
    server.stop()


@pytest.fixture
def bucket(s3, machine):
    """Returns the URL of a new bucket."""
    name = f"bucket-{next(_NUMBERS)}"
    s3.mkdir(name)
    return f"s3://{name}"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Returns a function after which this process, and those it starts, know as much of a bucket
    as another machine does: nothing."""

    def another(name):
        monkeypatch.setenv("ELECTRA_CACHE", str(tmp_path / name))
        mirror._pulled.clear()
        mirror._covered.clear()
        files._known.clear()

    another("cache")
    return another
