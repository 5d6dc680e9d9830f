"""What can go wrong with a request, as problem details (RFC 9457): the one list of names, statuses and titles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reidkit.errors import DataError, UsageError

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """The status and the title of a problem, and what somebody who meets it can do."""

    status: int
    title: str
    remedy: str


PROBLEMS: dict[str, Kind] = {
    "bad-request": Kind(
        400, "The request is malformed", "Send a body of the media type and the form of /v1/openapi.json."
    ),
    "image-unreadable": Kind(400, "The image cannot be read", "Send a whole JPEG, PNG or WebP file of one picture."),
    "bad-cursor": Kind(400, "The cursor is not one of this service", "Start again without `cursor`."),
    "token-required": Kind(401, "A token is needed", "Send `Authorization: Bearer TOKEN`, or sign in on the page."),
    "token-wrong": Kind(401, "The token is not known", "Ask the operator of this service for a token."),
    "role-missing": Kind(403, "The token may not do this", "Ask for a token with the role that `role` names."),
    "foreign-host": Kind(403, "The host name is not one of this service", "Start it with `--allow-host NAME`."),
    "foreign-origin": Kind(
        403, "The request comes from another site", "Call the service from its own page, or by a program."
    ),
    "not-found": Kind(404, "There is nothing here", "See /v1/openapi.json for the paths, and /v1/rows for the keys."),
    "method-not-allowed": Kind(405, "This path does not take this method", "`Allow` names those that it takes."),
    "body-too-slow": Kind(408, "The body did not arrive in time", "Send it again over a faster connection."),
    "key-conflict": Kind(409, "The key is taken by other content", "Send PUT to replace it."),
    "expect-mismatch": Kind(409, "The filter fits another number of rows", "Look at `count`, and send it as `expect`."),
    "model-mismatch": Kind(409, "The features are another model's", "Embed the images with the model of the gallery."),
    "already-there": Kind(412, "The key is in the gallery already", "Leave out `If-None-Match` to replace it."),
    "too-large": Kind(
        413, "The body is too large", "`limit_bytes` is the limit; send a smaller image or fewer of them."
    ),
    "too-many-pixels": Kind(413, "The image has too many pixels", "`limit_pixels` is the limit; send a smaller image."),
    "unsupported-type": Kind(415, "This kind of content is not taken", "Send JPEG, PNG or WebP; JSON for the rest."),
    "range-not-there": Kind(416, "The clip has no such bytes", "`Content-Range` says how many it has."),
    "invalid": Kind(422, "A value cannot be used", "`errors` names each by its place."),
    "purpose-required": Kind(
        422, "A purpose must be given", "Send the header `X-Purpose` with the reason of the search."
    ),
    "overloaded": Kind(429, "The service is busy", "Wait as many seconds as `Retry-After` says."),
    "too-many-attempts": Kind(429, "Too many wrong tokens", "Wait as many seconds as `Retry-After` says."),
    "internal": Kind(500, "The service failed", "Its log has the reason under the number in `instance`."),
    "loading": Kind(503, "The service is starting", "Wait as many seconds as `Retry-After` says."),
    "stopping": Kind(503, "The service is stopping", "Try again when it has been started again."),
    "timed-out": Kind(503, "The request waited too long", "Wait as many seconds as `Retry-After` says."),
    "storage-full": Kind(
        503,
        "The gallery cannot be read or written",
        "Its operator has to make room, or put its file back: the log has the reason.",
    ),
    "audit-unavailable": Kind(503, "The audit log cannot be written", "Nothing is answered that cannot be logged."),
}


class Problem(Exception):  # noqa: N818 (the name of the standard)
    """A request that is refused, by the name of its problem.

    Attributes:
        name: One of `PROBLEMS`.
        detail: One sentence about this request.
        extensions: More members of the answer, as `limit_bytes`.
        retry_after: Seconds after which it is worth trying again; None where that does not help.
    """

    def __init__(self, name: str, detail: str = "", *, retry_after: int | None = None, **extensions: Any) -> None:
        super().__init__(detail or PROBLEMS[name].title)
        self.name, self.detail, self.extensions = name, detail or PROBLEMS[name].remedy, extensions
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return PROBLEMS[self.name].status

    def body(self, request_id: str = "") -> dict[str, Any]:
        """Return the members of the answer; `instance` is there where the request has a number."""
        kind = PROBLEMS[self.name]
        members: dict[str, Any] = {
            "type": f"/problems/{self.name}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
        }
        if request_id:
            members["instance"] = f"urn:uuid:{request_id}"
        return members | self.extensions

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to it."""
        found = {}
        if self.retry_after is not None:
            found["Retry-After"] = str(max(1, self.retry_after))
        if self.status == 401:
            found["WWW-Authenticate"] = "Bearer"
        if self.name == "range-not-there":
            found["Content-Range"] = f"bytes */{self.extensions['size']}"
        return found


def invalid(pointer: str, detail: str) -> Problem:
    """Return the problem of one value, by its place; "" is the whole request."""
    return Problem(
        "invalid", f"{pointer}: {detail}" if pointer else detail, errors=[{"pointer": pointer, "detail": detail}]
    )


PLACES = {
    "cameras": "/filter/camera/in",
    "not_cameras": "/filter/camera/not_in",
    "tracks": "/filter/track/in",
    "keys": "/filter/key/in",
    "not_keys": "/filter/key/not_in",
    "attributes": "/filter/attributes",
    "query_camera": "/camera",
    "offset": "/offset",
    "radius": "/radius",
}
"""Where an argument that the library may refuse, though the form of the request is right, stands in its JSON."""


def refused(error: UsageError | DataError) -> Problem:
    """Return the problem of what the library refuses."""
    if error.argument == "cursor":
        return Problem("bad-cursor", str(error))
    return invalid(PLACES.get(error.argument, ""), str(error).removeprefix(f"{error.argument}: "))


def encode(members: Mapping[str, Any]) -> bytes:
    """Return the bytes of a JSON body."""
    return json.dumps(members, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def page(name: str) -> str | None:
    """Return what stands under the address of a problem's type; None where there is none of this name."""
    if (kind := PROBLEMS.get(name)) is None:
        return None
    return f"{kind.title} ({kind.status}, {name})\n\n{kind.remedy}\n"


SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "Problem details (RFC 9457). Which members there are beside the first four depends on `type`.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "Names the problem: /problems/NAME, where its remedy stands."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "The number of the request, as in the header X-Request-ID."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
    "example": {
        "type": "/problems/overloaded",
        "title": "The service is busy",
        "status": 429,
        "detail": "About 3.2 s of work are waiting.",
        "instance": "urn:uuid:6d1f6a3e-6a53-4d2c-9a53-0c8a6b0f7c52",
    },
}
"""The JSON schema of the answer."""
