"""Health, metrics, what the service is, cameras, the audit log, sessions of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from starlette.responses import JSONResponse, PlainTextResponse

from reidkit.errors import DataError
from reidkit.gallery.row import as_time, from_micros, to_micros
from reidkit.serve import problems
from reidkit.serve.answers import moment
from reidkit.serve.bodies import read_body
from reidkit.serve.messages import SessionRequest, validated, whole_number
from reidkit.serve.problems import Problem, invalid
from reidkit.serve.service import COOKIE, Service, service_of
from reidkit.serve.tokens import SESSION_SECONDS
from reidkit.version import __version__

if TYPE_CHECKING:
    from reidkit.gallery import CameraInfo

CURVE = 64
"""Points of the calibration's curve that the page gets."""


async def live(_: Request) -> Response:
    """Answer as long as the process does."""
    return JSONResponse({"status": "live"})


async def ready(request: Request) -> Response:
    """Say whether requests are answered: not before all is loaded, nor without gallery or audit log."""
    service = service_of(request)
    state: str = service.state
    if state == "ready" and not await service.can_answer():
        state = "unavailable"
    return JSONResponse({"status": state}, 200 if state == "ready" else 503)


async def metrics(request: Request) -> Response:
    """Return the metrics for Prometheus."""
    service = service_of(request)
    service.actor(request, "metrics")
    text, kind = service.telemetry.text()
    return Response(text, headers={"Content-Type": kind})


async def info(request: Request) -> Response:
    """Say what the service is, and what it takes."""
    service = service_of(request)
    actor = service.actor(request, "search")
    about = await service.in_gallery(service.gallery.info)
    spec, settings = service.embedder.spec, service.settings
    model = {"fingerprint": service.model, "dim": service.embedder.dim, "height": spec.height, "width": spec.width}
    return JSONResponse(
        {
            "version": __version__,
            "actor": {"name": actor.name, "roles": sorted(actor.roles), "signed_in": bool(actor.digest)},
            "model": model | {"flip": service.flip},
            "gallery": {
                "uuid": about.uuid,
                "rows": about.rows,
                "cameras": sum(each.name is not None for each in about.cameras),
                "time": {"first": moment(about.first), "last": moment(about.last)},
                "exact": about.exact,
            },
            "calibration": _calibration(service),
            "limits": {
                "image_bytes": settings.upload.bytes,
                "image_pixels": settings.upload.pixels,
                "images_per_request": settings.images_per_request,
                "results": 200,
                "wait_s": settings.wait,
            },
            "require_purpose": settings.require_purpose,
            "videos": settings.videos is not None,
        }
    )


async def cameras(request: Request) -> Response:
    """List the cameras of the gallery, with their rows and their first and last time."""
    service = service_of(request)
    service.actor(request, "search")
    about = await service.in_gallery(service.gallery.info)
    return JSONResponse({"cameras": [_camera(each) for each in about.cameras]})


async def audit(request: Request) -> Response:
    """Read the audit log, oldest first; that is an entry, too."""
    service = service_of(request)
    service.actor(request, "audit")
    given = request.query_params
    since, until = (_micros(given.get(name), name) for name in ("from", "to"))
    limit = whole_number(given.get("limit", "1000"), "limit", 1, 1000)
    after = whole_number(given.get("after", "0"), "after")
    who = given.get("actor", "")
    await service.record(request, "audit", wanted={name: given[name] for name in sorted(given)[:10]})
    entries = await service.in_gallery(
        service.audit.read, since=since or 0, until=until, actor=who, after=after, limit=limit
    )
    return JSONResponse({"entries": [each | {"time": moment(from_micros(each["time"]))} for each in entries]})


async def sign_in(request: Request) -> Response:
    """Trade a token for a cookie that scripts cannot read."""
    service = service_of(request)
    body = await read_body(request, service.settings)
    actor = service.sign_in(request, validated(SessionRequest, body.value).token)
    request.state.actor = actor.name
    await service.record(request, "sign-in")
    answer = JSONResponse({"name": actor.name, "roles": sorted(actor.roles)})
    answer.set_cookie(
        COOKIE,
        service.sessions.open(actor),
        max_age=int(SESSION_SECONDS),
        secure=service.settings.secure,
        httponly=True,
        samesite="strict",
    )
    return answer


async def sign_out(request: Request) -> Response:
    """End the session of the cookie."""
    service_of(request).sessions.close(request.cookies.get(COOKIE, ""))
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, secure=service_of(request).settings.secure, httponly=True, samesite="strict")
    return answer


async def problem(request: Request) -> Response:
    """Explain a problem, under the address that its `type` names."""
    text = problems.page(request.path_params["name"])
    if text is None:
        raise Problem("not-found", "There is no such problem.")
    return PlainTextResponse(text)


def _calibration(service: Service) -> dict[str, Any] | None:
    known = service.gallery.calibration
    if known is None:
        return None
    step = max(1, len(known.curve) // CURVE)
    return {
        "far": known.settings.far,
        "threshold": known.threshold(),
        "prior": known.settings.prior,
        "pairs": len(known.camera_pairs),
        "impostors": known.impostors,
        "data": known.data,
        "curve": [list(point) for point in known.curve[::step]],
    }


def _camera(camera: CameraInfo) -> dict[str, Any]:
    return {
        "name": camera.name,
        "rows": camera.rows,
        "first": moment(camera.first),
        "last": moment(camera.last),
    }


def _micros(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    try:
        when = as_time(text)
    except DataError as error:
        raise invalid(f"/{name}", str(error)) from None
    return to_micros(when)
