"""A Milvus server for tests: one that is named, one that is started here, or a reason why there is none.

REIDKIT_MILVUS names one by its address, as `127.0.0.1:19530`; collections `reidkit_test_...` come and go there.
Else REIDKIT_MILVUS_PYTHON names a Python in whose environment the package milvus (2.3.5) is installed: all workers of a
test run share one server, which ends with the last of them.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from benchmarks.milvus_server import PATIENCE, reason_not_to

from reidkit.gallery import open_gallery

if TYPE_CHECKING:
    from reidkit.encoder import Encoder
    from reidkit.gallery import Gallery

SERVER, PYTHON = "REIDKIT_MILVUS", "REIDKIT_MILVUS_PYTHON"


def server() -> str:
    """Return the address of a server, as host:port; skip the test where there is none."""
    address, reason = _found()
    if reason:
        pytest.skip(reason)
    return address


def reused(encoder: Encoder) -> Gallery:
    """Return an empty gallery; one collection serves all tests of a process, as making it takes seconds."""
    gallery = open_gallery(f"milvus://{server()}/{_collection(encoder.dim)}", encoder)
    gallery.remove(gallery.keys())
    return gallery


def fresh(name: str) -> str:
    """Return the address of a gallery that is not there, and is dropped at the end."""
    uri = f"milvus://{server()}/reidkit_test_{os.getpid()}_{name}"
    atexit.register(_drop, uri)
    return uri


@cache
def _collection(dim: int) -> str:
    return fresh(f"of_{dim}").rpartition("/")[2]


def _drop(uri: str) -> None:
    from reidkit.gallery.milvus_address import parse_address
    from reidkit.gallery.milvus_store import Store

    with contextlib.suppress(OSError):
        Store(parse_address(uri)).drop()


@cache
def _found() -> tuple[str, str]:
    if not find_spec("pymilvus"):
        return "", "needs the extra milvus: pip install pymilvus"
    if os.environ.get(SERVER):
        return os.environ[SERVER], ""
    python = os.environ.get(PYTHON, "")
    if not python:
        return "", f"no Milvus server: {SERVER} may name one, or {PYTHON} a Python with the package milvus==2.3.5"
    reason = reason_not_to()
    return ("", reason) if reason else (_started(python), "")


def _started(python: str) -> str:
    """Start a server, or join the one that another worker of this run has started."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    folder = Path(tempfile.gettempdir(), f"reidkit-milvus-{os.getuid()}-{run}")
    folder.mkdir(mode=0o700, exist_ok=True)
    held = (folder / "held").open("wb")
    fcntl.flock(held, fcntl.LOCK_SH)  # until this process ends, however it ends
    atexit.register(held.close)
    with (folder / "starting").open("wb") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        address = folder / "address"
        if not address.exists():
            _start(python, folder, address)
    return address.read_text().strip()


def _start(python: str, folder: Path, address: Path) -> None:
    words = ["--python", python, "--folder", str(folder / "data"), "--while-locked", str(folder / "held")]
    words += ["--set", "proxy.timeTickInterval=20"]  # a strongly consistent read waits for a tick
    part = folder / "address.part"
    with part.open("wb") as out, (folder / "errors").open("wb") as errors:
        started = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.milvus_server", *words, "--forget", str(folder)],
            cwd=Path(__file__).parents[2],
            stdout=out,
            stderr=errors,
            start_new_session=True,
        )
    until = time.monotonic() + PATIENCE + 30
    while not part.read_text().endswith("\n"):
        if started.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"Milvus did not start: {(folder / 'errors').read_text()[-500:]}")
        time.sleep(0.2)
    started.returncode = 0  # it may outlive this process, which is no reason for a warning
    part.rename(address)
