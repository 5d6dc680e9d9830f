from __future__ import annotations

import logging
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from reidkit.errors import RunError, UsageError
from reidkit.train.log import TensorBoard, log_lines

if TYPE_CHECKING:
    from pathlib import Path


class Writer:
    """Stands for TensorBoard's, which is not among the packages that every test has."""

    made: list[Writer]
    refuses = False

    def __init__(self, folder: str, purge_step: int) -> None:
        if self.refuses:
            raise PermissionError(13, "Permission denied")
        self.folder, self.purge_step = folder, purge_step
        self.scalars: list[tuple[str, float, int]] = []
        self.flushes = 0
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def flush(self) -> None:
        self.flushes += 1


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> type[Writer]:
    class Fresh(Writer):
        made: list[Writer] = []  # noqa: RUF012

    module: Any = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Fresh
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return Fresh


def test_every_number_of_a_row_is_a_curve(writer: type[Writer], tmp_path: Path) -> None:
    events = TensorBoard(tmp_path / "tb")
    events.on_step({"kind": "step", "epoch": 1, "step": 5, "loss": 2.5, "name": "x"})
    events.on_scores({"kind": "scores", "epoch": 1, "step": 6, "map": 0.5})
    (made,) = writer.made
    assert made.scalars == [("step/loss", 2.5, 5), ("scores/map", 0.5, 6)]
    assert made.flushes == 1


def test_a_resumed_run_hides_the_steps_that_come_again(writer: type[Writer], tmp_path: Path) -> None:
    TensorBoard(tmp_path / "tb").on_step({"kind": "step", "epoch": 3, "step": 41, "loss": 2.5})
    assert writer.made[0].purge_step == 41


def test_nothing_is_opened_before_the_first_row(writer: type[Writer], tmp_path: Path) -> None:
    """The folder may turn out to be another run's."""
    TensorBoard(tmp_path / "tb")
    assert writer.made == []


def test_a_folder_that_cannot_be_written(writer: type[Writer], tmp_path: Path) -> None:
    writer.refuses = True
    with pytest.raises(RunError, match=r"tb cannot be written .*do without TensorBoard"):
        TensorBoard(tmp_path / "tb").on_step({"kind": "step", "epoch": 1, "step": 1, "loss": 1.0})


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install tensorboard"):
        TensorBoard(tmp_path / "tb")


def test_messages_are_passed_on_a_line_each() -> None:
    said: list[str] = []
    logger = logging.getLogger("reidkit.train")
    with log_lines(said.append, lambda argument: f"--{argument}" if argument else ""):
        logger.info("begun")
        logger.warning("too short", extra={"argument": "out"})
        logger.debug("nobody asked")
    logger.warning("too late")
    assert said == ["begun", "warning: too short (--out)"]


def test_a_library_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import logging, reidkit.train; logging.getLogger('reidkit.train').warning('x')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert capfd.readouterr() == ("", "")
