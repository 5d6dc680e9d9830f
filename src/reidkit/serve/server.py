"""A service under uvicorn: one process, one model, one queue."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidkit.errors import ReidkitError, RunError, UsageError
from reidkit.extras import install
from reidkit.serve.audit import AuditLog
from reidkit.serve.settings import ServiceSettings
from reidkit.serve.tokens import Tokens
from reidkit.workers import cores_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from reidkit.encoder import Encoder
    from reidkit.gallery import Gallery

LOG = logging.getLogger("reidkit.serve")
_UVICORN = logging.getLogger("uvicorn.error")
GRACE = 15
"""Seconds in which requests are finished after the first signal."""
CONNECTIONS = 1024


def serve(
    uri: str | os.PathLike[str],
    model: Encoder,
    settings: ServiceSettings | None = None,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a gallery over HTTP, with the page of the operator, until SIGTERM or Ctrl-C.

    The first signal finishes what is under way, the second does not. SIGHUP reads the file of tokens again.

    Args:
        uri: The gallery, as for `open_gallery`.
        model: The model whose features it holds.
        settings: How it behaves; None: on loopback, without tokens.
        ready: Called with the address when connections are taken.

    Raises:
        UsageError: settings that cannot be, or another model than the gallery's; an event loop runs in this thread.
        DataError: no such gallery; the file of tokens or of the audit log cannot be used.
        RunError: the address cannot be listened on.
    """
    from reidkit.gallery import open_gallery
    from reidkit.gallery.milvus_address import shown

    _require_packages()
    _refuse_running_loop()
    from reidkit.serve.app import create_app

    settings = settings or ServiceSettings()
    with _listening(settings) as listening:
        host, port = listening.getsockname()[:2]
        settings = replace(settings, port=port, audit=settings.audit or audit_path(uri))
        _check_files(settings)
        place = os.fspath(uri)
        new = place != "memory" and not place.startswith("milvus://") and not os.path.lexists(place)
        gallery = open_gallery(uri, model)
        if not len(gallery):
            made = "was not there, and has been made" if new else "is empty"
            LOG.warning("%s %s: add images with `reidkit gallery add`, or by the service", shown(uri), made)
        elif settings.images is None and settings.videos is None and not _has_pictures(gallery):
            LOG.warning(
                "%s holds no pictures, and the page will show none: add its images again with `reidkit gallery add "
                "--thumbnails --replace`, or name the folder in which they lie as --images",
                shown(uri),
            )
        try:
            app = create_app(gallery, model, settings)
        except BaseException:
            gallery.close()
            raise
        with _one_core_left():
            _run(app, settings, listening, lambda: ready(address_here(host, port)) if ready else None)


def address_here(host: str, port: int) -> str:
    """Return the address by which this machine reaches a service, which does not answer to `0.0.0.0` or `::`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (nothing is bound here)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _check_files(settings: ServiceSettings) -> None:
    """Read the tokens, and look at an audit log that is there, before a gallery is made for nothing.

    Raises:
        DataError: one of them cannot be used.
    """
    if settings.token_file:
        Tokens(settings.token_file)
    if settings.audit and settings.audit.exists():
        AuditLog(settings.audit).close()


def _has_pictures(gallery: Gallery) -> bool:
    """Whether one of the first rows came with a small picture."""
    return any(gallery.thumbnails([row.key for row in gallery.rows(limit=20).rows]))


def _require_packages() -> None:
    """Say what to install, where something is missing.

    Raises:
        UsageError: it is.
    """
    missing = [name for name in ("fastapi", "uvicorn", "prometheus_client", "python_multipart") if not find_spec(name)]
    if missing:
        raise UsageError(f"serving needs {missing[0]}, which is not installed: `{install('fastapi')}`")


def _refuse_running_loop() -> None:
    """Refuse to begin inside of another program's event loop, where the service could not have its own.

    Raises:
        UsageError: one runs in this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        "an event loop runs in this thread already, as in a notebook: call serve in a thread of its own, or give what "
        "create_app returns to your own server"
    )


def audit_path(uri: str | os.PathLike[str]) -> Path | None:
    """Return the file of the audit log of a gallery: beside it; None for one in memory.

    Raises:
        UsageError: the gallery is no file here.
    """
    from reidkit.gallery.milvus_address import shown

    text = os.fspath(uri)
    if text == "memory":
        return None
    if "://" in text:
        raise UsageError(
            f"{shown(text)} is no file that an audit log could lie beside: name one as audit", argument="audit"
        )
    return Path(f"{text}-audit")


@contextlib.contextmanager
def _listening(settings: ServiceSettings) -> Iterator[socket.socket]:
    """Bind the address before minutes are spent on a gallery."""
    host = settings.host.strip("[]")
    try:
        found = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(found[0], socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
    except OSError as error:
        raise RunError(
            f"{host}:{settings.port} cannot be listened on ({error.strerror or error}): take another port, or 0 for a "
            "free one",
            argument="port",
        ) from None
    with listening:
        yield listening


@contextlib.contextmanager
def _one_core_left() -> Iterator[None]:
    """Leave one core to HTTP and decoding, where there are several, while entered."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, cores_here() - 1)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(app: FastAPI, settings: ServiceSettings, listening: socket.socket, started: Callable[[], None]) -> None:
    """Run the application until a signal ends it; `started` is called when connections are taken."""
    import uvicorn

    refused: list[OSError] = []

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                try:
                    started()
                except OSError as error:  # nobody was told: the service ends as if it were asked to
                    refused.append(error)
                    self.should_exit = True

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # `_signals` is entered for longer: a second one may come while the event loop is put away

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        http="h11",  # httptools, which is a little faster, has no limit for headers
        ws="none",
        workers=1,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=16 * 2**10,
        proxy_headers=settings.proxy is not None,
        forwarded_allow_ips=settings.proxy or "",
    )
    server = Server(config)
    level = _UVICORN.level
    try:
        with _signals(server, app):
            server.run(sockets=[listening])
    finally:
        _UVICORN.setLevel(level)
    if refused:
        raise refused[0]
    if not server.started:
        raise RunError("the service could not be started: its log says why")


@contextlib.contextmanager
def _signals(server: Any, app: FastAPI) -> Iterator[None]:
    """Stop at SIGTERM and SIGINT, at once at the second one; read tokens again at SIGHUP."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        app.state.service.state = "stopping"
        if server.should_exit:
            server.force_exit = True
            _UVICORN.setLevel(logging.CRITICAL)  # which would show where the application was cut short
        server.should_exit = True

    wanted: dict[int, Any] = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if hasattr(signal, "SIGHUP"):
        wanted[signal.SIGHUP] = lambda *_: _reload(app)
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reload(app: FastAPI) -> None:
    """Read the file of tokens again; one that cannot be read changes nothing."""
    tokens = app.state.service.tokens
    try:
        if tokens:
            tokens.reload()
            LOG.warning("read %d tokens", len(tokens))
    except ReidkitError as error:
        LOG.warning("the tokens stay as they were: %s", error)
