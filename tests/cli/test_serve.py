"""`reidkit serve`, as a command."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch

import reidkit as rk
from reidkit.gallery import Row
from reidkit.model.network import build_network
from reidkit.model.weights import save_model
from reidkit.recipes import get_recipe
from reidkit.serve.tokens import Tokens, new_token
from tests.commands import SIZE, until

pytest.importorskip("uvicorn", reason="needs the extra serve")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    recipe = get_recipe("small-strong-baseline", SIZE)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_network(recipe.network), recipe)
    return path


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "tokens"
    token, line = new_token("anna", ["search"])
    path.write_text(line)
    path.chmod(0o600)
    return path, token


def get(address, path, token=""):
    """The status of an answer, and its JSON."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(address + path, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=180) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def started(command):
    """The address of a service, when it is ready."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        text = command.streams[0].read_text() if command.streams[0].exists() else ""
        if text.endswith("}\n"):
            address = json.loads(text)["address"]
            if get(address, "health/ready")[0] == 200:
                return address
        assert not command.ended(), command.wait()
        time.sleep(0.05)
    raise AssertionError("the service did not become ready")


def headers_refused(address):
    """Whether a service ends a connection whose headers do not."""
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=180) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + bytes([97]) * 20_000)
        return connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_service_runs_and_stops(nursery, model, token_file):
    path, token = token_file
    words = ("serve", "memory", "--model", model, "--port", 0, "--token-file", path, "--json")
    command = nursery.start(*words)
    try:
        address = started(command)
        assert get(address, "v1/info")[0] == 401
        assert headers_refused(address)
        assert get(address, "v1/info", token)[1]["actor"]["name"] == "anna"
        other, line = new_token("bob", ["search"])
        path.write_text(line)
        command.send(signal.SIGHUP)
        # To ask until the token is known would be refused: ten wrong ones a minute are heard.
        until(lambda: "read 1 tokens" in command.streams[1].read_text())
        assert get(address, "v1/info", other)[0] == 200
        assert get(address, "v1/info", token)[0] == 401
        path.write_text("nonsense")
        command.send(signal.SIGHUP)
        until(lambda: "the tokens stay as they were" in command.streams[1].read_text())
        assert get(address, "v1/info", other)[0] == 200, "tokens that cannot be read change nothing"
    finally:
        command.send(signal.SIGTERM)
        result = command.wait()
    assert result.status == 0, result.err
    assert "Traceback" not in result.err
    assert "/v1/info 200" in result.err
    assert token not in result.err


def test_ctrl_c_stops_it_too_and_twice_at_once(nursery, model, tmp_path):
    command = nursery.start("serve", tmp_path / "people.db", "--model", model, "--port", 0, "--json")
    started(command)
    for _ in range(2):
        command.send(signal.SIGINT)
        time.sleep(0.05)
    result = command.wait()
    assert result.status == 0, result.err
    assert "people.db was not there, and has been made: add images with" in result.err
    assert "Traceback" not in result.err


def test_an_address_that_cannot_be_told(model):
    words = f'"{sys.executable}" -m reidkit serve memory --model "{model}" --port 0 >&-'
    done = subprocess.run(["bash", "-c", words], stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("reidkit: standard output is closed: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("kept", "said"), [(None, 1), (b"a jpeg", 0)])
def test_a_gallery_without_pictures_is_said(nursery, model, tmp_path, kept, said):
    with rk.open_gallery(tmp_path / "people.db", rk.load_model(model)) as people:
        people.add_vectors(np.eye(1, people.dim), [Row("a.jpg")], thumbnails=[kept])
    command = nursery.start("serve", tmp_path / "people.db", "--model", model, "--port", 0, "--json")
    started(command)
    command.send(signal.SIGTERM)
    assert command.wait().err.count("people.db holds no pictures, and the page will show none") == said


def test_a_token(nursery, tmp_path):
    made = nursery.run("serve", "token", "anna", "--role", "search", "--role", "audit")
    appended = tmp_path / "tokens"
    appended.write_text(made.err)
    appended.chmod(0o600)
    found = Tokens(appended).find(made.out.strip())
    assert (found.name, found.roles) == ("anna", {"search", "audit"})
    assert made.status == 0
    assert made.out.startswith("rk_")
    assert made.err.splitlines()[-1].startswith("anna search,audit sha256:")
    assert set(nursery.run("serve", "token", "anna", "--role", "write", "--json").json()) == {"token", "line"}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("token",), 2, "serve token NAME"),
        (("token", "anna"), 2, "a token without a role may do nothing: give one of search"),
        (("token", "anna", "--role", "root"), 2, "root is no role"),
        (("token", "a b", "--role", "search"), 2, "cannot be a name"),
        (("memory",), 2, "--model"),
        (("memory", "anna", "--model", "m"), 2, "belongs to a new token"),
        (("memory", "--model", "MODEL", "--host", "0.0.0.0"), 2, "--token-file"),  # noqa: S104
        (("memory", "--model", "MODEL", "--port", "70000"), 2, "--port"),
        (("memory", "--model", "MODEL", "--retain", "soon"), 2, "72h"),
        (("memory", "--model", "MODEL", "--port", "0", "--token-file", "gone"), 1, "serve token"),
        (("memory", "--model", "gone"), 1, "gone is not there"),
        (
            ("memory", "--model", "MODEL", "--host", "no.such.host.invalid", "--token-file", "x"),
            1,
            "cannot be listened",
        ),
        (("memory", "--model", "MODEL", "--port", "0", "--audit", "MODEL"), 1, "or move it away (--audit)"),
        (("milvus://host/x", "--model", "MODEL", "--port", "0"), 2, "audit"),
    ],
)
def test_wrong_calls(nursery, model, words, status, said):
    result = nursery.run("serve", *(str(model) if word == "MODEL" else word for word in words))
    assert result.status == status, result.err
    assert said in result.line()


def test_a_port_that_is_taken(nursery, model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = nursery.run("serve", "memory", "--model", model, "--port", taken.getsockname()[1])
    assert result.status == 1
    assert "cannot be listened on" in result.line()


def test_a_file_of_tokens_that_others_can_read_begins_no_log(nursery, model, token_file, tmp_path):
    token_file[0].chmod(0o644)
    words = ("--model", model, "--port", 0, "--token-file", token_file[0])
    result = nursery.run("serve", tmp_path / "people.db", *words)
    assert result.status == 1
    assert "chmod 600" in result.line()
    assert not (tmp_path / "people.db-audit").exists()
