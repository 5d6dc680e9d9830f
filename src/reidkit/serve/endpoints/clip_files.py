"""The clip of a row: the moment of its video in which it was seen."""

from __future__ import annotations

import re

from fastapi import Request, Response

from reidkit.serve.answers import KEPT_BY_ITS_OWNER, entity_tag
from reidkit.serve.endpoints.rows import key_of
from reidkit.serve.problems import Problem
from reidkit.serve.service import service_of

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


async def get_clip(request: Request) -> Response:
    """Return the moment of the video in which a row was seen, with a box around the person: MP4, also in ranges.

    Each is noted in the audit log before it is sent.
    """
    service = service_of(request)
    service.actor(request, "search")
    key = key_of(request)
    data = await service.clips.get(key, service.settings.timeout)
    tag = entity_tag(data)
    headers = {"ETag": tag, "Accept-Ranges": "bytes", **KEPT_BY_ITS_OWNER}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    await service.record(request, "clip", key=key)
    wanted = None if request.headers.get("if-range", tag) != tag else request.headers.get("range")
    part = part_of(wanted, len(data))
    if part is None:
        return Response(data, media_type="video/mp4", headers=headers)
    first, last = part
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, media_type="video/mp4", headers=headers)


def part_of(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and the last byte that a header `Range` asks for; None: all, as of what is none or several.

    Raises:
        Problem: `range-not-there`.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or not any(found.groups()):
        return None
    begin, end = found.groups()
    first = int(begin) if begin else max(0, size - int(end))
    last = min(int(end), size - 1) if begin and end else size - 1
    if begin and end and int(end) < first:
        return None
    if first >= size:
        raise Problem("range-not-there", size=size)
    return first, last
