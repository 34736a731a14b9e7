"""Uploads to the Hub: huggingface_hub's own client against a server that stands in for it."""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest

from electra.publish.formats import convert
from electra.publish.hub import check_hub, push
from tests.serve.models import write_pretrained
from tests.shared import ROOT

constants = pytest.importorskip("huggingface_hub.constants")
pytestmark = pytest.mark.interop


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as an upload needs; `server` keeps what came."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server, path = self.server, self.path
        server.asked.append((path, self.headers.get("authorization")))
        status = next((s for part, s in server.answers.items() if part in path), None)
        if status:
            # Of a repository that is there the Hub says where.
            where = {"url": f"{server.url}/me/tiny"} if status == 409 else {}
            return self.reply(status, {"error": f"refused by test, {status}", **where})
        if path == "/api/validate-yaml":
            return self.reply(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            server.created.append(json.loads(body))
            name = f"{server.created[-1]['organization'] or 'me'}/{server.created[-1]['name']}"
            return self.reply(200, {"url": f"{server.url}/{name}", "name": name, "id": "1"})
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            mode = {True: "lfs", False: "regular"}
            kinds = [(f["path"], mode[f["path"].endswith(".safetensors")]) for f in files]
            listed = [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in kinds]
            return self.reply(200, {"files": listed})
        if path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            objects = [
                {**o, "actions": {"upload": {"href": f"{server.url}/lfs/{o['oid']}"}}}
                for o in wanted
            ]
            return self.reply(200, {"transfer": "basic", "objects": objects})
        if "/commit/" in path:
            server.commits.append([json.loads(line) for line in body.splitlines()])
            about = {"commitUrl": f"{server.url}/c/1", "commitOid": "1" * 40}
            return self.reply(200, {**about, "success": True, "hookOutput": ""})
        return self.reply(404, {"error": "no such place"})

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.uploaded[self.path] = data
        self.reply(200, {})

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("authorization")))
        self.reply(404, {"error": "no such place"})

    def reply(self, status, values):
        data = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def hub(**answers):
    """A server; answers: part of a path -> the status that it gets instead."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.asked, server.created, server.commits, server.uploaded = [], [], [], {}
        server.answers = answers
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_pretrained(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def encoder(model, tmp_path):
    (folder,) = convert(model, "huggingface", tmp_path / "o", part="encoder")
    return folder


@pytest.fixture(autouse=True)
def account(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))


def visit(monkeypatch, url):
    monkeypatch.setattr(constants, "ENDPOINT", url)


def test_the_command_uploads_the_folder(model, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TF_CPP"))}
    environment |= {"HF_TOKEN": "hf_test", "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    flags = ("--input", model, "--from", "electra", "--to", "huggingface", "--output")
    flags += (tmp_path / "o", "--push_to_hub", "me/tiny", "--private", "--part", "discriminator")
    with hub() as server:
        done = subprocess.run(
            [sys.executable, "-m", "electra.convert", *map(str, flags)],
            cwd=ROOT,
            env=environment | {"HF_ENDPOINT": server.url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    wrote, uploaded = done.stdout.splitlines()
    assert (wrote, uploaded) == (f"Wrote {tmp_path / 'o'}", f"Uploaded to {server.url}/me/tiny")
    (created,) = server.created
    assert (created["organization"], created["name"]) == ("me", "tiny")
    assert created.get("visibility") == "private" or created.get("private") is True
    assert list(server.uploaded.values()) == [(tmp_path / "o" / "model.safetensors").read_bytes()]
    (commit,) = server.commits
    files = {line["value"]["path"]: line["key"] for line in commit if line["key"] != "header"}
    assert files.pop("model.safetensors") == "lfsFile"
    names = {"README.md", "config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json"}
    assert files == dict.fromkeys({*names, "special_tokens_map.json"}, "file")
    assert ("/api/repos/create", "Bearer hf_test") in server.asked
    card = (tmp_path / "o" / "README.md").read_text()
    assert "from_pretrained('me/tiny')" in card and "# tiny\n" in card
    assert "Beside the folder" not in card


def test_a_pair_has_two_repositories(model, tmp_path, monkeypatch):
    folders = convert(model, "huggingface", tmp_path / "o")
    with hub() as server:
        visit(monkeypatch, server.url)
        urls = push(folders, "tiny")
    assert urls == [f"{server.url}/me/tiny-discriminator", f"{server.url}/me/tiny-generator"]
    assert "visibility" not in server.created[0]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"repos/create": 401}, "401.* The token is not accepted"),
        ({"repos/create": 403}, "The token may not write there"),
        ({"preupload": 404}, "There is no such user or repository"),
        ({"commit": 409}, "Somebody else changed the repository meanwhile"),
    ],
    ids=str,
)
def test_an_upload_that_fails_is_one_line(answers, message, encoder, monkeypatch):
    with hub(**answers) as server:
        visit(monkeypatch, server.url)
        with pytest.raises(ValueError, match=message) as error:
            push([encoder], "me/tiny")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("The upload to me/tiny failed: ")
    assert str(error.value).endswith(f"The model stays in {encoder}: hf upload me/tiny {encoder}")
    assert os.path.exists(os.path.join(encoder, "model.safetensors"))


def test_a_repository_that_is_there_gets_a_commit(encoder, monkeypatch):
    with hub(**{"repos/create": 409}) as server:
        visit(monkeypatch, server.url)
        push([encoder], "me/tiny")
    assert len(server.commits) == 1


def test_a_network_that_is_gone(encoder, monkeypatch):
    with hub() as server:
        visit(monkeypatch, server.url)
    with pytest.raises(ValueError, match=f"Is {server.url} reachable. Upload again"):
        push([encoder], "me/tiny")


def test_what_is_wrong_is_said_before_the_work(monkeypatch):
    with pytest.raises(ValueError, match="a b/c"):
        check_hub("a b/c")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ValueError, match="--push_to_hub found no token. Set HF_TOKEN"):
        check_hub("me/tiny")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="needs huggingface_hub. Install it: pip install"):
        check_hub("me/tiny")
