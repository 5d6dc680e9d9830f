"""Ctrl-C in loops over public functions: it ends them."""

from __future__ import annotations

import signal
import sys
import threading
import time
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from reidkit.data import sources
from reidkit.data.decode import decode
from reidkit.data.image_list import ImageList
from reidkit.embedding import embed_images
from reidkit.encoder.base import as_image_encoder
from reidkit.interrupts import interrupts_heard
from reidkit.types import Sample, as_samples
from tests.colours import Colours
from tests.noise import draw_noise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class _Cleared:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


class _ClearedOnce(Colours):
    """Is interrupted while an object is cleared away, in its first call."""

    calls = 0

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.calls += 1
        if self.calls == 1:
            _Cleared()
        return super().encode(images)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return sorted(draw_noise(tmp_path / "noise", size=8).glob("bounding_box_train/*.jpg"))


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(
            lambda model, paths, _: as_image_encoder(model).embed([Sample(p, 1, 1) for p in paths]), id="embed"
        ),
        pytest.param(embed_images, id="embed_images"),
    ],
)
def test_one_that_python_drops_ends_a_loop(call: Callable[..., Any], paths: list[Path], tmp_path: Path) -> None:
    """Two of 1,500 came while a pool of threads was cleared away, and the loop went on."""
    model, before = _ClearedOnce(), sys.unraisablehook
    until = time.monotonic() + 60

    def loop() -> None:
        while time.monotonic() < until:
            call(model, paths, tmp_path / "out.npz")

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert sys.unraisablehook is before


def test_one_that_a_library_makes_another_error_of(tmp_path: Path) -> None:
    """A loop that passes over a ValueError went on."""

    @interrupts_heard()
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.open("a", "w")
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.zip")


def test_an_error_after_an_interrupt_that_was_heard_is_its_own() -> None:
    """As in the `except KeyboardInterrupt` of the caller."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        with pytest.raises(ValueError, match="mine"), interrupts_heard():
            raise ValueError("mine") from None


def test_other_errors_while_an_object_is_cleared_away_go_where_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __del__(self) -> None:
            raise ValueError("in a clean-up")

    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: seen.append(told.exc_type))
    with interrupts_heard():
        Failing()
    assert seen == [ValueError]


def test_it_does_not_wait_for_all_of_the_next_part(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is 1,024 images, which take minutes from a slow disk."""
    begun, decoded = threading.Event(), 0

    def slow(path: Any) -> NDArray[np.uint8]:
        nonlocal decoded
        decoded += 1
        if decoded > 1024:
            begun.set()
            time.sleep(0.02)
        return decode(path)

    class Interrupted(Colours):
        def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: ARG002
            assert begun.wait(60)
            raise KeyboardInterrupt

    monkeypatch.setattr(sources, "decode", slow)
    with pytest.raises(KeyboardInterrupt):
        embed_images(
            Interrupted(), ImageList(as_samples([Sample(path, -1, -1) for path in paths * 64])), tmp_path / "out.npz"
        )
    assert decoded < 2000, "all 2,048 images of two parts"
