"""Bodies of requests: read while they are counted, cut into parts, and never longer than they may be."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reidkit import strict_json
from reidkit.serve.problems import Problem, invalid
from reidkit.serve.uploads import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from starlette.requests import Request

    from reidkit.serve.settings import ServiceSettings

JSON_BYTES = 2**20
ROWS_BYTES = 32 * 2**20
"""Of JSON with the features of 1,000 rows."""
PARTS = 20
HEADER_BYTES = 8 * 2**10
"""Of each part."""


@dataclass
class Body:
    """What a request brought: its JSON, and its pictures by the names of their parts."""

    value: Any = None
    images: list[tuple[str, bytes]] = field(default_factory=list)

    def named(self, name: str) -> list[bytes]:
        """Return the pictures of the parts with this name."""
        return [data for part, data in self.images if part == name]


async def read_body(
    request: Request,
    settings: ServiceSettings,
    take: Callable[[int], None] | None = None,
    *,
    json_bytes: int = JSON_BYTES,
    pictures: Collection[str] = (),
) -> Body:
    """Read the body of a request: JSON, one picture, or a form with a part `request` of JSON and parts of pictures.

    File names are ignored, and so is what a part says of its own type. `take` is told of bytes as they arrive.
    `pictures` are the names that parts of pictures may have: a part that is passed over would be missed in the answer.

    Raises:
        Problem: `unsupported-type`, `too-large`, `body-too-slow`, `bad-request`, `invalid`.
    """
    body = await _read(request, settings, take, json_bytes)
    for name, _ in body.images:
        if name not in pictures:
            names = " or ".join(f"`{each}`" for each in pictures)
            raise invalid(
                f"/{name}", f"there is no such part: a picture is {names}" if names else "send no picture here"
            )
    return body


async def _read(
    request: Request, settings: ServiceSettings, take: Callable[[int], None] | None, json_bytes: int
) -> Body:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported-type", "Bodies are not taken compressed.")
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared == "application/json":
        return Body(parse_json(await _whole(request, json_bytes, settings, take)))
    if declared == "multipart/form-data":
        most = settings.images_per_request * settings.upload.bytes + JSON_BYTES + PARTS * HEADER_BYTES
        return _Form(request.headers["content-type"], settings).parts(await _whole(request, most, settings, take))
    data = await _whole(request, settings.upload.bytes, settings, take)
    if not declared.startswith("image/") and kind_of(data) is None:
        raise Problem("unsupported-type", "Send application/json, multipart/form-data, or a picture.")
    return Body(images=[("image", data)])


def parse_json(data: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        Problem: `bad-request`.
    """
    try:
        value = strict_json.parse(data)
    except strict_json.JsonError as error:
        raise Problem("bad-request", f"The body is not JSON: {error}.") from None
    return value


async def _whole(request: Request, limit: int, settings: ServiceSettings, take: Callable[[int], None] | None) -> bytes:
    """Read a body, counting: what `Content-Length` says is believed only where it says too much."""
    said = request.headers.get("content-length", "0")
    if re.fullmatch(r"\d{1,18}", said, re.ASCII) is None or int(said) > limit:
        raise Problem("too-large", limit_bytes=limit)
    chunks, count = [], 0
    try:
        async with asyncio.timeout(settings.body_timeout):
            async for chunk in request.stream():
                count += len(chunk)
                if count > limit:
                    raise Problem("too-large", limit_bytes=limit)
                if take:
                    take(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise Problem("body-too-slow") from None
    return b"".join(chunks)


class _Form:
    """A form in parts (RFC 7578), in memory: its length is limited already, and no part becomes a file."""

    def __init__(self, content_type: str, settings: ServiceSettings) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(content_type)
        self._boundary = options.get(b"boundary", b"")
        if not 1 <= len(self._boundary) <= 70:
            raise Problem("bad-request", "The form has no boundary.")
        self._settings = settings
        self._found: list[tuple[str, bytes]] = []
        self._content = bytearray()
        self._header = {"name": bytearray(), "value": bytearray()}
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._ended = False

    def parts(self, data: bytes) -> Body:
        """Take the form apart."""
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser

        calls: Any = {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_header_field": lambda *piece: self._piece("name", *piece),
            "on_header_value": lambda *piece: self._piece("value", *piece),
            "on_header_end": self._header_end,
            "on_end": self._finish,
        }
        try:
            parser = MultipartParser(self._boundary, calls)
            parser.write(data)
            parser.finalize()
        except FormParserError:
            raise Problem("bad-request", "The form is malformed.") from None
        if not self._ended:
            raise Problem("bad-request", "The form is cut short.")
        return self._body()

    def _begin(self) -> None:
        if len(self._found) >= PARTS:
            raise Problem("too-large", f"The form has more than {PARTS} parts.", limit_parts=PARTS)
        self._content, self._headers, self._header_bytes = bytearray(), {}, 0

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _piece(self, which: str, data: bytes, start: int, end: int) -> None:
        self._header_bytes += end - start
        if self._header_bytes > HEADER_BYTES:
            raise Problem("too-large", "The headers of a part are too long.", limit_bytes=HEADER_BYTES)
        self._header[which] += data[start:end]

    def _header_end(self) -> None:
        self._headers[bytes(self._header["name"]).lower()] = bytes(self._header["value"])
        self._header = {"name": bytearray(), "value": bytearray()}

    def _end(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise Problem("bad-request", "A part of the form has no name.")
        self._found.append((options[b"name"].decode("utf-8", "replace")[:64], bytes(self._content)))

    def _finish(self) -> None:
        self._ended = True

    def _body(self) -> Body:
        """Return what the parts of the form hold.

        Raises:
            Problem: two requests, or more or larger pictures than are taken.
        """
        body = Body()
        for name, data in self._found:
            if name != "request":
                body.images.append((name, data))
                continue
            if body.value is not None:
                raise Problem("bad-request", "The form has two parts `request`.")
            if len(data) > JSON_BYTES:
                raise Problem("too-large", limit_bytes=JSON_BYTES)
            body.value = parse_json(data)
        if len(body.images) > self._settings.images_per_request:
            raise Problem(
                "too-large", "The form has too many pictures.", limit_images=self._settings.images_per_request
            )
        if any(len(data) > self._settings.upload.bytes for _, data in body.images):
            raise Problem("too-large", limit_bytes=self._settings.upload.bytes)
        return body
