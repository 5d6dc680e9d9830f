"""Embed, compare, search."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import Request, Response
from starlette.responses import JSONResponse

from reidkit.errors import DataError, UsageError
from reidkit.gallery import Query
from reidkit.metrics.calibration_file import pair_of
from reidkit.serve.answers import hits_answer
from reidkit.serve.bodies import read_body
from reidkit.serve.messages import (
    BatchRequest,
    CompareRequest,
    SearchRequest,
    decode_vector,
    encode_vector,
    validated,
)
from reidkit.serve.problems import Problem, invalid, refused
from reidkit.serve.service import LOGGED_RESULTS, Service, milliseconds, service_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.gallery import Hits


async def embed(request: Request) -> Response:
    """Turn pictures into features, which only the model of this gallery can compare."""
    service = service_of(request)
    service.actor(request, "search")
    encoding = request.query_params.get("encoding", "float")
    if encoding not in ("float", "base64"):
        raise invalid("/encoding", "it is float or base64")
    with service.admission.place() as place:
        body = await read_body(request, service.settings, place.take, pictures=("image",))
        with service.admission.work():
            if not body.images:
                raise invalid("/image", "there is no picture: send one as the body, or parts `image` of a form")
            if body.value is not None:
                raise invalid("/request", "there is no such part: leave it out")
            found = await service.embed(request, [data for _, data in body.images])
    if len(found) == 1 and isinstance(found[0], Problem):
        raise found[0]
    items: list[dict[str, Any]] = []
    for index, each in enumerate(found):
        if isinstance(each, Problem):
            items.append({"index": index, "problem": each.body()})
        else:
            vector = encode_vector(each[0]) if encoding == "base64" else each[0].tolist()
            items.append({"index": index, "vector": vector})
    return JSONResponse({"model": service.model, "dim": service.embedder.dim, "items": items})


async def compare(request: Request) -> Response:
    """Say how similar two pictures or rows are, and whether they show one person."""
    service = service_of(request)
    service.actor(request, "search")
    with service.admission.place() as place:
        body = await read_body(request, service.settings, place.take, pictures=("a", "b"))
        with service.admission.work():
            wanted = validated(CompareRequest, body.value)
            purpose = service.purpose(request, wanted.purpose)
            sides = [await _side(service, request, wanted, body.named(name), name) for name in ("a", "b")]
    (first, camera_a, what_a), (second, camera_b, what_b) = sides
    cosine = float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
    answer = {"similarity": round(cosine, 6), **_decision(service, cosine, camera_a, camera_b)}
    facts = {"a": what_a, "b": what_b, "similarity": answer["similarity"], "model": service.model}
    await service.record(request, "compare", purpose=purpose, **facts)
    return JSONResponse(answer)


async def _side(
    service: Service, request: Request, wanted: CompareRequest, images: list[bytes], name: str
) -> tuple[NDArray[np.float32], str | None, str]:
    """Return the feature [D] of one of the two, its camera, and what the log says of it."""
    key = wanted.a_key if name == "a" else wanted.b_key
    if len(images) + (key is not None) != 1:
        raise invalid(f"/{name}", f"send one part `{name}` with a picture, or `{name}_key`")
    if key is not None:
        row = await service.in_gallery(service.gallery.get, key)
        if row is None:
            raise Problem("not-found", "There is no row of this key.", pointer=f"/{name}_key")
        return (await service.in_gallery(service.gallery.vectors, [key]))[0], row.camera, row.key
    (found,) = await service.embed(request, images)
    if isinstance(found, Problem):
        raise found
    return found[0], wanted.cameras[name == "b"], _name_in_log(images[0])


def _decision(service: Service, cosine: float, first: str | None, second: str | None) -> dict[str, Any]:
    known = service.gallery.calibration
    if known is None:
        return {"probability": None, "same": None, "threshold": None, "far": None, "calibration": "none"}
    threshold = known.threshold(first, second)
    pair = first is not None and second is not None and pair_of(known, first, second)
    return {
        "probability": round(float(known.same_person(cosine, first, second)), 6),
        "same": cosine >= threshold,
        "threshold": threshold,
        "far": known.settings.far,
        "calibration": "pair" if pair else "all",
    }


async def search(request: Request) -> Response:
    """Rank the rows of the gallery by how similar they are to somebody."""
    service = service_of(request)
    service.actor(request, "search")
    started = time.monotonic()
    with service.admission.place() as place:
        body = await read_body(request, service.settings, place.take, pictures=("image",))
        with service.admission.work():
            wanted = validated(SearchRequest, body.value)
            purpose = service.purpose(request, wanted.purpose)
            pictures = body.named("image")
            query = await _query(service, request, wanted, pictures)
            hits = await _hits(service, query, wanted)
    answer = hits_answer(hits, service.model, milliseconds(started), request.state.request_id)
    await service.record(request, "search", purpose=purpose, **_facts(wanted, hits, pictures), model=service.model)
    return JSONResponse(answer)


async def search_batch(request: Request) -> Response:
    """Make several searches by keys and features, each with a result or a problem."""
    service = service_of(request)
    service.actor(request, "search")
    results: list[dict[str, Any]] = []
    with service.admission.place() as place:
        body = await read_body(request, service.settings, place.take)
        with service.admission.work():
            batch = validated(BatchRequest, body.value)
            purpose = service.purpose(request, batch.purpose)
            for wanted in batch.searches:
                started = time.monotonic()
                try:
                    hits = await _hits(service, await _query(service, request, wanted, []), wanted)
                except (Problem, UsageError, DataError) as error:
                    problem = error if isinstance(error, Problem) else refused(error)
                    results.append({"problem": problem.body()})
                    continue
                facts = _facts(wanted, hits, [])
                await service.record(request, "search", purpose=purpose or wanted.purpose, **facts, model=service.model)
                results.append(dict(hits_answer(hits, service.model, milliseconds(started), request.state.request_id)))
    return JSONResponse({"results": results})


async def _query(service: Service, request: Request, wanted: SearchRequest, pictures: list[bytes]) -> Query:
    """Return who is searched for, as the gallery takes it: pictures are features by then."""
    if wanted.model and wanted.model != service.model:
        raise Problem("model-mismatch", gallery=service.model, given=wanted.model)
    used = [part.image for part in wanted.query if part.image is not None]
    for number in used:
        if number >= len(pictures):
            raise invalid("/query", f"there is no part `image` number {number}")
    vectors = await _embedded(service, request, pictures, used if wanted.query else list(range(len(pictures))))
    keys = [part.key for part in wanted.query if part.key is not None]
    vectors += [
        decode_vector(part.vector, service.embedder.dim, f"/query/{number}/vector")
        for number, part in enumerate(wanted.query)
        if part.vector is not None
    ]
    if any((part.image is None) + (part.key is None) + (part.vector is None) != 2 for part in wanted.query):
        raise invalid("/query", "each part is one of image, key or vector")
    if not vectors and not keys:
        raise invalid("/query", "nobody is searched for: send a part `image`, a key or a vector")
    for key in {*keys, *wanted.positive, *wanted.negative}:
        if await service.in_gallery(service.gallery.get, key) is None:
            raise Problem("not-found", "A row that the query names is not in the gallery.", key=key)
    return Query(
        vectors=np.array(vectors, np.float32).reshape(-1, service.embedder.dim),
        keys=keys,
        combine=wanted.combine,
        positive=wanted.positive,
        negative=wanted.negative,
        camera=wanted.camera,
        model=service.model if vectors else "",
    )


async def _embedded(
    service: Service, request: Request, pictures: list[bytes], used: list[int]
) -> list[NDArray[np.float32]]:
    if not used:
        return []
    found = await service.embed(request, [pictures[number] for number in used])
    vectors = []
    for number, each in zip(used, found, strict=True):
        if isinstance(each, Problem):
            each.extensions["image"] = number
            raise each
        vectors.append(each[0])
    return vectors


async def _hits(service: Service, query: Query, wanted: SearchRequest) -> Hits:
    started = time.monotonic()
    hits = await service.in_gallery(service.gallery.search, query, wanted.options())
    service.telemetry.search.labels("rerank" if wanted.rerank else "scan").observe(time.monotonic() - started)
    service.telemetry.candidates.observe(hits.candidates)
    return hits


def _facts(wanted: SearchRequest, hits: Hits, pictures: list[bytes]) -> dict[str, Any]:
    """Return what the audit log keeps of a search: hashes of pictures, not pictures."""
    return {
        "images": [*map(_name_in_log, pictures)],
        "wanted": wanted.model_dump(mode="json", exclude_defaults=True, exclude={"purpose", "model"}, by_alias=True),
        "results": [[hit.key, round(hit.similarity, 4)] for hit in hits[:LOGGED_RESULTS]],
        "count": len(hits),
        "passed_filter": hits.passed,
    }


def _name_in_log(picture: bytes) -> str:
    """Return what the audit log keeps of a picture: its hash."""
    return f"sha256:{hashlib.sha256(picture).hexdigest()}"
