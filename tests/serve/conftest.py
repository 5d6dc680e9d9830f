"""A service on a small gallery of noise, called in this process."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")

import httpx
import uvicorn

from reidkit.encoder import Model
from reidkit.gallery import Row
from reidkit.gallery.memory import MemoryGallery
from reidkit.model.network import build_network
from reidkit.recipes import get_recipe
from reidkit.serve.app import create_app
from reidkit.serve.settings import ServiceSettings
from tests.commands import SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reidkit.gallery import Gallery
    from reidkit.serve.service import Service

CAMERAS = ("door", "hall", "yard")
ROWS = 60


def picture(seed: int = 0, size: tuple[int, int] = (48, 24), kind: str = "JPEG", **options: Any) -> bytes:
    """An image file of noise, `size` is height and width."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    return saved(Image.fromarray(pixels), kind, **options)


def saved(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def model() -> Model:
    """A network whose features have as many numbers as it has channels, and a fingerprint."""
    torch.manual_seed(0)
    recipe = get_recipe("small-strong-baseline", SIZE)
    return Model(build_network(recipe.network).eval(), recipe, "0123456789abcdef")


@pytest.fixture
def gallery(model: Model) -> MemoryGallery:
    """A gallery of a test's own, to be changed."""
    return filled(model)


def filled(model: Model) -> MemoryGallery:
    """60 rows by three cameras, ten people, one a minute."""
    made = MemoryGallery(model)
    rng = np.random.default_rng(0)
    people = rng.normal(size=(10, model.dim))
    vectors = (people[np.arange(ROWS) % 10] + 0.3 * rng.normal(size=(ROWS, model.dim))).astype(np.float32)
    rows = [
        Row(
            f"{CAMERAS[number % 3]}/{number:03d}.jpg",
            pid=number % 10,
            camera=CAMERAS[number % 3],
            track=f"t{number // 2}",
            time=datetime(2026, 11, 26, 8, number, tzinfo=UTC),
            attributes={"colour": "red" if number % 2 else "blue"},
        )
        for number in range(ROWS)
    ]
    made.add_vectors(vectors, rows, thumbnails=[picture(number) for number in range(ROWS)])
    return made


@pytest.fixture
def own(model: Model, gallery: MemoryGallery) -> Iterator[Client]:
    """A service without tokens, of a test's own."""
    with running(model, gallery) as made:
        yield made


@pytest.fixture(scope="session")
def client(model: Model) -> Iterator[Client]:
    """A service without tokens, to be asked and not to be changed."""
    with running(model, filled(model)) as made:
        yield made


class Client(httpx.Client):
    """A client of a service in this process, which is at hand, too."""

    service: Service


@contextmanager
def running(model: Model, gallery: Gallery, **settings: Any) -> Iterator[Client]:
    """A service under uvicorn in a thread of its own, and a client of it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        # Re-ranking is compiled after the start, where that has never been done on this machine.
        app = create_app(gallery, model, ServiceSettings(port=port, **{"timeout": 120.0, **settings}))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", http="h11", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        service: Service = app.state.service
        wait_for(lambda: service.state == "ready")
        try:
            with Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120) as made:
                made.service = service
                yield made
        finally:
            server.should_exit = True
            thread.join()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so, at most two minutes: the first time, loops are compiled."""
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def search(client: httpx.Client, request: Any, *images: bytes, **options: Any) -> Any:
    """Post a search, with pictures."""
    if not images:
        return client.post("/v1/search", json=request, **options)
    files = [("image", ("a.jpg", data, "image/jpeg")) for data in images]
    return client.post("/v1/search", data={"request": json.dumps(request)}, files=files, **options)
