"""How images are read and run through an encoder: what changes a feature by no more than rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

import torch

from reidkit.arguments import check_choice, check_whole
from reidkit.distributed import ALONE
from reidkit.errors import UsageError
from reidkit.hardware import choose_device, choose_precision
from reidkit.types import Missing

if TYPE_CHECKING:
    import os

    from reidkit.distributed import Group

OnProgress: TypeAlias = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`, with numbers of images."""

Feature: TypeAlias = Literal["f_i", "f_t"]
"""Which feature is compared: f_i after the neck, or f_t before it."""

FEATURES: dict[str, Feature] = {"f_i": "f_i", "f_t": "f_t", "after": "f_i", "before": "f_t"}
"""The features by their names, and by the words of commands and files: after or before the neck."""


@dataclass(frozen=True, init=False)
class InferenceOptions:
    """How images are read and run; none of it changes a score by more than rounding.

    `device` is "auto" (the GPU where there is one), "cpu", "cuda" or a torch device. `precision` is "auto" (bf16 where
    the device computes with it), "fp32", "bf16" or a torch type. `batch` images are run at a time; 0: what fills the
    device. Decoded images are kept in `cache_dir`; None: no cache. `progress` is called as
    `progress(what, done, total)`. `group` are the processes that share the embedding; each gets all features.
    `masks`: the folder of masks beside the images, or a file of keypoints, for a network that takes them; images
    without one are refused, or have all `ones` (`missing_masks`; see `reidkit.data.open_masks`).
    `own_precision`: nobody asked for a precision, so that an exported file computes in its own.

    Raises:
        UsageError: a device that this machine does not have, or no such precision.
    """

    device: torch.device
    precision: torch.dtype
    batch: int
    cache_dir: Path | None
    skip_unreadable: bool
    progress: OnProgress | None
    group: Group
    masks: Path | None
    missing_masks: Missing
    own_precision: bool

    def __init__(  # noqa: PLR0913
        self,
        *,
        device: str | torch.device = "auto",
        precision: str | torch.dtype = "auto",
        batch: int = 0,
        cache_dir: str | os.PathLike[str] | None = None,
        skip_unreadable: bool = False,
        progress: OnProgress | None = None,
        group: Group = ALONE,
        masks: str | os.PathLike[str] | None = None,
        missing_masks: Missing = "refuse",
        own_precision: bool = False,
    ) -> None:
        if isinstance(batch, Integral) and batch < 0:
            raise UsageError(
                f"a batch of {batch} images: pass 1 or more, or 0 for what fills the device", argument="batch"
            )
        batch = check_whole(batch, "batch")
        chosen = device if isinstance(device, torch.device) else choose_device(device)
        values = {
            "device": chosen,
            "precision": precision if isinstance(precision, torch.dtype) else choose_precision(precision, chosen),
            "batch": batch,
            "cache_dir": None if cache_dir is None else Path(cache_dir),
            "skip_unreadable": skip_unreadable,
            "progress": progress,
            "group": group,
            "masks": None if masks is None else Path(masks),
            "missing_masks": check_choice(missing_masks, Missing, "missing_masks"),
            # `dataclasses.replace` passes the type that "auto" has become, and what was known of it.
            "own_precision": precision == "auto" or (own_precision and isinstance(precision, torch.dtype)),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)


class InferenceChanges(TypedDict, total=False):
    """Fields of `InferenceOptions` by name, for functions that take them one by one."""

    device: str | torch.device
    precision: str | torch.dtype
    batch: int
    cache_dir: str | os.PathLike[str] | None
    skip_unreadable: bool
    progress: OnProgress | None
    masks: str | os.PathLike[str] | None
    missing_masks: Missing


def feature_name(word: str) -> Feature:
    """Return `f_i` or `f_t`, for `after` and `before` the neck too.

    Raises:
        UsageError: it is none of them.
    """
    if word not in FEATURES:
        raise UsageError(f"there is no feature {word}: choose f_i, after the neck, or f_t, before it")
    return FEATURES[word]
