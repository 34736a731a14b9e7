"""Serves a SavedModel over HTTP in the form that TensorFlow Serving's clients know.

    python examples/serve_http.py --model_dir served/my_model --name my_model --port 8501
    curl http://localhost:8501/v1/models/my_model:predict -d '{"instances": ["A fine film."]}'

Needs TensorFlow and nothing else, of `electra` neither. The newest version below model_dir is
served. Requests run side by side, as many as there are clients.

GET  /v1/models/NAME                      the version that is served
GET  /v1/models/NAME/metadata             the signatures: names, types and shapes
POST /v1/models/NAME[/versions/N]:predict {"signature_name": ..., "instances": [...]}, a row each,
                                          or {"inputs": {...}}, a column each
Errors: {"error": "..."} with status 400 (a wrong request), 404 (no such thing), 405 (another
method), 408 (too slow), 411 (no length), 413 (too long), 500.
"""

import argparse
import base64
import contextlib
import http.server
import json
import os
import re
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

LARGEST_REQUEST = 16 << 20  # bytes
PATIENCE = 60  # seconds without a byte of a request, after which its connection ends
PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata|:predict)?")


class RequestError(Exception):
    """What is wrong with a request, and the status that says so."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Model:
    """The newest version of a SavedModel.

    Args:
        folder: str, with versions 1, 2, ... or a SavedModel itself.
    Raises:
        FileNotFoundError: there is none.
    """

    def __init__(self, folder):
        versions = [int(name) for name in os.listdir(folder) if name.isdecimal()]
        self.version = max(versions, default=1)
        path = os.path.join(folder, str(self.version)) if versions else folder
        if not os.path.exists(os.path.join(path, "saved_model.pb")):
            raise FileNotFoundError(f"{folder} has no SavedModel, nor a version with one")
        self._loaded = tf.saved_model.load(path)  # keeps the variables
        self.signatures = dict(self._loaded.signatures)

    def metadata(self):
        """Returns dict signature -> inputs and outputs, name -> type and shape."""
        return {
            name: {
                "inputs": {k: _about(v) for k, v in inputs_of(signature).items()},
                "outputs": {k: _about(v) for k, v in signature.structured_outputs.items()},
            }
            for name, signature in self.signatures.items()
        }

    def predict(self, request):
        """Answers the dict of a request with a dict. Raises: RequestError."""
        name = request.get("signature_name") or "serving_default"
        if not isinstance(name, str) or name not in self.signatures:
            known = ", ".join(self.signatures)
            raise RequestError(400, f"signature_name {name!r:.80} is unknown. Known: {known}")
        signature = self.signatures[name]
        specs = inputs_of(signature)
        by_row = "instances" in request
        if by_row == ("inputs" in request):
            raise RequestError(400, 'Expected "instances" or "inputs", one of the two')
        columns = _columns(request["instances"], specs) if by_row else request["inputs"]
        if not isinstance(columns, dict):
            columns = dict.fromkeys(specs, columns) if len(specs) == 1 else {}
        if columns.keys() != specs.keys():
            expected, received = ", ".join(specs), ", ".join(columns) or "none"
            raise RequestError(400, f"Expected the inputs {expected}. Received: {received}")
        tensors = {k: _tensor(k, columns[k], spec) for k, spec in specs.items()}
        try:
            found = {k: _plain(v.numpy()) for k, v in signature(**tensors).items()}
        except tf.errors.InvalidArgumentError as error:
            raise RequestError(400, str(error.message)) from None
        if not by_row:
            return {"outputs": found if len(found) > 1 else next(iter(found.values()))}
        if len(found) == 1:
            return {"predictions": next(iter(found.values()))}
        rows = zip(*found.values(), strict=True)
        return {"predictions": [dict(zip(found, row, strict=True)) for row in rows]}


def inputs_of(signature):
    """Returns dict name -> TensorSpec of a signature's inputs."""
    return signature.structured_input_signature[1]


def _about(spec):
    return {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}


def _columns(instances, specs):
    """Turns rows into columns."""
    if not isinstance(instances, list) or not instances:
        raise RequestError(400, '"instances" must be a list with a row or more')
    if not all(isinstance(row, dict) and "b64" not in row for row in instances):
        return instances
    if any(row.keys() != instances[0].keys() for row in instances):
        raise RequestError(400, "All instances must have the same names")
    return {name: [row[name] for row in instances] for name in instances[0]}


def _tensor(name, values, spec):
    """Makes a tensor of JSON values; {"b64": "..."} is a string of bytes."""
    try:
        array = np.array(_decoded(values), object if spec.dtype == tf.string else None)
        is_text = spec.dtype == tf.string and all(isinstance(v, str | bytes) for v in array.flat)
        if not (is_text or (spec.dtype.is_integer and array.dtype.kind == "i")):
            raise ValueError(f"its values are no {spec.dtype.name}")
        spec.shape.assert_is_compatible_with(array.shape)
        if not is_text and not np.array_equal(array, array.astype(spec.dtype.as_numpy_dtype)):
            raise ValueError(f"a value is too large for {spec.dtype.name}")
        return tf.constant(array.tolist(), spec.dtype, array.shape)
    except (ValueError, TypeError, RuntimeError) as error:  # RuntimeError: nested too deep
        raise RequestError(400, f"Input {name!r}: {error}") from None


def _decoded(values):
    if isinstance(values, list):
        return [_decoded(value) for value in values]
    if isinstance(values, dict) and values.keys() == {"b64"}:
        return base64.b64decode(values["b64"], validate=True)
    return values


def _plain(values):
    """Returns an array as JSON values."""
    if values.dtype != object:
        return values.tolist()
    texts = [value.decode("utf-8", "replace") for value in values.flat]
    return np.array(texts, object).reshape(values.shape).tolist()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of a connection; its server knows the model and its name."""

    protocol_version = "HTTP/1.1"  # a client keeps its connection
    disable_nagle_algorithm = True
    timeout = PATIENCE

    def do_GET(self):
        self._answer(self._get)

    def do_POST(self):
        self._answer(self._post)

    def log_message(self, *_):
        pass

    def _get(self):
        what, model = self._what(), self.server.model
        if what == ":predict":
            raise RequestError(405, "predict wants POST")
        if what:
            return {"model_spec": {"name": self.server.name}, "metadata": model.metadata()}
        return {"model_version_status": [{"version": str(model.version), "state": "AVAILABLE"}]}

    def _post(self):
        size = self.headers.get("Content-Length", "")
        is_known = size.isdecimal() and len(size) <= 10
        if not is_known or int(size) > LARGEST_REQUEST:
            self.close_connection = True  # what follows is not read
            limit = f"Content-Length must be at most {LARGEST_REQUEST}. Received: {size!r:.40}"
            raise RequestError(413 if size.isdecimal() else 411, limit)
        try:
            body = self.rfile.read(int(size))
        except TimeoutError:
            self.close_connection = True
            raise RequestError(408, f"Nothing came for {PATIENCE} seconds") from None
        if self._what() != ":predict":
            raise RequestError(405, "Only predict takes POST")
        try:
            request = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RequestError(400, f"The request is no JSON: {error}") from None
        if not isinstance(request, dict):
            raise RequestError(400, "The request must be a JSON object")
        return self.server.model.predict(request)

    def _what(self):
        """Returns what the path wants of the model: "", "/metadata" or ":predict"."""
        match, server = PATH.fullmatch(self.path.partition("?")[0]), self.server
        version = server.model.version
        if not match or match[1] != server.name or match[2] not in (None, str(version)):
            there = f"/v1/models/{server.name}, version {version}"
            raise RequestError(404, f"{self.path} is not here. Served: {there}")
        return match[3] or ""

    def _answer(self, answer):
        try:
            status, result = 200, answer()
        except RequestError as error:
            status, result = error.status, {"error": str(error)}
        except Exception as error:
            status, result = 500, {"error": f"{type(error).__name__}: {error}"}
        data = json.dumps(result).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(http.server.ThreadingHTTPServer):
    """A thread for each connection.

    Args: address: (host, port); name: the model's in paths; model: Model.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, name, model):
        super().__init__(address, Handler)
        self.name, self.model = name, model

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # the client has gone
            super().handle_error(request, client_address)


def main():
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model_dir", required=True, help="folder of versions, or a SavedModel")
    parser.add_argument("--name", default="model", help="the model's name in the address")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8501, help="0: any free one")
    values = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        model = Model(values.model_dir)
        server = Server((values.host, values.port), values.name, model)
    except (OSError, OverflowError) as error:  # no model, or no such port, or a taken one
        sys.exit(f"Error: {error}")
    with server:
        host, port = server.server_address[:2]
        print(f"Serving http://{host}:{port}/v1/models/{values.name}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
