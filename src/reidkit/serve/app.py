"""The application: its paths, what they take and answer (OpenAPI), and how failures become problems."""

from __future__ import annotations

import mimetypes
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi import Depends, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from reidkit.errors import DataError, ReidkitError, UsageError
from reidkit.serve import answers, messages, problems
from reidkit.serve.answers import entity_tag
from reidkit.serve.endpoints import clip_files, operation, rows, search
from reidkit.serve.problems import Problem
from reidkit.serve.security import Shell
from reidkit.serve.service import LOG, Service
from reidkit.serve.settings import ServiceSettings
from reidkit.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pydantic import BaseModel

    from reidkit.encoder import Encoder
    from reidkit.gallery import Gallery
    from reidkit.serve.audit import AuditLog

REF = "#/components/schemas/{model}"
COMMON = (401, 403, 422, 429, 500, 503)
"""Statuses that every path of /v1 may answer with."""


class Operation(NamedTuple):
    """One method of one path: what answers it, in which form, and what it takes."""

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Response]]
    answer: Any = None
    takes: type[BaseModel] | None = None
    pictures: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    query: tuple[str, ...] = ()
    success: tuple[int, ...] = (200,)
    example: Any = None
    media: str = ""  # of an answer that is no JSON


_ROW = {"camera": "door", "time": "2026-11-26T09:12:31.250Z", "attributes": {"colour": "red"}}
_SEARCH = {"query": [{"key": "door/0001.jpg"}], "limit": 20, "filter": {"camera": {"in": ["hall"]}}}
_BODY = (400, 408, 413, 415)

OPERATIONS = (
    Operation("GET", "/health/live", operation.live, answers.StatusAnswer),
    Operation("GET", "/health/ready", operation.ready, answers.StatusAnswer, success=(200, 503)),
    Operation("GET", "/metrics", operation.metrics, media="text/plain"),
    Operation("GET", "/v1/info", operation.info, answers.InfoAnswer),
    Operation("GET", "/v1/cameras", operation.cameras, answers.CamerasAnswer),
    Operation(
        "POST", "/v1/embed", search.embed, answers.EmbedAnswer, None, ("image",), _BODY, query=("encoding",)
    ),
    Operation(
        "POST", "/v1/compare", search.compare, answers.CompareAnswer, messages.CompareRequest, ("a", "b"),
        (*_BODY, 404), example={"a_key": "door/0001.jpg", "b_key": "hall/0007.jpg"},
    ),
    Operation(
        "POST", "/v1/search", search.search, answers.SearchAnswer, messages.SearchRequest, ("image",),
        (*_BODY, 404, 409), example=_SEARCH,
    ),
    Operation(
        "POST", "/v1/search/batch", search.search_batch, answers.BatchAnswer, messages.BatchRequest, (),
        _BODY, example={"searches": [_SEARCH]},
    ),
    Operation(
        "GET", "/v1/rows", rows.list_rows, answers.RowsAnswer, statuses=(400,),
        query=("limit", "cursor", "camera", "pid", "track", "since", "until"),
    ),
    Operation(
        "POST", "/v1/rows", rows.post_rows, answers.ChangesAnswer, messages.RowsRequest, ("image",),
        _BODY, example={"rows": [{"key": "door/0002.jpg", "image": 0, **_ROW}]},
    ),
    Operation(
        "POST", "/v1/rows/delete", rows.delete_rows, answers.RemovedAnswer, messages.DeleteRequest, (),
        (*_BODY, 409), example={"filter": {"older_than": "2026-11-23T00:00:00Z"}, "dry_run": True},
    ),
    Operation("GET", "/v1/rows/{key}", rows.get_row, answers.RowAnswer, statuses=(404,)),
    Operation(
        "PUT", "/v1/rows/{key}", rows.put_row, answers.StoredAnswer, messages.RowContent, ("image",),
        (*_BODY, 409, 412), success=(200, 201), example=_ROW,
    ),
    Operation("DELETE", "/v1/rows/{key}", rows.delete_row, success=(204,)),
    Operation("GET", "/v1/images/{key}", rows.get_image, statuses=(404,), success=(200, 304), media="image/jpeg"),
    Operation(
        "GET", "/v1/clips/{key}", clip_files.get_clip, statuses=(404, 416), success=(200, 206, 304), media="video/mp4",
    ),
    Operation(
        "GET", "/v1/audit", operation.audit, answers.EntriesAnswer,
        query=("from", "to", "actor", "after", "limit"),
    ),
    Operation(
        "POST", "/v1/session", operation.sign_in, answers.SessionAnswer, messages.SessionRequest, (),
        _BODY, example={"token": "rk_..."},
    ),
    Operation("DELETE", "/v1/session", operation.sign_out, success=(204,)),
)  # fmt: skip
"""Everything that is under /v1, with health and metrics."""


def create_app(
    gallery: Gallery, model: Encoder, settings: ServiceSettings | None = None, *, audit: AuditLog | None = None
) -> FastAPI:
    """Make the application that serves a gallery, for any server of ASGI; `reidkit serve` runs it under uvicorn.

    Args:
        gallery: What `open_gallery` returns. It is closed when the application ends.
        model: The model whose features it holds.
        settings: How it behaves; None: on loopback, without tokens.
        audit: The audit log; None opens the file of the settings, or keeps it in memory.

    Raises:
        UsageError: another model than that of the gallery.
        DataError: the file of tokens or of the audit log cannot be used.
    """
    settings = settings or ServiceSettings()
    if gallery.model and gallery.model != model.fingerprint:
        raise UsageError(
            f"the gallery holds features of the model {gallery.model}, which those of {model.fingerprint} cannot be "
            "compared with: name the model that it was made with",
            argument="model",
        )
    service = Service(gallery, model, settings, audit)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(title="reidkit", version=__version__, openapi_url=None, lifespan=lifespan)
    app.state.service = service
    for each in OPERATIONS:
        _add(app, each)
    app.add_api_route("/problems/{name}", operation.problem, methods=["GET"], include_in_schema=False)
    _add_openapi(app)
    _add_page(app)
    _add_handlers(app, service)
    app.add_middleware(Shell, settings=settings, telemetry=service.telemetry)
    return app


def _add(app: FastAPI, each: Operation) -> None:
    """Add an operation, with all that the description of the service says of it."""
    errors = each.statuses if each.path.startswith("/health") else (*COMMON, *each.statuses)
    responses: dict[int | str, dict[str, Any]] = {status: _problem(status) for status in errors}
    for status in each.success:
        responses[status] = {"description": "Done."} | ({"model": each.answer} if each.answer else {})
        if each.media and status != 304:
            schema = {"type": "string"} | ({} if each.media.startswith("text/") else {"format": "binary"})
            responses[status]["content"] = {each.media: {"schema": schema}}
    name = each.handler.__name__

    async def only_known(request: Request) -> None:
        if unknown := sorted(set(request.query_params) - set(each.query)):
            raise problems.invalid(f"/{unknown[0]}", "there is no such parameter")

    app.add_api_route(
        each.path.replace("{key}", "{key:path}"),
        each.handler,
        methods=[each.method],
        operation_id=name,
        summary=(each.handler.__doc__ or name).splitlines()[0],
        response_class=JSONResponse if each.answer else Response,
        status_code=each.success[0],
        responses=responses,
        dependencies=[Depends(only_known)] if each.path.startswith("/v1") else None,
        openapi_extra=_extra(each),
    )


def _problem(status: int) -> dict[str, Any]:
    titles = sorted(kind.title for kind in problems.PROBLEMS.values() if kind.status == status)
    schema = {"$ref": REF.format(model="Problem")}
    return {"description": "; ".join(titles) or "Refused", "content": {problems.MEDIA_TYPE: {"schema": schema}}}


def _extra(each: Operation) -> dict[str, Any]:
    """Return what FastAPI cannot know, as bodies are read by ourselves: after it is known that there is room."""
    extra: dict[str, Any] = {} if each.path.startswith("/health") else {"security": [{"bearer": []}, {"cookie": []}]}
    parameters = [{"name": name, "in": "query", "required": False, "schema": _QUERY[name]} for name in each.query]
    if "{key}" in each.path:
        schema = {"type": "string", "minLength": 1, "maxLength": 512}
        parameters.append({"name": "key", "in": "path", "required": True, "schema": schema, "example": "door/0001.jpg"})
    if parameters:
        extra["parameters"] = parameters
    if content := _content(each):
        extra["requestBody"] = {"required": True, "content": content}
    return extra


def _content(each: Operation) -> dict[str, Any]:
    """Return the kinds of bodies that an operation takes, as OpenAPI describes them."""
    content: dict[str, Any] = {}
    if each.takes:
        content["application/json"] = {"schema": {"$ref": REF.format(model=each.takes.__name__)}}
        if each.example:
            content["application/json"]["example"] = each.example
    if each.pictures:
        binary = {"type": "string", "format": "binary"}
        several = {"type": "array", "items": binary, "minItems": 1, "maxItems": 16}
        parts: dict[str, Any] = {name: several if name == "image" else binary for name in each.pictures}
        if each.takes:
            parts["request"] = {"$ref": REF.format(model=each.takes.__name__)}
        content["multipart/form-data"] = {"schema": {"type": "object", "properties": parts}}
    if each.path in ("/v1/embed", "/v1/search"):
        content |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _KINDS}
    return content


_KINDS = ("image/jpeg", "image/png", "image/webp")
_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_QUERY: dict[str, dict[str, Any]] = {
    "encoding": {"type": "string", "enum": ["float", "base64"], "default": "float"},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
    "after": {"type": "integer", "minimum": 0},
    "cursor": _TEXT,
    "actor": _TEXT,
    "camera": {"type": "array", "items": _TEXT},
    "track": {"type": "array", "items": _TEXT},
    "pid": {"type": "array", "items": {"type": "integer", "minimum": 0}},
    **dict.fromkeys(("since", "until", "from", "to"), _TIME),
}


def _add_openapi(app: FastAPI) -> None:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        made = get_openapi(
            title="reidkit",
            version=__version__,
            description="Search a gallery of people by pictures. Errors are problem details (RFC 9457).",
            routes=app.routes,
            servers=[{"url": "/"}],
        )
        requests = [each.takes for each in OPERATIONS if each.takes]
        _, definitions = models_json_schema([(kind, "validation") for kind in requests], ref_template=REF)
        parts = made.setdefault("components", {})
        parts.setdefault("schemas", {}).update(definitions.get("$defs", {}))
        parts["schemas"]["Problem"] = problems.SCHEMA
        parts["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "cookie": {"type": "apiKey", "in": "cookie", "name": "reidkit"},
        }
        app.openapi_schema = made
        return made

    async def schema(_: Request) -> Response:
        return JSONResponse(openapi())

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_api_route("/v1/openapi.json", schema, methods=["GET"], include_in_schema=False)


def _add_page(app: FastAPI) -> None:
    """Serve the files of the page, which are read once: what a client asks for is only looked up by its name."""
    files = {each.name: each.read_bytes() for each in resources.files("reidkit.serve").joinpath("static").iterdir()}
    tags = {name: entity_tag(data) for name, data in files.items()}

    async def file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            raise Problem("not-found", "There is no such file.")
        headers = {"ETag": tags[name], "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        kind = _TYPES.get(name.rpartition(".")[2]) or mimetypes.guess_type(name)[0]
        return Response(files[name], media_type=kind, headers=headers)

    for path in ("/", "/static/{name}"):
        app.add_api_route(path, file, methods=["GET"], include_in_schema=False)


_TYPES = {"js": "text/javascript", "css": "text/css", "html": "text/html", "svg": "image/svg+xml"}
"""Said here, as a machine's own list may say otherwise, and a browser runs no script of another type."""

_STATUSES = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "unsupported-type"}


def _methods(app: FastAPI, path: str) -> str:
    """Return what the header `Allow` says: the methods of all routes of a path, of which Starlette names one's."""
    fitting = (each for each in app.routes if isinstance(each, Route) and each.path_regex.match(path))
    found = {method for route in fitting for method in route.methods or ()}
    return ", ".join(sorted(found | ({"HEAD"} if "GET" in found else set())))


def _add_handlers(app: FastAPI, service: Service) -> None:
    def answer(request: Request, problem: Problem, more: dict[str, str] | None = None) -> Response:
        service.telemetry.refused(problem.name)
        body = problems.encode(problem.body(request.state.request_id))
        headers = problem.headers() | (more or {})
        return Response(body, problem.status, media_type=problems.MEDIA_TYPE, headers=headers)

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 (what it is called for)
        return answer(request, error)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        name = _STATUSES.get(error.status_code, "bad-request")
        more = (
            {"Allow": _methods(app, request.scope["path"])} if error.status_code == 405 else dict(error.headers or {})
        )
        return answer(request, Problem(name), more)

    async def on_refused(request: Request, error: Exception) -> Response:
        if isinstance(error, UsageError | DataError):
            return answer(request, problems.refused(error))
        if isinstance(error, ReidkitError) and not isinstance(error, ValueError):
            LOG.error("%s", error)  # what the client is not told
            return answer(request, Problem("storage-full", retry_after=30))
        raise error

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(ReidkitError, on_refused)
