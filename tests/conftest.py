"""What several packages of tests start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands import Nursery
from tests.noise import draw_noise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Where commands are started."""
    made = Nursery(tmp_path_factory.mktemp("commands"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of noise, to read and not to change."""
    return draw_noise(tmp_path_factory.mktemp("noise") / "market")
