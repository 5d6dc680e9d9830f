"""Rows of the gallery: put, read, removed; their pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import Request, Response
from starlette.responses import JSONResponse

from reidkit.errors import DataError, UsageError
from reidkit.gallery import Filter
from reidkit.gallery.row import LONGEST_KEY, check_text
from reidkit.serve.answers import KEPT_BY_ITS_OWNER, entity_tag, row_answer
from reidkit.serve.bodies import ROWS_BYTES, Body, read_body
from reidkit.serve.messages import (
    DeleteRequest,
    NewRow,
    RowContent,
    RowsRequest,
    decode_vector,
    validated,
    whole_number,
)
from reidkit.serve.problems import Problem, invalid
from reidkit.serve.service import COPY_SIDE, LOGGED_RESULTS, Service, service_of
from reidkit.serve.uploads import decode_upload, encode_copy
from reidkit.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reidkit.gallery import Added, Row

Made = tuple["Row", "NDArray[np.float32]", "bytes | None"]
"""A row, its feature [D], and a small JPEG where it came as a picture."""

MOST_ROWS = 1000


async def put_row(request: Request) -> Response:
    """Add a row, or replace the one of this key. It is on the disk when this is answered."""
    service = service_of(request)
    service.actor(request, "write")
    key = key_of(request)
    only_add = request.headers.get("if-none-match") == "*"
    with service.admission.place() as place:
        body = await read_body(request, service.settings, place.take, pictures=("image",))
        with service.admission.work():
            if len(body.images) > 1:
                raise invalid("/image", "a row has one picture")
            content = validated(RowContent, body.value)
            if only_add and await service.in_gallery(service.gallery.get, key) is not None:
                raise Problem("already-there", key=key)
            wanted = NewRow.model_construct(**dict(content), key=key, image=0 if body.images else None)
            (made,) = await _made(service, request, [wanted], body)
            if isinstance(made, Problem):
                raise made
            added = await _stored(service, request, [made], "skip" if only_add else "replace")
    status = added.status[0]
    if only_add and status != "added":  # somebody else has added it meanwhile
        raise Problem("already-there", key=key)
    return JSONResponse({**row_answer(made[0]), "status": status}, 201 if status == "added" else 200)


async def post_rows(request: Request) -> Response:
    """Add or replace up to 1,000 rows. They are on the disk when this is answered; each may fail alone."""
    service = service_of(request)
    service.actor(request, "write")
    with service.admission.place() as place:
        body = await read_body(request, service.settings, place.take, json_bytes=ROWS_BYTES, pictures=("image",))
        with service.admission.work():
            wanted = validated(RowsRequest, body.value)
            found = await _made(service, request, wanted.rows, body)
            failed = [
                _failed(index, wanted.rows[index].key, each)
                for index, each in enumerate(found)
                if isinstance(each, Problem)
            ]
            good = [(index, each) for index, each in enumerate(found) if not isinstance(each, Problem)]
            added = await _stored(service, request, [each for _, each in good], wanted.on_conflict)
    conflict = Problem("key-conflict")
    failed += [
        _failed(index, made[0].key, conflict)
        for (index, made), status in zip(good, added.status, strict=True)
        if status == "conflict"
    ]
    counts = {status: added.status.count(status) for status in ("added", "replaced", "unchanged")}
    return JSONResponse({**counts, "failed": sorted(failed, key=lambda each: int(each["index"]))})


async def get_row(request: Request) -> Response:
    """Say what is known of a row."""
    service = service_of(request)
    service.actor(request, "search")
    row = await service.in_gallery(service.gallery.get, key_of(request))
    if row is None:
        raise Problem("not-found", "There is no row of this key.")
    return JSONResponse(row_answer(row))


async def delete_row(request: Request) -> Response:
    """Remove a row; it is gone afterwards, also where it was not there."""
    service = service_of(request)
    service.actor(request, "write")
    key = key_of(request)
    await service.record(request, "remove", keys=[key])
    removed = await service.in_gallery(service.gallery.remove, [key], missing_ok=True)
    service.telemetry.changes.labels("removed").inc(removed)
    return Response(status_code=204)


async def list_rows(request: Request) -> Response:
    """List rows in the order in which they were added, some at a time."""
    service = service_of(request)
    service.actor(request, "search")
    given = request.query_params
    limit = whole_number(given.get("limit", "100"), "limit", 1, MOST_ROWS)
    pids = [whole_number(pid, "pid") for pid in given.getlist("pid")] or None
    try:
        matching = Filter(
            cameras=given.getlist("camera") or None,
            pids=pids,
            tracks=given.getlist("track") or None,
            since=given.get("since"),  # type: ignore[arg-type]  # the filter reads text
            until=given.get("until"),  # type: ignore[arg-type]
        )
    except UsageError as error:
        raise invalid(f"/{error.argument.removesuffix('s')}", str(error).partition(": ")[2]) from None
    page = await service.in_gallery(service.gallery.rows, matching, limit=limit, cursor=given.get("cursor", ""))
    return JSONResponse({"rows": [row_answer(row) for row in page.rows], "next": page.next})


async def delete_rows(request: Request) -> Response:
    """Remove all rows that meet a filter, or count them."""
    service = service_of(request)
    service.actor(request, "write")
    body = await read_body(request, service.settings)
    wanted = validated(DeleteRequest, body.value)
    matching = wanted.filter.as_filter()
    if not matching:
        raise invalid("/filter", "an empty filter would remove everything: name what is to go")
    count = await service.in_gallery(service.gallery.count, matching)
    if wanted.expect is not None and wanted.expect != count:
        raise Problem("expect-mismatch", f"The filter fits {counted(count, 'row')}.", count=count)
    if not wanted.dry_run:
        said = wanted.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        await service.record(request, "remove", wanted=said, count=count)
        count = await service.in_gallery(service.gallery.remove_matching, matching, expect=wanted.expect)
        service.telemetry.changes.labels("removed").inc(count)
    return JSONResponse({"count": count, "removed": not wanted.dry_run})


async def get_image(request: Request) -> Response:
    """Return a small picture of a row: the copy that came with it, or one of its file."""
    service = service_of(request)
    service.actor(request, "search")
    data = await service.in_gallery(_thumbnail, service, key_of(request))
    if data is None:
        raise Problem("not-found", "There is no picture of this key.")
    tag = entity_tag(data)
    headers = {"ETag": tag, **KEPT_BY_ITS_OWNER}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type="image/jpeg", headers=headers)


def _thumbnail(service: Service, key: str) -> bytes | None:
    """Return a small JPEG of a row, which holds nothing but the picture; None where there is none.

    The path of a file comes from the gallery and never from the client, and what lies outside of the folder that was
    named when the service was started is not there, whichever way a link leads.
    """
    if (stored := service.gallery.thumbnail(key)) is not None:
        return stored
    root, row = service.settings.images or service.settings.videos, service.gallery.get(key)
    if root is None or row is None or row.image is None:
        return None
    try:
        inside, path = root.resolve(), (root / row.image).resolve()
        if not path.is_relative_to(inside) or not path.is_file() or path.stat().st_size > service.settings.upload.bytes:
            return None
        return encode_copy(decode_upload(path.read_bytes(), service.settings.upload), COPY_SIDE)
    except (OSError, ValueError, Problem):
        return None


def key_of(request: Request) -> str:
    """Return the key in the path, in its normal form.

    Raises:
        Problem: `invalid`: it cannot be one.
    """
    try:
        return check_text(request.path_params["key"], "a key", LONGEST_KEY)
    except DataError as error:
        raise invalid("/key", str(error)) from None


async def _made(service: Service, request: Request, wanted: Sequence[NewRow], body: Body) -> list[Made | Problem]:
    """Return rows with their features; a problem for each one that has none."""
    pictures = [data for _, data in body.images]
    used = [each.image for each in wanted if each.image is not None and each.image < len(pictures)]
    embedded = iter(await service.embed(request, [pictures[number] for number in used], copies=True) if used else [])
    found: list[Made | Problem] = []
    for index, each in enumerate(wanted):
        try:
            with_picture = next(embedded) if each.image is not None and each.image < len(pictures) else None
            found.append(_one(service, each, with_picture, f"/rows/{index}"))
        except Problem as problem:
            found.append(problem)
    return found


def _one(
    service: Service, wanted: NewRow, embedded: tuple[NDArray[np.float32], bytes] | Problem | None, pointer: str
) -> Made:
    """Return a row, its feature, and a small copy of its picture: None where the feature was sent.

    Raises:
        Problem: neither or both were sent, the feature is another model's, or the row cannot be one.
    """
    if isinstance(embedded, Problem):
        raise embedded
    try:
        row = wanted.row(wanted.key)
    except DataError as error:
        raise invalid(pointer, str(error)) from None
    if wanted.vector is not None and wanted.image is None:
        if wanted.model != service.model:
            raise Problem("model-mismatch", gallery=service.model, given=wanted.model)
        return row, decode_vector(wanted.vector, service.embedder.dim, f"{pointer}/vector"), None
    if embedded is None or wanted.vector is not None:
        raise invalid(pointer, "send either a picture, or `vector` with `model`")
    return row, *embedded


async def _stored(service: Service, request: Request, made: list[Made], on_conflict: str) -> Added:
    """Write rows to the gallery: first into the log that they will be, then themselves."""
    from reidkit.gallery import Added

    if not made:
        return Added()
    keys = [row.key for row, _, _ in made]
    await service.record(request, "write", keys=keys[:LOGGED_RESULTS], count=len(keys), on_conflict=on_conflict)
    added = await service.in_gallery(
        service.gallery.add_vectors,
        np.stack([vector for _, vector, _ in made]),
        [row for row, _, _ in made],
        model=service.model,
        thumbnails=[picture for _, _, picture in made],
        on_conflict=on_conflict,
    )
    for kind in ("added", "replaced"):
        service.telemetry.changes.labels(kind).inc(added.status.count(kind))
    return added


def _failed(index: int, key: str, problem: Problem) -> dict[str, Any]:
    return {"index": index, "key": key, "problem": problem.body()}
