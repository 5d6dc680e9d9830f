"""Who may do what: tokens and roles, sessions, hosts and origins, headers."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from reidkit.errors import UsageError
from reidkit.serve.security import allowed_hosts
from reidkit.serve.server import address_here
from reidkit.serve.settings import ServiceSettings, is_loopback, seconds
from reidkit.serve.tokens import ROLES, new_token
from tests.serve.conftest import filled, picture, running, search, wait_for
from tests.serve.test_app import problem

SEARCH = {"query": [{"key": "hall/001.jpg"}]}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """A token for each role, and the file that knows them."""
    made = {role: new_token(role, [role]) for role in ROLES}
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    path.write_text("\n".join(line for _, line in made.values()))
    path.chmod(0o600)
    return path, {role: {"Authorization": f"Bearer {token}"} for role, (token, _) in made.items()}


@pytest.fixture
def guarded(model, tokens):
    with running(model, filled(model), token_file=tokens[0]) as made:
        yield made


def test_each_role_does_its_own(guarded, tokens):
    _, by = tokens
    calls = {
        "search": [("GET", "/v1/info"), ("GET", "/v1/rows"), ("GET", "/v1/images/door%2F000.jpg")],
        "write": [("DELETE", "/v1/rows/door%2F000.jpg")],
        "audit": [("GET", "/v1/audit")],
        "metrics": [("GET", "/metrics")],
    }
    for needed, some in calls.items():
        for method, path in some:
            for role in ROLES:
                answer = guarded.request(method, path, headers=by[role])
                if role == needed:
                    assert answer.status_code < 300, (method, path, role)
                else:
                    assert problem(answer, 403, "role-missing")["role"] == needed
            refused = guarded.request(method, path)
            problem(refused, 401, "token-required")
            assert refused.headers["www-authenticate"] == "Bearer"


def test_the_log_names_who_was_refused(guarded, tokens, caplog):
    with caplog.at_level("INFO", "reidkit.serve"):
        guarded.delete("/v1/rows/door%2F000.jpg", headers=tokens[1]["search"])
        # The line has the time that the answer took, and so it is written after the answer.
        wait_for(lambda: " search DELETE /v1/rows/{key:path} 403 " in caplog.text)


def test_health_needs_no_token_and_says_nothing(guarded):
    assert guarded.get("/health/ready").json() == {"status": "ready"}


@pytest.mark.parametrize("header", ["Bearer x", "Bearer", "Basic eDp5", "", "Bearer rk_" + "a" * 10_000, "bearer é"])
def test_wrong_tokens(guarded, header):
    problem(guarded.get("/v1/info", headers={"Authorization": header.encode("utf-8")}), 401, "token-wrong")


def test_after_ten_wrong_tokens_nobody_is_heard(guarded, tokens):
    for _ in range(10):
        problem(guarded.get("/v1/info", headers={"Authorization": "Bearer x"}), 401, "token-wrong")
    refused = guarded.get("/v1/info", headers=tokens[1]["search"])
    problem(refused, 429, "too-many-attempts")
    assert 1 <= int(refused.headers["retry-after"]) <= 61


def test_a_session_of_the_page(guarded, tokens):
    token = tokens[1]["search"]["Authorization"].removeprefix("Bearer ")
    problem(guarded.post("/v1/session", json={"token": "x"}), 401, "token-wrong")
    signed = guarded.post("/v1/session", json={"token": token})
    assert signed.json() == {"name": "search", "roles": ["search"]}
    cookie = signed.headers["set-cookie"].lower()
    for word in ("httponly", "samesite=strict", "path=/", "max-age=28800"):
        assert word in cookie
    assert token.lower() not in cookie
    assert guarded.get("/v1/info").json()["actor"] == {"name": "search", "roles": ["search"], "signed_in": True}
    assert guarded.get("/v1/images/door%2F000.jpg").status_code == 200
    session = dict(guarded.cookies)
    assert guarded.delete("/v1/session").status_code == 204
    guarded.cookies.update(session)
    problem(guarded.get("/v1/info"), 401, "token-required")


def test_a_session_ends_with_its_token(guarded, tokens):
    path, by = tokens
    guarded.post("/v1/session", json={"token": by["search"]["Authorization"].removeprefix("Bearer ")})
    assert guarded.get("/v1/info").status_code == 200
    before = path.read_text()
    path.write_text("\n".join(line for line in before.splitlines() if not line.startswith("search ")))
    try:
        guarded.service.tokens.reload()
        problem(guarded.get("/v1/info"), 401, "token-required")
        problem(guarded.get("/v1/info", headers=by["search"]), 401, "token-wrong")
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_other_sites_are_refused(client, headers):
    problem(client.post("/v1/search", json=SEARCH, headers=headers), 403, "foreign-origin")
    problem(client.get("/v1/rows", headers=headers), 403, "foreign-origin")


def test_a_link_to_the_page_is_followed(client):
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=followed).status_code == 200
    problem(
        client.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}), 403, "foreign-origin"
    )


def test_the_page_itself_is_heard(client):
    origin = str(client.base_url).rstrip("/")
    own = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/search", json=SEARCH, headers=own).status_code == 200


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1:1", "", "127.0.0.1.example.org", "[::1]"])
def test_a_name_that_is_made_to_point_here_is_refused(client, host):
    problem(client.get("/v1/rows", headers={"Host": host}), 403, "foreign-host")
    assert client.get("/health/live", headers={"Host": host}).status_code in (200, 400)


def test_names_by_which_a_service_may_be_called():
    assert allowed_hosts("127.0.0.1", 8000, ()) == {"127.0.0.1:8000", "localhost:8000", "[::1]:8000"}
    behind = allowed_hosts("0.0.0.0", 80, ("Reid.example.org", "other:8443"))  # noqa: S104
    assert {"reid.example.org", "reid.example.org:80", "localhost", "other:8443"} <= behind
    assert "0.0.0.0:80" not in behind
    assert "[fd00::1]:9" in allowed_hosts("fd00::1", 9, ())


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1", "fd00::1", "192.168.1.7"])  # noqa: S104
def test_the_address_that_is_named_is_one_that_is_answered(host):
    address = address_here(host, 8000)
    assert urlsplit(address).netloc in allowed_hosts(host, 8000, ()), address


def test_every_answer_has_the_headers(client):
    for answer in (client.get("/"), client.get("/v1/rows"), client.get("/nothing"), client.post("/v1/search", json={})):
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert "camera=(self)" in headers["permissions-policy"]
        assert headers["x-request-id"]
        assert "access-control-allow-origin" not in headers
    assert client.get("/v1/rows").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
@pytest.mark.parametrize(
    "key",
    [
        "..%2f..%2fetc%2fpasswd",
        "%2Fetc%2Fpasswd",
        "C%3A%5Cboot.ini",
        "..%5c..%5cx",
        "a%00b",
        "%0d%0aSet-Cookie: x",
        "CON",
        "file%3A%2F%2F%2Fetc%2Fpasswd",
        "%F0%9F%98",
        "a" * 600,
    ],
)
def test_path_tricks_find_nothing(client, method, key):
    for path in ("rows", "images"):
        if path == "images" and method != "GET":
            continue
        answer = client.request(method, f"/v1/{path}/{key}")
        assert answer.status_code in (204, 404, 415, 422), (path, key, answer.text)
        assert b"root:" not in answer.content


def test_where_a_service_may_listen():
    for host in ("127.0.0.1", "::1", "[::1]", "localhost", "127.8.8.8"):
        assert is_loopback(host)
    for host in ("0.0.0.0", "::", "192.168.1.1", "example.org", ""):  # noqa: S104
        assert not is_loopback(host)
        with pytest.raises(UsageError, match="token_file"):
            ServiceSettings(host=host)


def test_lengths_of_time():
    assert [seconds(text, "retain") for text in ("90m", "72h", "30d")] == [5400, 259_200, 2_592_000]
    for text in ("72", "h", "-1h", "0h", "1.5h", "9999999d", "٣d"):
        with pytest.raises(UsageError, match="length of time"):
            seconds(text, "retain")
    for wrong in ({"port": 70_000}, {"wait": 0.0}, {"batch": 0}, {"timeout": float("nan")}):
        with pytest.raises(UsageError):
            ServiceSettings(**wrong)


def test_a_purpose_is_asked_for(model, gallery):
    with running(model, gallery, require_purpose=True) as asked:
        problem(search(asked, {}, picture(1)), 422, "purpose-required")
        problem(asked.post("/v1/search", json=SEARCH, headers={"X-Purpose": "%20"}), 422, "purpose-required")
        assert (
            asked.post("/v1/search", json=SEARCH, headers={"X-Purpose": "lost child, M%C3%BCnchen"}).status_code == 200
        )
        assert asked.post("/v1/search", json={**SEARCH, "purpose": "case 8"}).status_code == 200
        log = [entry for entry in asked.get("/v1/audit").json()["entries"] if entry["action"] == "search"]
        assert [entry["purpose"] for entry in log] == ["lost child, München", "case 8"]


def test_the_log_says_who_searched_for_whom(guarded, tokens):
    _, by = tokens
    found = search(
        guarded, {"limit": 2, "filter": {"camera": {"in": ["door"]}}}, picture(5), headers=by["search"]
    ).json()
    answer = guarded.get("/v1/audit", params={"actor": "search"}, headers=by["audit"])
    (entry,) = answer.json()["entries"]
    assert entry["request"] == found["search_id"]
    assert entry["results"] == [[hit["key"], round(hit["similarity"], 4)] for hit in found["results"]]
    assert entry["wanted"] == {"limit": 2, "filter": {"camera": {"in": ["door"]}}}
    assert entry["images"][0].startswith("sha256:")
    assert entry["passed_filter"] == 20
    again = guarded.get("/v1/audit", params={"actor": "audit"}, headers=by["audit"]).json()["entries"]
    assert [each["action"] for each in again] == ["audit", "audit"], "reading the log is an entry, too"
    later = guarded.get("/v1/audit", params={"from": "2999-01-01T00:00:00Z"}, headers=by["audit"]).json()
    assert later["entries"] == []
    for wrong in ("from=never", "limit=x", "after=-1"):
        problem(guarded.get(f"/v1/audit?{wrong}", headers=by["audit"]), 422, "invalid")
