"""The HTTP server answers as TensorFlow Serving does, with what the SavedModel gives."""

import base64
import http.client
import importlib.util
import json
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import electra
from tests.serve.models import write_finetuned
from tests.shared import ROOT

MODEL = "/v1/models/topic"
TEXTS = ["w5 w6 w7", "w8"]
IDS = ("input_ids", "input_mask", "segment_ids")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return electra.load(write_finetuned(tmp_path_factory.mktemp("model")), precision="float32")


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    """Starts a process with the model. Yields (host, port)."""
    folder = tmp_path_factory.mktemp("served")
    model.export(folder, task="topic", version=3)
    command = [sys.executable, str(ROOT / "examples" / "serve_http.py"), "--port=0"]
    process = subprocess.Popen(
        [*command, f"--model_dir={folder}", "--name=topic"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    try:
        address = process.stdout.readline().split("/")[2]
        yield address.split(":")
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def _ask(server, method, path, body=None):
    """Returns (status, the JSON that came)."""
    connection = http.client.HTTPConnection(*server, timeout=60)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, data)
    response = connection.getresponse()
    assert response.getheader("Content-Type") == "application/json"
    return response.status, json.loads(response.read())


def test_rows_and_columns_get_what_the_model_predicts(server, model):
    expected = model.predict(TEXTS, "topic")
    status, by_row = _ask(server, "POST", f"{MODEL}:predict", {"instances": TEXTS})
    assert status == 200
    for found, row in zip(by_row["predictions"], expected, strict=True):
        assert found["label"] == row["label"] and found["labels"] == ["no", "yes"]
        np.testing.assert_allclose(
            found["probabilities"], list(row["probabilities"].values()), atol=1e-5
        )
    path = f"{MODEL}/versions/3:predict"
    status, by_column = _ask(server, "POST", path, {"inputs": {"text": TEXTS}})
    assert by_column["outputs"]["label"] == [row["label"] for row in expected]
    named = {"instances": [{"text": text} for text in TEXTS]}
    assert _ask(server, "POST", path, named) == (200, by_row)
    as_bytes = [{"b64": base64.b64encode(text.encode()).decode()} for text in TEXTS]
    assert _ask(server, "POST", path, {"instances": as_bytes}) == (200, by_row)


def test_ids_are_read_by_the_other_signature(server):
    row = {"input_ids": [2, 5, 3], "input_mask": [1, 1, 1], "segment_ids": [0, 0, 0]}
    request = {"signature_name": "ids", "instances": [row]}
    status, answer = _ask(server, "POST", f"{MODEL}:predict", request)
    assert status == 200 and sorted(answer["predictions"][0]) == ["logits", "probabilities"]


def test_the_model_tells_its_state_and_its_signatures(server):
    expected = {"model_version_status": [{"version": "3", "state": "AVAILABLE"}]}
    assert _ask(server, "GET", MODEL) == (200, expected)
    status, about = _ask(server, "GET", f"{MODEL}/metadata")
    text = about["metadata"]["serving_default"]["inputs"]["text"]
    assert (status, text) == (200, {"dtype": "string", "shape": [None]})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "is no JSON"),
        ([1], "must be a JSON object"),
        ({}, 'Expected "instances" or "inputs"'),
        ({"instances": []}, "a row or more"),
        ({"instances": [1]}, "'text': its values are no string"),
        ({"instances": [["w5"]]}, "Input 'text': Shapes"),
        ({"instances": [{"b64": "?"}]}, "Input 'text'"),
        ({"instances": [{"text": "w5"}, {"words": "w5"}]}, "the same names"),
        ({"inputs": {"words": ["w5"]}}, "Expected the inputs text. Received: words"),
        ({"signature_name": "x", "instances": TEXTS}, "'x' is unknown. Known: "),
        ({"signature_name": ["x"], "instances": TEXTS}, "['x'] is unknown. Known: "),
        (b'{"instances": %s"a"%s}' % (b"[" * 50, b"]" * 50), "Input 'text'"),
        (b'{"instances": %s"a"%s}' % (b"[" * 900, b"]" * 900), "Input 'text'"),
        (
            {"signature_name": "ids", "inputs": {key: [[1 << 40]] for key in IDS}},
            "is too large for",
        ),
        (
            {
                "signature_name": "ids",
                "inputs": {key: [[1] * 600] for key in IDS},
            },
            "more than the 512 tokens",
        ),
    ],
)
def test_wrong_requests_get_400(server, body, message):
    status, answer = _ask(server, "POST", f"{MODEL}:predict", body)
    assert status == 400 and message in answer["error"]


def test_what_is_not_there_gets_404(server):
    for path in ("/v1/models/other", f"{MODEL}/versions/4", "/", f"{MODEL}:classify"):
        status, answer = _ask(server, "GET", path)
        assert status == 404 and "Served: /v1/models/topic, version 3" in answer["error"]
    status, answer = _ask(server, "POST", "/v1/models/other:predict", {"instances": TEXTS})
    assert status == 404


def test_wrong_methods_and_sizes_are_refused(server):
    assert _ask(server, "GET", f"{MODEL}:predict")[0] == 405
    assert _ask(server, "POST", MODEL, {"instances": TEXTS})[0] == 405
    for size, status in ((str(1 << 40), 413), ("9" * 5000, 413), ("x", 411)):
        connection = http.client.HTTPConnection(*server, timeout=60)
        connection.putrequest("POST", f"{MODEL}:predict")
        connection.putheader("Content-Length", size)
        connection.endheaders()
        assert connection.getresponse().status == status


def test_a_folder_without_a_model_is_refused(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "serve_http.py")]
    done = subprocess.run(
        [*command, f"--model_dir={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "has no SavedModel" in done.stderr


def test_a_port_that_is_taken_is_told_in_a_line(server, tmp_path, model):
    command = [sys.executable, str(ROOT / "examples" / "serve_http.py"), f"--port={server[1]}"]
    folder = model.export(tmp_path, task="grade")
    done = subprocess.run(
        [*command, f"--model_dir={folder}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.endswith("Address already in use\n")
    assert "Traceback" not in done.stderr


def test_a_client_that_sends_no_more_is_let_go():
    """In this process, where the patience can be short."""
    spec = importlib.util.spec_from_file_location("serve", ROOT / "examples" / "serve_http.py")
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    serve.Handler.timeout = 0.2
    with serve.Server(("localhost", 0), "m", SimpleNamespace(version=1)) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        connection = http.client.HTTPConnection(*http_server.server_address[:2], timeout=60)
        connection.putrequest("POST", "/v1/models/m:predict")
        connection.putheader("Content-Length", "9")
        connection.endheaders(b"{")
        response = connection.getresponse()
        assert response.status == 408 and b"Nothing came for" in response.read()
        http_server.shutdown()
