"""What every request passes: its number, its host and origin, the headers of its answer, its line in the log."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reidkit.serve.problems import MEDIA_TYPE, Problem, encode, invalid
from reidkit.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from reidkit.serve.settings import ServiceSettings
    from reidkit.serve.telemetry import Telemetry

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Message, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("reidkit.serve")

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""Scripts and styles come from files of the service, and nothing from anywhere else."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise."""

PLAIN = frozenset({"/health/live", "/health/ready"})
"""Paths that a probe may call by whatever name it knows the machine by."""


class Shell:
    """The outermost part of a service.

    A request from another site, or for a host that this is not, is refused before anything is read: any web page can
    send a form to 127.0.0.1, and a name that is made to point there could read the answer. What fails unexpectedly is
    answered by a problem without details; the log has them under the request's number.
    """

    def __init__(self, app: Application, settings: ServiceSettings, telemetry: Telemetry) -> None:
        self._app, self._telemetry = app, telemetry
        self.hosts = allowed_hosts(settings.host, settings.port, settings.allow_hosts)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, started, status = str(uuid.uuid4()), time.monotonic(), 0
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _completed(message.get("headers", ()), request_id)
            await send(message)

        # HEAD is answered as GET: the server that runs this leaves the body out.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            self._check(scope)
            await self._app(asked, receive, send_with_headers)
        except Problem as problem:
            await _answer(problem, request_id, send_with_headers)
            self._telemetry.refused(problem.name)
        except Exception:
            LOG.exception("request %s failed", request_id)
            if status:
                raise  # the answer has begun: the connection is closed, so that nobody takes it for whole
            await _answer(Problem("internal"), request_id, send_with_headers)
        self._note({**asked, "method": scope["method"]}, status, request_id, time.monotonic() - started)

    def _check(self, scope: Message) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["path"] in PLAIN:
            return
        if "\n" in scope["path"]:  # the pattern of a route ends before one, so that another key would be meant
            raise invalid("/key", "a path with a line break names nothing: leave it out")
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            raise Problem("foreign-host", f"It is called {harmless(host)[:200]!r} here, which is none of its names.")
        # A link that somebody follows to the page shows nothing by itself; everything else from elsewhere stays out.
        followed = (scope["method"], scope["path"], headers.get("sec-fetch-mode")) == ("GET", "/", "navigate")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not followed:
            raise Problem("foreign-origin")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            raise Problem("foreign-origin")

    def _note(self, scope: Message, status: int, request_id: str, seconds: float) -> None:
        """Count the request, and write its line: no key, no query string."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._telemetry.requests.labels(method, route, str(status)).inc()
        self._telemetry.duration.labels(route).observe(seconds)
        actor = scope["state"].get("actor", "-")
        LOG.info("%s %s %s %s %d %.0f ms", request_id, actor, method, route, status, 1000 * seconds)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def allowed_hosts(host: str, port: int, more: Iterable[str]) -> frozenset[str]:
    """Return the values of the header `Host` by which a service may be called."""
    names = {"127.0.0.1", "localhost", "[::1]"}
    if host not in ("0.0.0.0", "::"):  # noqa: S104 (which are no names, and nothing is bound here)
        names.add(f"[{host}]" if ":" in host and not host.startswith("[") else host.lower())
    found = {f"{name}:{port}" for name in names}
    if port in (80, 443):
        found |= names
    for name in more:
        found |= {name.lower(), name.lower() if ":" in name else f"{name.lower()}:{port}"}
    return frozenset(found)


def _completed(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with those that all have."""
    found = [pair for pair in headers if pair[0].lower() != b"server"]
    there = {name.lower() for name, _ in found}
    found += [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.lower().encode() not in there]
    return [*found, (b"X-Request-ID", request_id.encode())]


async def _answer(problem: Problem, request_id: str, send: Send) -> None:
    body = encode(problem.body(request_id))
    headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body))} | problem.headers()
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
