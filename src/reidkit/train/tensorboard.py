"""The journal as TensorBoard events, an extra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reidkit.extras import install
from reidkit.types import RunError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


class Events:
    """Watches a journal: every number of a row becomes a curve named `kind/key` over the steps.

    Nothing is written before the first row, by when the folder is known to be the run's. Of what an earlier part of the
    run wrote, TensorBoard then hides the steps that come again.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(f"--tensorboard needs the package tensorboard: {install('tensorboard')}") from None
        self._open = lambda step: SummaryWriter(str(folder), purge_step=step)
        self._folder = folder
        self._writer: Any = None

    def __call__(self, row: dict[str, Any]) -> None:
        """Write one row.

        Raises:
            RunError: the folder cannot be written.
        """
        try:
            self._writer = self._writer or self._open(row["step"])
            for key, value in row.items():
                if isinstance(value, int | float) and key not in ("epoch", "step"):
                    self._writer.add_scalar(f"{row['kind']}/{key}", value, row["step"])
            if row["kind"] != "step":
                self._writer.flush()
        except OSError as error:
            raise RunError(
                f"{self._folder} cannot be written ({error}): make room, or leave --tensorboard out"
            ) from None
