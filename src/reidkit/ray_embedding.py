"""Features of any number of images by the machines of a Ray cluster, into the file that one machine would write.

The unit of work is a part of 1,024 images, which becomes a file of its own by renaming. Whoever makes a part leaves the
whole of it, or nothing; so a worker or a machine that is lost costs the time of its parts, and Ray has another one make
them. Parts are made by tasks, which hold no processor of their own: an actor of a lost machine would wait for one.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from reidkit.distributed import ALONE
from reidkit.embedding import Work, plan
from reidkit.encoder import InferenceOptions, as_image_encoder
from reidkit.errors import DataError, ReidkitError, RunError, UsageError
from reidkit.extras import install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from reidkit.data.image_list import ImageList, Named
    from reidkit.embedding_file import Embedded
    from reidkit.encoder import Encoder
    from reidkit.types import Samples

_log = logging.getLogger(__name__)

AHEAD = 3
"""Parts that wait for each processor."""

LOOK = 1.0
"""Seconds between looks at which parts are there."""

SILENCE = 300.0
"""After so many seconds without a part that was finished, the log says so."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker has to know: how the model is loaded, which images there are, where the parts go."""

    load: Callable[[], Encoder]
    fingerprint: str
    samples: Samples
    path: Path
    part: int
    flip: bool
    options: InferenceOptions
    folder: str
    number: str


def embed_images_on_ray(  # noqa: PLR0913
    load: Callable[[], Encoder],
    images: Named | Iterable[Named] | ImageList,
    out: str | os.PathLike[str],
    *,
    address: str = "local",
    flip: bool = False,
    format: str | None = None,  # noqa: A002
    options: InferenceOptions | None = None,
) -> Embedded:
    """Write the features of images into a file, as `embed_images` does, by the workers of a Ray cluster.

    All machines must see the images, the model and the folder of `out` under the same paths, and have reidkit and the
    same version of Python and Ray. The same call goes on after a kill.

    Args:
        load: Loads the model, here and on each worker, as `functools.partial(load_model, "runs/small")`.
        images: As for `embed_images`.
        out: As for `embed_images`.
        address: Where the cluster is, as `host:6379`; `auto`: the one that this machine belongs to; `local`: one of
            this machine's own, for as long as the work takes.
        flip: As for `embed_images`.
        format: As for `embed_images`.
        options: As for `embed_images`.

    Raises:
        DataError: as for `embed_images`; a worker does not see the images or the model.
        RunError: there is no cluster at the address, or it cannot go on.
        UsageError: as for `embed_images`; Ray is not installed.
    """
    if not find_spec("ray"):
        raise UsageError(f"a cluster needs Ray, which is not installed: `{install('ray')}`", argument="ray")
    model, given = load(), options or InferenceOptions()
    work, listed = plan(model, images, out, flip=flip, format=format, options=given)
    job = Job(
        load=load,
        fingerprint=work.encoder.fingerprint,
        samples=work.samples,
        path=work.path.absolute(),
        part=work.part,
        flip=flip,
        options=replace(given, progress=None, group=ALONE),
        folder=os.getcwd(),  # noqa: PTH109 (as text)
        number=os.urandom(8).hex(),
    )
    return work.make(listed, lambda: _run(work, job, address))


def _run(work: Work, job: Job, address: str) -> None:
    """Have the parts that are missing made by the cluster.

    Raises:
        RunError: there is none, or it cannot go on.
    """
    missing = work.missing(range(work.count))
    if not missing:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray: Any = import_module("ray")

    with nullcontext() if ray.is_initialized() else _connected(address):
        watch = _Watch(work)
        try:
            _make(missing, job)
        except ray.exceptions.RayError as error:
            raise _reason(error) from None
        finally:
            watch.stop()
    if left := work.missing(missing):
        raise RunError(f"{len(left)} parts were not made: let all machines see {job.path.parent}, and run it again")


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Belong to a cluster; SIGTERM then means again what it meant before, which Ray changes without a word.

    Raises:
        RunError: there is none.
    """
    ray: Any = import_module("ray")
    before = signal.getsignal(signal.SIGTERM)
    try:
        _connect(address)
        yield
    finally:
        ray.shutdown()
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _connect(address: str) -> None:
    """Join a cluster, or make one of this machine alone.

    Raises:
        RunError: there is none.
    """
    ray: Any = import_module("ray")

    # One of its own is of this machine alone, and listens to it alone; its workers are the work that is wanted.
    if address == "local":
        os.environ.setdefault("RAY_worker_niceness", "0")
    local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == "local" else {}
    try:
        host, colon, port = address.rpartition(":")
        if colon and port.isdecimal() and "/" not in host:  # Ray itself would ask for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0][:150]
        raise RunError(
            f"there is no Ray cluster at {address} ({reason}): start one with `ray start --head`, or say local",
            argument="ray",
        ) from None


def _make(missing: Sequence[int], job: Job) -> None:
    """Give parts to the cluster's workers, a few ahead for each, until all are made.

    The tasks of Ray itself are used: its data sets would stream features to where they are not needed, and import half
    a minute's worth of packages on each worker before the first image.
    """
    ray: Any = import_module("ray")
    here = ray.cluster_resources()
    gpus = int(str(job.options.device) != "cpu" and here.get("GPU", 0) > 0)
    task = ray.remote(make_part).options(num_cpus=1, num_gpus=gpus, max_retries=-1)
    shared, left = ray.put(job), list(reversed(missing))
    waiting: list[Any] = []
    while left or waiting:
        while left and len(waiting) < AHEAD * max(1, int(here.get("CPU", 1))):
            waiting.append(task.remote(shared, left.pop()))
        done, waiting = ray.wait(waiting, num_returns=1)
        ray.get(done)


def make_part(job: Job, part: int) -> None:
    """Make a part on a worker, which keeps the model for the next ones.

    Raises:
        DataError: the worker's machine does not see the folder or the images, or has another model at its place.
    """
    if job.number not in _WORKS:
        _WORKS.clear()
        _WORKS[job.number] = _work_of(job)
    _WORKS[job.number].make_part(part)


_WORKS: dict[str, Work] = {}
"""Of a worker: what it has loaded for the job that it is at."""


def _work_of(job: Job) -> Work:
    name = socket.gethostname()
    try:
        os.chdir(job.folder)
    except OSError as error:
        raise DataError(f"the machine {name} does not see {job.folder} ({error.strerror}): share it with all") from None
    encoder = as_image_encoder(job.load())
    if encoder.fingerprint != job.fingerprint:
        raise DataError(f"the machine {name} has the model {encoder.fingerprint}, and not {job.fingerprint}: share one")
    work = Work(encoder, job.samples, job.path, flip=job.flip, options=job.options, part=job.part)
    if not work.folder.is_dir():
        raise DataError(f"the machine {name} does not see {work.folder}: let all machines share the folder of the file")
    return work


class _Watch(threading.Thread):
    """Tells how many images are done by the parts that are there, and says so when none has come for long."""

    def __init__(self, work: Work) -> None:
        super().__init__(daemon=True, name="reidkit-parts")
        self._work, self._ended = work, threading.Event()
        self.start()

    def run(self) -> None:
        """Look until it is stopped."""
        done, since = -1, time.monotonic()
        while not self._ended.wait(LOOK):
            now, before = self._work.images_done(), done
            if now != before:
                done, since = now, time.monotonic()
                self._tell(done)
            elif time.monotonic() - since > SILENCE:
                since = time.monotonic()
                _log.warning("no part was finished in the last %.0f s: `ray status` tells what is waited for", SILENCE)

    def stop(self) -> None:
        """Tell the last number, and end."""
        self._ended.set()
        self.join()
        self._tell(self._work.images_done())

    def _tell(self, done: int) -> None:
        if self._work.options.progress:
            self._work.options.progress("images", done, len(self._work.samples))


def _reason(error: Exception) -> ReidkitError:
    """Return what ended the work: what a worker said, or what Ray says."""
    cause: BaseException | None = error
    while cause is not None:
        found = getattr(cause, "cause", None) or cause.__cause__
        if isinstance(cause, ReidkitError):
            return cause
        cause = found if found is not cause else None
    lines = [line for line in str(error).splitlines() if line.strip()]
    return RunError(f"the cluster cannot go on ({lines[-1].strip()[:200]}): look at `ray status`, and run it again")
