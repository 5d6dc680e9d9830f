"""How a command that judges reads its images, from its options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reidkit.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit.encoder import InferenceOptions


def make_inference_options(
    device: str,
    precision: options.Precision,
    batch: int,
    cache: tuple[Path | None, bool],
    skip_unreadable: bool,
    tell: Callable[[str, int, int], None] | None,
) -> InferenceOptions:
    """The options of the same names; `cache` is `--cache` and `--no-cache`.

    Raises:
        UsageError: `--cache` with `--no-cache`, or a device that is not there.
    """
    from reidkit.encoder import InferenceOptions, choose_device, choose_precision

    chosen = choose_device(device)
    return InferenceOptions(
        cache_dir=options.cache_dir(*cache),
        skip_unreadable=skip_unreadable,
        device=chosen,
        precision=choose_precision(precision.value, chosen),
        batch=batch,
        progress=tell,
    )
