"""The journal as TensorBoard events, an extra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reidkit.types import UsageError

if TYPE_CHECKING:
    from pathlib import Path


class Events:
    """Watches a journal: every number of a row becomes a curve named `kind/key` over the steps.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError("--tensorboard needs the extra: pip install 'reidkit[tensorboard]'") from None
        self.writer = SummaryWriter(str(folder))

    def __call__(self, row: dict[str, Any]) -> None:
        """Write one row."""
        for key, value in row.items():
            if isinstance(value, int | float) and key not in ("epoch", "step"):
                self.writer.add_scalar(f"{row['kind']}/{key}", value, row["step"])
        if row["kind"] != "step":
            self.writer.flush()
