"""What answers requests, without their paths: who is asking, pictures to features, searches, entries of the log."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import unquote

import numpy as np

from reidkit.errors import ReidkitError
from reidkit.gallery import Filter, Query, Row, SearchOptions
from reidkit.gallery.memory import MemoryGallery
from reidkit.serve import uploads
from reidkit.serve.admission import Admission
from reidkit.serve.audit import AuditLog
from reidkit.serve.batcher import Batcher, ClosedError, ExpiredError
from reidkit.serve.clip_cache import Clips
from reidkit.serve.embedder import Embedder
from reidkit.serve.messages import LONGEST_PURPOSE
from reidkit.serve.problems import Problem
from reidkit.serve.telemetry import Telemetry
from reidkit.serve.tokens import LOCAL, Actor, Attempts, Sessions, Tokens
from reidkit.version import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from numpy.typing import NDArray
    from starlette.requests import Request

    from reidkit.encoder import Encoder
    from reidkit.gallery import Gallery
    from reidkit.serve.settings import ServiceSettings

    Picture = tuple[NDArray[np.uint8], bytes]
    """Pixels at the size of the network, and a small JPEG to be shown; b"" where nobody needs one."""

T = TypeVar("T")

LOG = logging.getLogger("reidkit.serve")
COOKIE = "reidkit"
COPY_SIDE = 256
"""Pixels of the longer side of the pictures that are kept to be shown."""
RETENTION_SECONDS = 3600.0
LOGGED_RESULTS = 20
WARM = (1, 2, 4, 8, 16, 32)


class Service:
    """One gallery and one model behind an address.

    Attributes:
        state: `loading` until the network has been warmed up, then `ready`, and `stopping` after the first signal.
    """

    state: Literal["loading", "ready", "stopping"] = "loading"

    def __init__(self, gallery: Gallery, model: Encoder, settings: ServiceSettings, audit: AuditLog | None) -> None:
        """Put the parts together; nothing runs before `start`. Without an audit log that of the settings is opened."""
        self.gallery, self.settings = gallery, settings
        # Before the audit log: what is refused here has not begun one.
        self.tokens = Tokens(settings.token_file) if settings.token_file else None
        self.audit = audit or AuditLog(settings.audit)
        self.model, self._encoder = model.fingerprint, model
        known = gallery.calibration
        self.flip = gallery.info().flip
        self.embedder = Embedder(model, feature=known.feature if known else "f_i", flip=self.flip)
        self.telemetry = Telemetry(__version__, self.model)
        self.sessions, self.attempts = Sessions(), Attempts()
        self.batcher: Batcher[NDArray[np.uint8], NDArray[np.float32]] = Batcher(
            self._features, largest=settings.batch, name="reidkit-model", observe=self.telemetry.batched
        )
        self.admission = Admission(lambda: self.batcher.rate / 4, settings.wait)
        self._budget = uploads.PixelBudget()
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="reidkit-decode")
        self._searchers = ThreadPoolExecutor(2, thread_name_prefix="reidkit-search")
        self.clips = Clips(gallery, settings.videos)
        self._retention: asyncio.Task[None] | None = None
        self.telemetry.watch("queue_images", "Pictures that wait for the network.", lambda: len(self.batcher))
        self.telemetry.watch("gallery_rows", "Rows of the gallery.", lambda: len(gallery))

    async def start(self) -> None:
        """Warm up, and begin to remove what is too old."""
        await self.record_own("start", version=__version__, model=self.model)
        threading.Thread(target=self._warm_up, name="reidkit-warm-up", daemon=True).start()
        if self.settings.retain or self.settings.audit_keep:
            self._retention = asyncio.create_task(self._retain())

    async def stop(self) -> None:
        """Finish what waits, and close the gallery and the log."""
        self.state = "stopping"
        if self._retention:
            self._retention.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._retention
        finished = await asyncio.to_thread(self.batcher.close, self.settings.timeout)
        self._decoders.shutdown(wait=finished, cancel_futures=True)
        self._searchers.shutdown(wait=finished, cancel_futures=True)
        self.clips.close()
        with contextlib.suppress(Problem):
            await self.record_own("stop")
        self.audit.close()
        self.gallery.close()

    def actor(self, request: Request, role: str) -> Actor:
        """Return who is asking, by the token or the cookie of the page.

        Raises:
            Problem: nobody who is known, nobody who may do this, or a service that is not ready.
        """
        actor = self.sign_in(request) if "authorization" in request.headers else self._in_session(request)
        if actor is None:
            raise Problem("token-required")
        request.state.actor = actor.name
        actor.require(role)
        if self.state != "ready" and role != "metrics":
            raise Problem(self.state, retry_after=2)
        return actor

    def sign_in(self, request: Request, token: str = "") -> Actor:
        """Return whose token this is, or that of the header.

        Raises:
            Problem: it is nobody's, or too many wrong ones came from this address.
        """
        if self.tokens is None:
            return LOCAL
        address = request.client.host if request.client else ""
        self.attempts.check(address)
        if not token:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            token = token.strip() if scheme.lower() == "bearer" else ""
        if (actor := self.tokens.find(token)) is None:
            self.attempts.wrong(address)
            raise Problem("token-wrong")
        return actor

    def _in_session(self, request: Request) -> Actor | None:
        if self.tokens is None:
            return LOCAL
        actor = self.sessions.find(request.cookies.get(COOKIE, ""))
        return actor if actor and self.tokens.still(actor) else None

    def purpose(self, request: Request, given: str = "") -> str:
        """Return why somebody searches, from the request or its header.

        Raises:
            Problem: `purpose-required`.
        """
        found = (given or unquote(request.headers.get("x-purpose", "")))[:LONGEST_PURPOSE].strip()
        if self.settings.require_purpose and not found:
            raise Problem("purpose-required")
        return found

    async def record(self, request: Request, action: str, **facts: Any) -> None:
        """Write an entry to the audit log, and return when it is on the disk.

        Raises:
            Problem: `audit-unavailable`: then nothing may be answered.
        """
        await self._recorded(request.state.actor, action, request=request.state.request_id, **facts)

    async def record_own(self, action: str, **facts: Any) -> None:
        """Write an entry about what the service itself does.

        Raises:
            Problem: `audit-unavailable`.
        """
        await self._recorded("service", action, **facts)

    async def _recorded(self, actor: str, action: str, **facts: Any) -> None:
        try:
            await asyncio.wrap_future(self.audit.write(actor, action, **facts))
        except (sqlite3.Error, OSError, ClosedError) as error:
            self.telemetry.audit_failures.inc()
            LOG.error("the audit log cannot be written: %s", error)  # noqa: TRY400 (one line for each request)
            raise Problem("audit-unavailable", retry_after=5) from None

    async def pictures(self, data: Sequence[bytes], *, copies: bool) -> list[Picture | Problem]:
        """Decode pictures, each for itself."""
        loop = asyncio.get_running_loop()
        calls = (loop.run_in_executor(self._decoders, self._picture, each, copies) for each in data)
        return await asyncio.gather(*calls)

    async def embed(
        self, request: Request, data: Sequence[bytes], *, copies: bool = False
    ) -> list[tuple[NDArray[np.float32], bytes] | Problem]:
        """Return the feature [D] of each picture and, with `copies`, a small JPEG of it, or what is wrong with it.

        Raises:
            Problem: there is no room for so many, they waited too long, or the service stops.
        """
        with self.admission.place(max(0, len(data) - 1), more=True):
            found = await self.unless_gone(request, self.pictures(data, copies=copies))
            try:
                futures = self.batcher.submit(
                    [picture[0] for picture in found if not isinstance(picture, Problem)], timeout=self.settings.timeout
                )
            except ClosedError:
                raise Problem("stopping", retry_after=2) from None
            results = asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
            vectors = iter(await self.unless_gone(request, results))
        return [picture if isinstance(picture, Problem) else (_vector(next(vectors)), picture[1]) for picture in found]

    async def can_answer(self) -> bool:
        """Whether gallery and audit log are there, and are those that were opened."""
        try:
            await asyncio.to_thread(self.gallery.rows, limit=1)
            await asyncio.to_thread(self.audit.refuse_lost)
        except ReidkitError as error:
            LOG.error("no request can be answered: %s", error)  # noqa: TRY400 (one line for each request)
            return False
        return True

    async def in_gallery(self, call: Callable[..., T], *given: Any, **named: Any) -> T:
        """Call something of the gallery in a thread of its own.

        Raises:
            Problem: what the gallery refuses, or that it did not answer in time.
        """
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._searchers, functools.partial(call, *given, **named))
        try:
            return await asyncio.wait_for(work, self.settings.timeout)
        except TimeoutError:
            raise Problem("timed-out", retry_after=2) from None

    async def unless_gone(self, request: Request, work: Awaitable[T]) -> T:
        """Wait for work, and drop it where the client goes away: what still waits of it is not run."""
        doing, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise Problem("timed-out", "The client went away.")
            return doing.result()
        finally:
            for task in (doing, gone):
                task.cancel()

    def _picture(self, data: bytes, copies: bool) -> Picture | Problem:
        try:
            pixels = uploads.decode_upload(data, self.settings.upload, self._budget)
        except Problem as problem:
            self.telemetry.images.labels("unreadable").inc()
            return problem
        self.telemetry.images.labels("ok").inc()
        return self.embedder.fitted(pixels), uploads.encode_copy(pixels, COPY_SIDE) if copies else b""

    def _features(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        return list(self.embedder(images))

    def _warm_up(self) -> None:
        """Run everything once and batches of every size, so that the first client does not wait, and the rate is known.

        Loops that numba compiles take seconds when they are first called, those of re-ranking up to a minute: they are
        compiled when all else is ready.
        """
        spec = self.embedder.spec
        vectors = np.random.default_rng(0).normal(size=(16, self.embedder.dim)).astype(np.float32)
        sent = uploads.encode_copy(np.zeros((spec.height + 9, spec.width + 9, 3), np.uint8))
        try:
            picture = self.embedder.fitted(uploads.decode_upload(sent, self.settings.upload))
            self.gallery.search(Query(vectors=vectors[:1]), SearchOptions(top=1))
            for size in WARM:
                for future in self.batcher.submit([picture] * min(size, self.settings.batch)):
                    future.result()
            if self.state == "loading":
                self.state = "ready"
            with MemoryGallery(self._encoder) as small:
                small.add_vectors(vectors, [Row(str(number)) for number in range(len(vectors))])
                small.search(Query(vectors=vectors[:1]), SearchOptions(top=4, rerank=True))
        except ClosedError:
            return
        except Exception:
            LOG.exception("the network or the gallery cannot be used")

    async def _retain(self) -> None:
        """Remove what is too old, now and every hour."""
        while True:
            try:
                await self.remove_old()
            except Exception:  # whatever it was: what should be gone must not stay for good
                LOG.exception("what is too old could not be removed; it is tried again in an hour")
            # Before Python 3.12, `wait_for` may take an answer and forget the cancellation.
            if self.state == "stopping":
                return
            await asyncio.sleep(RETENTION_SECONDS)

    async def remove_old(self) -> int:
        """Remove rows of the gallery and entries of the log that are too old; how many rows there were."""
        removed = 0
        if self.settings.retain:
            before = datetime.now(UTC) - timedelta(seconds=self.settings.retain)
            matching = Filter(older_than=before)
            # Nobody waits for an answer: a removal of many rows may take longer than a request.
            if count := await asyncio.to_thread(self.gallery.count, matching):
                await self.record_own("remove", older_than=before.isoformat(), count=count)
                removed = await asyncio.to_thread(self.gallery.remove_matching, matching)
                self.telemetry.changes.labels("removed").inc(removed)
        if self.settings.audit_keep:
            await asyncio.to_thread(self.audit.forget, self.settings.audit_keep)
        return removed


def service_of(request: Request) -> Service:
    """Return the service that answers a request."""
    found: Service = request.app.state.service
    return found


def _vector(result: NDArray[np.float32] | BaseException) -> NDArray[np.float32]:
    if isinstance(result, ExpiredError):
        raise Problem("timed-out", retry_after=2)
    if isinstance(result, ClosedError):
        raise Problem("stopping", retry_after=2)
    if isinstance(result, BaseException):
        raise result
    return result


def milliseconds(started: float) -> float:
    """Return the milliseconds since a moment of `time.monotonic`."""
    return 1000 * (time.monotonic() - started)
