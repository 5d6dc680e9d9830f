"""Every path of the service, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from reidkit.gallery import Filter, Query, Row
from reidkit.gallery.memory import MemoryGallery
from reidkit.serve import service as service_module
from reidkit.serve.app import OPERATIONS, create_app
from reidkit.serve.settings import ServiceSettings
from tests.serve.conftest import filled, picture, running, search, wait_for

JSON_PROBLEM = "application/problem+json"


def encoded(vector):
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


def problem(answer, status, name):
    """What an answer says is wrong."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, JSON_PROBLEM), answer.text
    body = answer.json()
    assert body["type"] == f"/problems/{name}"
    assert body["status"] == status
    assert body["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    assert ("errors" in body) == (name == "invalid")
    return body


def test_health(client):
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}


def test_info(client):
    info = client.get("/v1/info").json()
    assert info["gallery"]["rows"] == 60
    assert info["gallery"]["time"] == {"first": "2026-11-26T08:00:00.000Z", "last": "2026-11-26T08:59:00.000Z"}
    assert info["model"] == {"fingerprint": "0123456789abcdef", "dim": 64, "height": 32, "width": 32, "flip": False}
    assert info["calibration"] is None
    assert info["actor"] == {"name": "local", "roles": ["audit", "metrics", "search", "write"], "signed_in": False}
    assert [each["rows"] for each in client.get("/v1/cameras").json()["cameras"]] == [20, 20, 20]


def test_features_are_those_of_the_gallery(client):
    answer = client.post("/v1/embed", content=picture(7), headers={"content-type": "image/jpeg"}).json()
    pixels = np.asarray(Image.open(io.BytesIO(picture(7))).convert("RGB"))
    expected = client.service.gallery.embed([pixels])[0]
    np.testing.assert_allclose(answer["items"][0]["vector"], expected, rtol=0.02, atol=0.02)
    assert (answer["dim"], answer["model"]) == (64, "0123456789abcdef")


def test_several_pictures_of_which_one_is_none(client):
    parts = [("image", ("x", data, "text/plain")) for data in (picture(1), b"no picture", picture(2, kind="PNG"))]
    items = client.post("/v1/embed?encoding=base64", files=parts).json()["items"]
    assert [each["index"] for each in items] == [0, 1, 2]
    assert items[1]["problem"]["type"] == "/problems/unsupported-type"
    assert np.frombuffer(base64.b64decode(items[2]["vector"]), "<f4").shape == (64,)
    problem(client.post("/v1/embed", files=parts[1:2]), 415, "unsupported-type")
    problem(client.post("/v1/embed?encoding=hex", files=parts[:1]), 422, "invalid")
    problem(client.post("/v1/embed", json={}), 422, "invalid")


def test_a_search_is_that_of_the_gallery(client):
    gallery = client.service.gallery
    vector = gallery.vectors(["door/003.jpg"])[0]
    expected = gallery.search(Query(vectors=[vector]), top=7)
    found = search(client, {"query": [{"vector": encoded(vector)}], "limit": 7}).json()
    assert [hit["key"] for hit in found["results"]] == [hit.key for hit in expected]
    assert found["results"][0]["key"] == "door/003.jpg"
    assert found["results"][0]["similarity"] == pytest.approx(1, abs=1e-6)
    assert (found["searched"], found["passed_filter"], found["exact"]) == (60, 60, True)
    assert found["results"][0]["probability"] is None
    assert [hit["rank"] for hit in found["results"]] == list(range(1, 8))


def test_by_picture_by_key_and_both(client):
    by_picture = search(client, {}, picture(3)).json()
    assert len(by_picture["results"]) == 20
    raw = client.post("/v1/search", content=picture(3), headers={"content-type": "image/jpeg"}).json()
    keys = [hit["key"] for hit in by_picture["results"]]
    assert [hit["key"] for hit in raw["results"]] == keys
    by_key = client.post("/v1/search", json={"query": [{"key": "hall/001.jpg"}], "limit": 5}).json()
    assert "hall/001.jpg" not in [hit["key"] for hit in by_key["results"]]
    assert {hit["pid"] for hit in by_key["results"]} == {1}
    both = search(client, {"query": [{"image": 1}, {"key": "hall/001.jpg"}], "combine": "best"}, picture(3), picture(4))
    assert both.status_code == 200


def test_filters(client):
    wanted = {
        "camera": {"in": ["door", "yard"], "not_in": ["yard"]},
        "pid": {"not_in": [3]},
        "time": {"gte": "2026-11-26T09:10:00+01:00", "lt": "2026-11-26T08:50:00Z"},
        "attributes": {"colour": ["red"]},
    }
    found = client.post("/v1/search", json={"query": [{"key": "hall/001.jpg"}], "filter": wanted}).json()
    matching = Filter(
        cameras=["door"],
        not_pids=[3],
        since=datetime(2026, 11, 26, 8, 10, tzinfo=UTC),
        until=datetime(2026, 11, 26, 8, 50, tzinfo=UTC),
        attributes={"colour": "red"},
    )
    rows = {row.key for row in client.service.gallery.rows(matching).rows}
    assert {hit["key"] for hit in found["results"]} == rows
    assert found["passed_filter"] == len(rows)
    other = {"query": [{"key": "hall/001.jpg"}], "filter": {"exclude_query_camera": True}, "limit": 60}
    assert "hall" not in {hit["camera"] for hit in client.post("/v1/search", json=other).json()["results"]}


def test_feedback_groups_radius_and_pages(client):
    def found(**request):
        return client.post("/v1/search", json={"query": [{"key": "hall/001.jpg"}], **request}).json()

    refined = found(positive=["yard/011.jpg"], negative=["door/021.jpg"])["results"]
    assert [hit["key"] for hit in refined if hit["marked"]] == ["yard/011.jpg"]
    assert "door/021.jpg" not in [hit["key"] for hit in refined]
    assert len(found(group_by="camera", limit=10)["results"]) == 3
    assert all(hit["similarity"] >= 0.5 for hit in found(radius=0.5, limit=60)["results"])
    whole, first = found(limit=20)["results"], found(limit=8)
    second = found(limit=8, cursor=first["next"])["results"]
    assert [hit["key"] for hit in first["results"] + second] == [hit["key"] for hit in whole][:16]
    assert [hit["key"] for hit in found(limit=5, offset=3)["results"]] == [hit["key"] for hit in whole][3:8]
    assert found(rerank=True, limit=5)["results"]


@pytest.mark.parametrize(
    ("request_", "status", "name"),
    [
        ({}, 422, "invalid"),
        ({"query": [{"key": "nobody"}]}, 404, "not-found"),
        ({"query": [{"key": "hall/001.jpg"}], "positive": ["nobody"]}, 404, "not-found"),
        ({"query": [{"key": "hall/001.jpg", "image": 0}]}, 422, "invalid"),
        ({"query": [{"image": 0}]}, 422, "invalid"),
        ({"query": [{"key": "hall/001.jpg"}], "model": "another"}, 409, "model-mismatch"),
        ({"query": [{"key": "hall/001.jpg"}], "limit": 0}, 422, "invalid"),
        ({"query": [{"key": "hall/001.jpg"}], "limit": "3"}, 422, "invalid"),
        ({"query": [{"key": "hall/001.jpg"}], "surprise": 1}, 422, "invalid"),
        ({"query": [{"key": "hall/001.jpg"}], "filter": {"time": {"gte": "yesterday"}}}, 422, "invalid"),
        ({"query": [{"key": "hall/001.jpg"}], "filter": {"time": {"gte": 5}}}, 422, "invalid"),
        ({"query": [{"key": "hall/001.jpg"}], "filter": {"time": {"gte": "2026-11-26T08:00:00"}}}, 422, "invalid"),
        ({"query": [{"key": "hall/001.jpg"}], "cursor": "x"}, 400, "bad-cursor"),
        ({"query": [{"key": "hall/001.jpg"}], "cursor": "5", "offset": 5}, 422, "invalid"),
        ({"query": [{"key": "hall/001.jpg"}], "radius": "calibrated"}, 422, "invalid"),
        ({"query": [{"vector": "AAAA"}]}, 422, "invalid"),
        ({"query": [{"vector": "!"}]}, 422, "invalid"),
        ({"query": [{"vector": encoded([float("nan")] * 64)}]}, 422, "invalid"),
        ({"query": [{"vector": encoded([float("inf")] * 64)}]}, 422, "invalid"),
        ({"query": [{"vector": encoded([0.0] * 64)}]}, 422, "invalid"),
        ([], 422, "invalid"),
        ("x", 422, "invalid"),
    ],
)
def test_searches_that_are_refused(client, request_, status, name):
    said = problem(client.post("/v1/search", json=request_), status, name)
    assert "!" not in json.dumps(said)


def test_an_error_says_where_and_does_not_repeat_what_was_sent(client):
    wanted = {"filter": {"time": {"gte": "a secret"}}, "limit": 1000}
    said = problem(client.post("/v1/search", json=wanted), 422, "invalid")
    assert {each["pointer"] for each in said["errors"]} == {"/filter/time/gte", "/limit"}
    assert "secret" not in json.dumps(said)
    said = problem(client.post("/v1/search", json={"query": [{"key": "door/000.jpg"}], "camra": 1}), 422, "invalid")
    assert said["errors"] == [{"pointer": "/camra", "detail": "there is no such member: leave it out"}]
    said = problem(client.post("/v1/search", json={"filter": {"camera": 1}}), 422, "invalid")
    assert said["errors"] == [{"pointer": "/filter/camera", "detail": "it is an object with any of in, not_in"}]


@pytest.mark.parametrize(
    ("request_", "pointer", "detail"),
    [
        ({"radius": "high"}, "/radius", "Input should be a valid number or 'calibrated'"),
        ({"radius": 5}, "/radius", "Input should be less than or equal to 1 or 'calibrated'"),
        (
            {"filter": {"attributes": {"coat": ["red", None]}}},
            "/filter/attributes/coat/1",
            "Input should be a valid string or a valid boolean or a valid integer or a valid number",
        ),
    ],
)
def test_a_value_of_several_types_has_one_error_at_its_own_place(client, request_, pointer, detail):
    """And no name of a type of pydantic's in it, as `/radius/constrained-float`."""
    said = problem(client.post("/v1/search", json=request_), 422, "invalid")
    assert said["errors"] == [{"pointer": pointer, "detail": detail}]
    assert said["detail"] == f"{pointer}: {detail}"


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"cursor": "5", "offset": 5}, "/offset"),
        ({"radius": "calibrated"}, "/radius"),
        ({"filter": {"exclude_query_camera": True}}, "/camera"),
        ({"filter": {"camera": {"in": ["a\x01"]}}}, "/filter/camera/in"),
        ({"camera": "a\x01"}, ""),
    ],
)
def test_what_the_gallery_refuses_is_named_by_its_place(client, more, pointer):
    wanted = {"query": [{"vector": encoded(np.ones(64))}], **more}
    (said,) = problem(client.post("/v1/search", json=wanted), 422, "invalid")["errors"]
    assert said["pointer"] == pointer
    (in_batch,) = client.post("/v1/search/batch", json={"searches": [wanted]}).json()["results"]
    assert in_batch["problem"]["errors"] == [said]
    for wrong in ("since=never", "until=never", "camera=", "track=%01"):
        (said,) = problem(client.get(f"/v1/rows?{wrong}"), 422, "invalid")["errors"]
        assert said["pointer"] == f"/{wrong.partition('=')[0]}"


def test_several_searches_at_once(client):
    wanted = [{"query": [{"key": "hall/001.jpg"}], "limit": 2}, {"query": [{"key": "nobody"}]}]
    first, second = client.post("/v1/search/batch", json={"searches": wanted}).json()["results"]
    assert len(first["results"]) == 2
    assert second["problem"]["type"] == "/problems/not-found"
    wanted = [
        wanted[0] | more for more in ({"cursor": "x"}, {}, {"radius": "calibrated"}, {"cursor": "5", "offset": 5})
    ]
    results = client.post("/v1/search/batch", json={"searches": wanted}).json()["results"]
    assert [each.get("problem", {}).get("status") for each in results] == [400, None, 422, 422], "each fails alone"
    problem(client.post("/v1/search/batch", json={"searches": []}), 422, "invalid")


def test_two_are_compared(client):
    same = client.post("/v1/compare", files={"a": picture(1), "b": picture(1)}).json()
    assert same["similarity"] == pytest.approx(1, abs=1e-4)
    assert (same["same"], same["calibration"]) == (None, "none")
    keys = client.post("/v1/compare", json={"a_key": "door/000.jpg", "b_key": "hall/010.jpg"}).json()
    first, second = client.service.gallery.vectors(["door/000.jpg", "hall/010.jpg"])
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert keys["similarity"] == pytest.approx(float(cosine), abs=1e-5)
    problem(client.post("/v1/compare", json={"a_key": "door/000.jpg"}), 422, "invalid")
    problem(client.post("/v1/compare", json={"a_key": "door/000.jpg", "b_key": "nobody"}), 404, "not-found")


def test_of_those_who_only_add_one_key_at_the_same_time_one_does(own, monkeypatch):
    """All of them have seen that it is not there."""
    monkeypatch.setattr(own.service.gallery, "get", lambda _: None)
    answers = [
        own.put("/v1/rows/once.jpg", files={"image": ("", picture(seed))}, headers={"If-None-Match": "*"})
        for seed in (90, 90, 91)
    ]
    assert [answer.status_code for answer in answers] == [201, 412, 412]
    problem(answers[2], 412, "already-there")
    assert search(own, {"limit": 1}, picture(90)).json()["results"][0]["similarity"] == pytest.approx(1, abs=1e-3)


def test_a_row_is_put_read_replaced_and_removed(own):
    key = "new/ü 1.jpg"
    path = "/v1/rows/new%2F%C3%BC%201.jpg"
    content = {"camera": "door", "time": "2026-11-26T10:00:00Z", "attributes": {"hat": True}, "pid": 77}
    parts = {"request": (None, json.dumps(content)), "image": ("../../x", picture(90))}
    made = own.put(path, files=parts)
    assert (made.status_code, made.json()["status"], made.json()["key"]) == (201, "added", key)
    again = own.put(path, files=parts)
    assert (again.status_code, again.json()["status"]) == (200, "unchanged")
    content["pid"] = 78
    replaced = own.put(path, files={**parts, "request": (None, json.dumps(content))})
    assert (replaced.status_code, replaced.json()["status"]) == (200, "replaced")
    problem(own.put(path, files=parts, headers={"If-None-Match": "*"}), 412, "already-there")
    assert own.get(path).json() | {"image": ""} == {
        "key": key, "pid": 78, "camera": "door", "track": None, "time": "2026-11-26T10:00:00.000Z",
        "attributes": {"hat": True}, "image": "",
    }  # fmt: skip
    assert search(own, {"limit": 1}, picture(90)).json()["results"][0]["key"] == key
    shown = own.get(own.get(path).json()["image"])
    assert shown.headers["content-type"] == "image/jpeg"
    assert own.delete(path).status_code == 204
    assert own.delete(path).status_code == 204
    problem(own.get(path), 404, "not-found")
    problem(own.get("/v1/images/new%2F%C3%BC%201.jpg"), 404, "not-found")


def test_a_path_with_a_line_break_means_no_other_key(own):
    for method in ("GET", "DELETE", "PUT"):
        content = {"content": picture(1), "headers": {"content-type": "image/jpeg"}} if method == "PUT" else {}
        for path in ("door%2F000.jpg%0A", "door%0A", "%0Adoor", "a%0Ab"):
            said = problem(own.request(method, f"/v1/rows/{path}", **content), 422, "invalid")
            assert said["errors"][0]["pointer"] == "/key"
    assert own.get("/v1/rows/door%2F000.jpg").status_code == 200
    assert len(own.service.gallery) == 60


def test_keys_that_no_path_can_name_are_refused(own):
    content = {"vector": encoded(np.arange(64)), "model": "0123456789abcdef"}
    rows = [{"key": key, **content} for key in (".", "..", "...", "a/../b")]
    said = own.post("/v1/rows", json={"rows": rows}).json()
    assert said["added"] == 2
    assert [(each["key"], each["problem"]["errors"][0]["pointer"]) for each in said["failed"]] == [
        (".", "/rows/0"),
        ("..", "/rows/1"),
    ]
    assert own.get("/v1/rows/...").json()["key"] == "..."
    assert own.get("/v1/rows/a%2F..%2Fb").json()["key"] == "a/../b"


def test_rows_with_features(own):
    vector = encoded(np.arange(64))
    content = {"vector": vector, "model": "0123456789abcdef"}
    assert own.put("/v1/rows/v", json=content).status_code == 201
    said = problem(own.put("/v1/rows/w", json={"vector": vector, "model": "other"}), 409, "model-mismatch")
    assert (said["gallery"], said["given"]) == ("0123456789abcdef", "other")
    problem(own.put("/v1/rows/w", json={}), 422, "invalid")
    problem(own.put("/v1/rows/w", json={"model": "0123456789abcdef", "vector": "AAAA"}), 422, "invalid")


def test_a_batch_of_rows_of_which_some_fail(own):
    rows = [
        {"key": "p", "image": 0},
        {"key": "q", "vector": encoded(np.ones(64)), "model": "0123456789abcdef"},
        {"key": "r", "image": 1},
        {"key": "s", "image": 9},
        {"key": "door/000.jpg", "image": 0},
    ]
    parts = [("request", (None, json.dumps({"rows": rows, "on_conflict": "skip"})))]
    parts += [("image", ("x", data)) for data in (picture(1), b"nothing")]
    said = own.post("/v1/rows", files=parts).json()
    assert (said["added"], said["replaced"], said["unchanged"]) == (2, 0, 0)
    assert [(each["index"], each["problem"]["type"].rpartition("/")[2]) for each in said["failed"]] == [
        (2, "unsupported-type"),
        (3, "invalid"),
        (4, "key-conflict"),
    ]
    again = own.post("/v1/rows", files=parts).json()
    assert (again["added"], again["unchanged"]) == (0, 2)
    many = [{"key": f"m{n}", "vector": encoded(np.ones(64)), "model": "0123456789abcdef"} for n in range(1000)]
    assert own.post("/v1/rows", json={"rows": many}).json()["added"] == 1000
    problem(own.post("/v1/rows", json={"rows": [*many, many[0]]}), 422, "invalid")


def test_rows_are_listed(client):
    first = client.get("/v1/rows", params={"limit": 40, "camera": ["door", "hall"]}).json()
    assert len(first["rows"]) == 40
    some = client.get("/v1/rows", params={"pid": 3, "since": "2026-11-26T08:30:00Z"}).json()["rows"]
    assert [row["key"] for row in some] == ["door/033.jpg", "hall/043.jpg", "yard/053.jpg"]
    page = client.get("/v1/rows", params={"limit": 25}).json()
    rest = client.get("/v1/rows", params={"limit": 1000, "cursor": page["next"]}).json()
    assert len(page["rows"] + rest["rows"]) == 60
    assert rest["next"] == ""
    problem(client.get("/v1/rows?cursor=nonsense"), 400, "bad-cursor")
    for wrong in ("limit=0", "limit=x", "limit=1001", "pid=-1", "since=never", "other=1"):
        problem(client.get(f"/v1/rows?{wrong}"), 422, "invalid")


def test_rows_are_removed_by_a_filter(own):
    wanted = {"filter": {"camera": {"in": ["door"]}}, "dry_run": True}
    assert own.post("/v1/rows/delete", json=wanted).json() == {"count": 20, "removed": False}
    assert len(own.service.gallery) == 60
    said = problem(own.post("/v1/rows/delete", json={**wanted, "expect": 19}), 409, "expect-mismatch")
    assert said["count"] == 20
    done = own.post("/v1/rows/delete", json={"filter": wanted["filter"], "expect": 20})
    assert done.json() == {"count": 20, "removed": True}
    assert len(own.service.gallery) == 40
    problem(own.post("/v1/rows/delete", json={"filter": {}}), 422, "invalid")
    problem(own.post("/v1/rows/delete", json={}), 422, "invalid")


def test_pictures_are_sent_once(client):
    first = client.get("/v1/images/door%2F000.jpg")
    assert first.headers["cache-control"] == "private, max-age=300"
    assert client.get("/v1/images/door%2F000.jpg", headers={"If-None-Match": first.headers["etag"]}).status_code == 304


def test_failures_of_the_framework_are_problems_too(client):
    problem(client.get("/nothing"), 404, "not-found")
    refused = client.delete("/v1/search")
    problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == "POST"
    assert "too large" in client.get("/problems/too-large").text
    problem(client.get("/problems/none"), 404, "not-found")


def test_an_unexpected_failure_says_nothing_of_itself(own, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("a secret")

    monkeypatch.setattr(own.service.gallery, "search", fail)
    said = problem(own.post("/v1/search", json={"query": [{"key": "hall/001.jpg"}]}), 500, "internal")
    assert "secret" not in json.dumps(said)
    assert said["instance"].removeprefix("urn:uuid:") in caplog.text
    assert "a secret" in caplog.text


def test_metrics(own):
    search(own, {}, picture(1))
    own.get("/v1/rows/a-key-of-somebody")
    problem(own.post("/v1/embed", content=b"nothing", headers={"content-type": "image/png"}), 415, "unsupported-type")
    # A request is counted with the time that its answer took, and so after the answer.
    wait_for(lambda: 'route="/v1/embed",status="415"' in own.get("/metrics").text)
    text = own.get("/metrics").text
    for line in (
        'reidkit_build_info{model="0123456789abcdef",version=',
        'reidkit_http_requests_total{method="POST",route="/v1/search",status="200"} 1.0',
        'reidkit_rejected_total{reason="type"} 1.0',
        'reidkit_images_total{result="unreadable"} 1.0',
        "reidkit_gallery_rows 60.0",
        "reidkit_queue_images 0.0",
        "reidkit_search_candidates_count 1.0",
        'reidkit_search_seconds_count{stage="scan"} 1.0',
        "reidkit_inference_seconds_count",
        "reidkit_queue_wait_seconds_count",
        "reidkit_batch_images_count",
        "reidkit_audit_failures_total 0.0",
    ):
        assert line in text
    assert "a-key-of-somebody" not in text


def test_methods_that_a_path_takes(client):
    for path, allowed in (
        ("/v1/rows", "GET, HEAD, POST"),
        ("/v1/rows/door%2F000.jpg", "DELETE, GET, HEAD, PUT"),
        ("/v1/session", "DELETE, POST"),
    ):
        refused = client.request("PATCH", path)
        problem(refused, 405, "method-not-allowed")
        assert refused.headers["allow"] == allowed


def test_head_is_get_without_the_body(client):
    for path in ("/", "/health/ready", "/v1/rows/door%2F000.jpg", "/v1/images/door%2F000.jpg", "/v1/rows/none"):
        whole, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        for name in ("content-length", "content-type", "etag"):
            assert head.headers.get(name) == whole.headers.get(name)
    assert client.head("/v1/search").status_code == 405
    wait_for(lambda: 'method="HEAD",route="/health/ready",status="200"' in client.get("/metrics").text)


def test_nothing_is_passed_over(client):
    """A parameter or a part of another name is refused: passed over, it would be missed in the answer alone."""
    for method, path in (
        ("GET", "/v1/audit?since=2026-11-26T08:00:00Z"),
        ("GET", "/v1/audit?limit=5000"),
        ("GET", "/v1/cameras?camera=door"),
        ("POST", "/v1/search?limit=5"),
        ("DELETE", "/v1/rows/none?expect=1"),
    ):
        said = problem(client.request(method, path), 422, "invalid")
        assert said["errors"][0]["pointer"] == "/" + path.partition("?")[2].partition("=")[0]
    one, other = ("image", ("a", picture(1))), ("img", ("b", picture(2)))
    said = problem(client.post("/v1/search", files=[one, other]), 422, "invalid")
    assert said["detail"] == "/img: there is no such part: a picture is `image`"
    options = ("requests", (None, json.dumps({"limit": 1})))
    for path in ("/v1/search", "/v1/embed"):
        assert "/requests" in problem(client.post(path, files=[one, options]), 422, "invalid")["detail"]
    said = problem(client.post("/v1/embed", files=[one, ("request", (None, "{}"))]), 422, "invalid")
    assert "/request" in said["detail"]
    sides = [(name, ("a", picture(1))) for name in ("a", "b", "c")]
    said = problem(client.post("/v1/compare", files=sides), 422, "invalid")
    assert said["detail"] == "/c: there is no such part: a picture is `a` or `b`"
    problem(client.post("/v1/rows/delete", files=[one]), 422, "invalid")


def test_openapi_describes_every_path(client):
    schema = client.get("/v1/openapi.json").json()
    operations = {(method.upper(), path) for path, each in schema["paths"].items() for method in each}
    assert operations == {(each.method, each.path) for each in OPERATIONS}
    for path in schema["paths"].values():
        for each in path.values():
            assert each["operationId"]
            assert each["summary"].endswith(".")
    assert schema["components"]["schemas"]["Problem"]["required"]
    for path, key in (("/metrics", ""), ("/v1/images/{key}", "door%2F000.jpg"), ("/v1/rows/{key}", "door%2F000.jpg")):
        answer = client.get(path.replace("{key}", key))
        said = schema["paths"][path]["get"]["responses"]
        assert list(said["200"]["content"]) == [answer.headers["content-type"].partition(";")[0]]
    assert set(schema["paths"]["/v1/clips/{key}"]["get"]["responses"]) >= {"200", "206", "304", "416"}


def test_the_page_and_its_files(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert client.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    problem(client.get("/static/..%2fapp.py"), 404, "not-found")


def test_another_model_than_the_gallery_is_refused(model, gallery):
    gallery.model = "another"
    with pytest.raises(ValueError, match="another"):
        create_app(gallery, model, ServiceSettings())


def test_old_rows_are_removed_as_the_service_starts(model, gallery):
    with running(model, gallery, retain=1e9) as kept:
        assert len(kept.service.gallery) == 60
    # All of them are from the past or the future of whoever runs this: those of the past go.
    old = filled(model)
    expected = old.count(Filter(older_than=datetime.now(UTC)))
    with running(model, old, retain=1.0) as gone:
        wait_for(lambda: len(gone.service.gallery) == 60 - expected)
        log = gone.get("/v1/audit").json()["entries"]
        assert [entry["count"] for entry in log if entry["action"] == "remove"] == ([expected] if expected else [])


def test_old_rows_are_removed_at_last_whatever_fails_at_first(model, gallery, monkeypatch, caplog):
    gallery.add_vectors(np.ones((1, model.dim), np.float32), [Row("old", time=datetime(2000, 1, 1, tzinfo=UTC))])
    count, failures = gallery.count, [RuntimeError("of a library"), KeyError("of another")]

    def fail(*matching):
        if matching and failures:
            raise failures.pop()
        return count(*matching)

    monkeypatch.setattr(gallery, "count", fail)
    monkeypatch.setattr(service_module, "RETENTION_SECONDS", 0.01)
    with running(model, gallery, retain=1e8):
        wait_for(lambda: "old" not in gallery)
    assert caplog.text.count("it is tried again in an hour") == 2


def test_old_rows_may_take_longer_than_a_request(model, gallery, monkeypatch, caplog):
    """It was said that they could not be removed, and they were."""
    gallery.add_vectors(np.ones((1, model.dim), np.float32), [Row("old", time=datetime(2000, 1, 1, tzinfo=UTC))])
    remove = gallery.remove_matching

    def slowly(*given):
        time.sleep(0.5)
        return remove(*given)

    monkeypatch.setattr(gallery, "remove_matching", slowly)
    with running(model, gallery, retain=1e8, timeout=0.2) as service:
        wait_for(lambda: "old" not in gallery)
        wait_for(lambda: 'reidkit_gallery_changes_total{kind="removed"} 1.0' in service.get("/metrics").text)
    assert "could not be removed" not in caplog.text


def test_a_removal_that_forgets_its_cancellation_ends_with_the_service(model, gallery):
    """As one may do whose answer comes at that very moment: it would sleep for an hour, and the stop with it."""
    service = create_app(gallery, model, ServiceSettings(retain=1e8)).state.service

    async def stopped() -> None:
        service.state = "stopping"
        await asyncio.wait_for(service._retain(), 60)
        await service.stop()

    asyncio.run(stopped())


def test_pictures_of_a_folder_and_of_nothing_else(model, tmp_path):
    root, secret = tmp_path / "pictures", tmp_path / "secret.jpg"
    (root / "door").mkdir(parents=True)
    secret.write_bytes(picture(1))
    (root / "door" / "a.jpg").write_bytes(picture(2, (600, 300)))
    (root / "door" / "text.jpg").write_bytes(b"no picture")
    (root / "link.jpg").symlink_to(secret)
    paths = {
        "inside": "door/a.jpg",
        "absolute": str(root / "door" / "a.jpg"),
        "above": "../secret.jpg",
        "outside": str(secret),
        "link": "link.jpg",
        "folder": "door",
        "text": "door/text.jpg",
        "gone": "door/gone.jpg",
        "none": None,
    }
    gallery = MemoryGallery(model)
    gallery.add_vectors(np.eye(len(paths), 64, dtype=np.float32), [Row(key, image=path) for key, path in paths.items()])
    with running(model, gallery, images=root) as made:
        shown = {key: made.get(f"/v1/images/{key}") for key in paths}
    assert {key for key, answer in shown.items() if answer.status_code == 200} == {"inside", "absolute"}
    assert Image.open(io.BytesIO(shown["inside"].content)).size == (128, 256)
    with pytest.raises(ValueError, match="no folder"):
        ServiceSettings(images=secret)
