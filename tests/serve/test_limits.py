"""Too much, too slow, too late: what a service does then, and what it never does."""

from __future__ import annotations

import io
import json
import re
import socket
import sqlite3
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from reidkit.gallery.local import LocalGallery
from reidkit.serve.uploads import UploadLimits
from tests.serve.conftest import picture, running, search, wait_for
from tests.serve.test_app import encoded, problem

JPEG = {"content-type": "image/jpeg"}


@pytest.fixture(scope="module")
def small(model):
    """A service with small limits."""
    from tests.serve.conftest import filled

    limits = UploadLimits(bytes=4000, pixels=2500)
    with running(model, filled(model), upload=limits, images_per_request=3) as made:
        yield made


def test_bytes(small):
    said = problem(small.post("/v1/embed", content=b"\xff\xd8\xff" + bytes(5000), headers=JPEG), 413, "too-large")
    assert said["limit_bytes"] == 4000

    port = small.base_url.port
    with socket.create_connection(("127.0.0.1", port)) as endless:  # which does not say how long it will be
        endless.sendall(
            f"POST /v1/embed HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        endless.sendall((b"3e8\r\n" + bytes(1000) + b"\r\n") * 5)
        endless.settimeout(60)
        assert b" 413 " in endless.recv(4096).splitlines()[0]
    parts = [("image", ("a", bytes(4001)))]
    problem(small.post("/v1/embed", files=parts), 413, "too-large")


def test_pixels(small):
    said = problem(
        small.post("/v1/embed", content=picture(1, (60, 60), "PNG", optimize=True)[:4000], headers=JPEG),
        413,
        "too-many-pixels",
    )
    assert said["limit_pixels"] == 2500


def test_pictures_parts_and_headers_of_parts(small):
    problem(small.post("/v1/embed", files=[("image", ("a", picture(1)))] * 4), 413, "too-large")
    problem(small.post("/v1/embed", files=[("x", ("a", b"x"))] * 25), 413, "too-large")
    many = b"--b\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 2000) for n in range(6)) + b"\r\nx\r\n--b--\r\n"
    form = {"content-type": "multipart/form-data; boundary=b"}
    assert small.post("/v1/embed", content=many, headers=form).status_code in (400, 413)


def test_requests_inside_forms(client):
    twice = [("request", (None, "{}")), ("request", (None, "{}"))]
    problem(client.post("/v1/search", files=twice), 400, "bad-request")
    long = [("request", (None, json.dumps({"purpose": "a" * 2**20})))]
    problem(client.post("/v1/search", files=long), 413, "too-large")


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "x"])
def test_bodies_are_not_taken_compressed(client, encoding):
    headers = {**JPEG, "content-encoding": encoding}
    problem(client.post("/v1/embed", content=picture(1), headers=headers), 415, "unsupported-type")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data"),
        (b"", "multipart/form-data; boundary="),
        (b"nonsense", "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\nx", "multipart/form-data; boundary=b"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"{", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"limit": 1, "limit": 2}', "application/json"),
        (b'{"limit": NaN}', "application/json"),
        (b"\xff\xfe", "application/json"),
    ],
)
def test_malformed_bodies(client, content, kind):
    problem(client.post("/v1/search", content=content, headers={"content-type": kind}), 400, "bad-request")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/zip", ""])
def test_other_types(client, kind):
    problem(client.post("/v1/search", content=b"query=a", headers={"content-type": kind}), 415, "unsupported-type")


def test_json_is_not_endless(client):
    long = json.dumps({"purpose": "a" * 2**20}).encode()
    problem(client.post("/v1/search", content=long, headers={"content-type": "application/json"}), 413, "too-large")


def test_a_body_that_does_not_arrive(model, gallery):
    with running(model, gallery, body_timeout=0.5) as own:
        port = own.base_url.port
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(f"POST /v1/embed HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 9\r\n\r\na".encode())
            slow.settimeout(60)
            assert b" 408 " in slow.recv(4096).splitlines()[0]


class Held:
    """The network of a service, held up until it is let go."""

    def __init__(self, service, monkeypatch):
        self.go, self.entered, self.seen = threading.Event(), threading.Event(), []
        real = service.batcher._run

        def run(images):
            self.entered.set()
            assert self.go.wait(120)
            self.seen.append(len(images))
            return real(images)

        monkeypatch.setattr(service.batcher, "_run", run)


@pytest.fixture
def held(own, monkeypatch):
    made = Held(own.service, monkeypatch)
    yield made
    made.go.set()


def test_an_overloaded_service_refuses_before_it_reads(own, held):
    own.service.batcher.rate = 4.0  # of which a quarter is expected: two images in two seconds
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(own.post, "/v1/embed", content=picture(1), headers=JPEG)
        assert held.entered.wait(120)
        second = pool.submit(own.post, "/v1/embed", content=picture(2), headers=JPEG)
        wait_for(lambda: own.service.admission.places == 2)
        port = own.base_url.port
        with socket.create_connection(("127.0.0.1", port)) as third:
            third.sendall(
                f"POST /v1/embed HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1000000\r\n\r\n".encode()
            )
            third.settimeout(60)
            said = third.recv(4096).decode()
        assert " 429 " in said.splitlines()[0], "no byte of the body was sent"
        assert "retry-after: 1" in said.lower()
        held.go.set()
        assert first.result().status_code == second.result().status_code == 200
    assert own.service.admission.places == 0
    assert 'reidkit_rejected_total{reason="overloaded"} 1.0' in own.get("/metrics").text


def test_who_goes_away_is_not_served(own, held):
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(own.post, "/v1/embed", content=picture(1), headers=JPEG)
        assert held.entered.wait(120)
        port, data = own.base_url.port, picture(2)
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(
                f"POST /v1/embed HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                + data
            )
            wait_for(lambda: len(own.service.batcher) == 1)
            (item,) = own.service.batcher._waiting
        wait_for(lambda: own.service.admission.places == 1 and item.future.cancelled())
        held.go.set()
        assert first.result().status_code == 200
    assert own.post("/v1/embed", content=picture(3), headers=JPEG).status_code == 200
    assert held.seen == [1, 1], "the second picture was dropped"


def test_who_waits_too_long_is_told(own, held, monkeypatch):
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(own.post, "/v1/embed", content=picture(1), headers=JPEG)
        assert held.entered.wait(120)
        monkeypatch.setattr(own.service, "settings", replace(own.service.settings, timeout=0.2))  # for the second alone
        second = pool.submit(own.post, "/v1/embed", content=picture(2), headers=JPEG)
        wait_for(lambda: len(own.service.batcher) == 1)
        time.sleep(0.3)
        held.go.set()
        assert first.result().status_code == 200
        problem(second.result(), 503, "timed-out")


def test_a_gallery_that_does_not_answer(model, gallery, monkeypatch):
    with running(model, gallery, timeout=0.1) as own:
        go = threading.Event()
        monkeypatch.setattr(gallery, "search", lambda *_: go.wait(60))
        try:
            problem(own.post("/v1/search", json={"query": [{"key": "hall/001.jpg"}]}), 503, "timed-out")
        finally:
            go.set()


def test_one_bad_picture_of_a_batch_fails_alone(own, held, monkeypatch):
    embedder = own.service.embedder
    real = type(embedder).__call__

    def fail_for_black(self, images):
        if any(not image.any() for image in images):
            raise RuntimeError("black")
        return real(self, images)

    monkeypatch.setattr(type(embedder), "__call__", fail_for_black)
    black = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (32, 32)).save(black, "PNG")
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(own.post, "/v1/embed", content=picture(1), headers=JPEG)
        assert held.entered.wait(120)
        bad = pool.submit(own.post, "/v1/embed", content=black.getvalue(), headers=JPEG)
        good = pool.submit(own.post, "/v1/embed", content=picture(2), headers=JPEG)
        wait_for(lambda: len(own.service.batcher) == 2)
        held.go.set()
        assert first.result().status_code == good.result().status_code == 200
        problem(bad.result(), 500, "internal")


def test_a_service_that_loads_or_stops_says_so(own):
    own.service.state = "loading"
    assert own.get("/health/ready").status_code == 503
    assert own.get("/health/live").status_code == 200
    refused = own.post("/v1/search", json={})
    problem(refused, 503, "loading")
    assert refused.headers["retry-after"] == "2"
    own.service.state = "stopping"
    problem(own.post("/v1/search", json={}), 503, "stopping")
    assert own.get("/health/ready").json() == {"status": "stopping"}
    assert own.get("/metrics").status_code == 200


@pytest.mark.parametrize("lacking", ["people.db", "people.db-audit"])
def test_a_service_without_its_gallery_or_its_audit_log_is_not_ready(model, tmp_path, caplog, lacking):
    """Nobody sends it requests then, which it could not answer."""
    file, away = tmp_path / lacking, tmp_path / "away.db"
    with (
        LocalGallery.create(tmp_path / "people.db", model) as gallery,
        running(model, gallery, audit=tmp_path / "people.db-audit") as own,
    ):
        assert own.get("/health/ready").json() == {"status": "ready"}
        file.rename(away)
        answer = own.get("/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})
        assert re.search(r"was (removed or replaced|moved, removed or emptied) since it was opened", caplog.text)
        away.rename(file)
        assert own.get("/health/ready").status_code == 200


def test_nothing_is_answered_that_cannot_be_logged(own, monkeypatch):
    def full(entries):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(own.service.audit._batches, "_run", full)
    wanted = {"query": [{"key": "hall/001.jpg"}]}
    refused = own.post("/v1/search", json=wanted)
    problem(refused, 503, "audit-unavailable")
    assert "door/" not in refused.text
    problem(own.post("/v1/search/batch", json={"searches": [wanted]}), 503, "audit-unavailable")
    problem(own.post("/v1/compare", json={"a_key": "door/000.jpg", "b_key": "hall/001.jpg"}), 503, "audit-unavailable")
    row = {"vector": encoded(np.ones(64)), "model": "0123456789abcdef"}
    problem(own.put("/v1/rows/new", json=row), 503, "audit-unavailable")
    problem(own.delete("/v1/rows/door%2F000.jpg"), 503, "audit-unavailable")
    problem(own.post("/v1/rows/delete", json={"filter": {"camera": {"in": ["door"]}}}), 503, "audit-unavailable")
    problem(own.get("/v1/audit"), 503, "audit-unavailable")
    assert len(own.service.gallery) == 60, "what could not be logged was not done"
    assert "new" not in own.service.gallery
    assert "reidkit_audit_failures_total 7.0" in own.get("/metrics").text
    monkeypatch.undo()
    assert own.post("/v1/search", json=wanted).status_code == 200


def test_a_full_disk_is_said_and_takes_nothing_back(model, tmp_path):
    """The file may not grow for a while, which SQLite says as it says a full disk."""
    row = {"vector": encoded(np.ones(64)), "model": "0123456789abcdef"}
    many = {"rows": [{**row, "key": str(number)} for number in range(1000)]}
    with LocalGallery.create(tmp_path / "people.db", model) as gallery, running(model, gallery) as client:
        assert client.put("/v1/rows/first", json=row).status_code == 201
        gallery._database._writer.execute("PRAGMA max_page_count=1")
        refused = client.post("/v1/rows", json=many)
        problem(refused, 503, "storage-full")
        assert refused.headers["retry-after"] == "30"
        found = client.post("/v1/search", json={"query": [{"vector": row["vector"]}]}).json()
        assert [each["key"] for each in found["results"]] == ["first"]
        gallery._database._writer.execute("PRAGMA max_page_count=1000000")
        assert client.post("/v1/rows", json=many).json()["added"] == 1000


def cut(data, rng):
    return data[: int(rng.integers(3, len(data)))]


def changed(data, rng):
    places = set(rng.integers(12, len(data), 20).tolist())
    return bytes(rng.integers(0, 256) if place in places else byte for place, byte in enumerate(data))


def packed(*_):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(10**6))
    return file.getvalue()


HOSTILE = (
    cut,
    changed,
    packed,
    lambda data, rng: data[:12] + rng.bytes(500) + data[12:],
    lambda data, _: data[:20] + bytes(len(data)),
    lambda _, rng: rng.bytes(3000),
    lambda data, _: data + picture(9) * 3,
    lambda data, _: data[:16] + b"\xff" * 8 + data[24:],
)


def hostile(number):
    """One hundred uploads that somebody could send, a few of each kind."""
    data = picture(number, (64, 48), ("JPEG", "PNG", "WEBP")[number % 3])
    return HOSTILE[number // 3 % len(HOSTILE)](data, np.random.default_rng(number))


def test_a_hundred_hostile_uploads(client):
    statuses = []
    for number in range(100):
        data = hostile(number)
        how = number % 3
        if how == 0:
            answer = client.post("/v1/embed", content=data, headers=JPEG)
        elif how == 1:
            answer = search(client, {"limit": 1}, data)
        else:
            name = ("../../x", "a\x00.jpg", "https://example.org/a.jpg")[number // 3 % 3]
            answer = client.post("/v1/embed", files={"image": (name, data, "text/html")})
        statuses.append(answer.status_code)
    assert set(statuses) <= {200, 400, 413, 415}
    assert statuses.count(400) > 20
    assert search(client, {"limit": 1}, picture(1)).status_code == 200


def test_no_description_of_the_interface_leads_to_a_failure(client):
    """A short run; a long one is in docs/service.md."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    schema = schemathesis.openapi.from_dict(client.get("/v1/openapi.json").json())
    schema.config.update(base_url=str(client.base_url))
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 20
    seen = []

    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        derandomize=True,
    )
    @given(st.one_of([operation.as_strategy() for operation in operations]))
    def call(case):
        answer = case.call()
        seen.append(answer.status_code)
        assert answer.status_code < 500 or answer.status_code == 503, (case, answer.text)

    call()
    assert len(set(seen)) > 1
