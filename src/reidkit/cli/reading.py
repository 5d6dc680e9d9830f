"""How a command that judges reads its images, from its options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reidkit.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit.judge import Reading


def make_reading(
    device: str,
    precision: options.Precision,
    batch: int,
    cache: tuple[Path | None, bool],
    skip_broken: bool,
    tell: Callable[[str, int, int], None] | None,
) -> Reading:
    """The options of the same names; `cache` is `--cache` and `--no-cache`.

    Raises:
        UsageError: `--cache` with `--no-cache`, or a device that is not there.
    """
    from reidkit.embed import choose_device, choose_precision
    from reidkit.judge import Reading

    chosen = choose_device(device)
    return Reading(
        cache_dir=options.cache_dir(*cache),
        skip_broken=skip_broken,
        device=chosen,
        precision=choose_precision(precision.value, chosen),
        batch=batch,
        tell=tell,
    )
