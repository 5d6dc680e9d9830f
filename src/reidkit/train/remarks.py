"""What a run says of itself, before it begins and on its page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch

from reidkit.data.shards.samples import camids_of, pids_of
from reidkit.data.sources import Streamed
from reidkit.data.windows import torn
from reidkit.types import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from reidkit.data.sources import ImageSource
    from reidkit.distributed import Group
    from reidkit.recipe import Optim, Recipe
    from reidkit.types import Benchmark


def machine(device: torch.device, precision: torch.dtype, group: Group) -> str:
    """What a run computes on, and in what."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    several = f"{group.size} processes of " if group.size > 1 else ""
    return f"{several}{name}, {str(precision).removeprefix('torch.')}"


def describe(benchmark: Benchmark, source: ImageSource) -> str:
    """What a run learns from, for its page."""
    people, cameras = (len(np.unique(of(source.samples))) for of in (pids_of, camids_of))
    return f"{benchmark.name}: {len(source)} training images of {people} people from {cameras} cameras"


def warn_of_best(judged: Benchmark | None, apart: bool, say: Callable[[str], None]) -> None:
    """Choosing by scores needs something to score, and images that are chosen by say too much good of themselves.

    `apart`: the images to choose by are not those of the data set itself.

    Raises:
        UsageError: there is nothing to choose by.
    """
    if judged is None:
        raise UsageError("optim.best_every chooses by scores, and there is nothing to judge on: give --val-data")
    if not apart:
        say(
            f"the best of the epochs is chosen on {judged.name}'s own query and gallery, so that their scores will "
            "flatter: give --val-data to choose by other images"
        )


def warn_of_schedule(optim: Optim, batches: int, say: Callable[[str], None]) -> tuple[str, ...]:
    """Warn of what a learning rate's schedule has beyond the end of a run, and return the warnings.

    An epoch has so many `batches`. The epoch of a drop is the last one before it, so that one at the last epoch comes
    to nothing, too.
    """
    epochs, found = optim.epochs, []
    if late := [str(drop) for drop in optim.drops if drop >= epochs]:
        fitting = sorted({drop for drop in (round(epochs / 3), round(epochs * 7 / 12)) if 0 < drop < epochs})
        found.append(
            f"optim.drops lowers the learning rate after epoch {' and '.join(late)}, and the run ends with {epochs}: "
            f"--set optim.drops={json.dumps(fitting, separators=(',', ':'))} has the paper's proportions"
        )
    if optim.warmup_epochs > epochs:
        found.append(
            f"the warm-up takes {optim.warmup_epochs} epochs and the run {epochs}, so that the learning rate never "
            f"reaches optim.lr: --set optim.warmup_epochs={round(epochs / 12)} has the paper's proportions"
        )
    if optim.warmup_steps > epochs * batches:
        found.append(
            f"the warm-up takes {optim.warmup_steps} steps and the run about {epochs * batches}, so that the learning "
            f"rate never reaches optim.lr: --set optim.warmup_steps={round(epochs * batches / 12)} has the paper's "
            "proportions"
        )
    for warning in found:
        say(f"warning: {warning}")
    return tuple(found)


def warn_of_torn(source: ImageSource, labels: NDArray[np.int64], recipe: Recipe, say: Callable[[str], None]) -> None:
    """A window of an epoch can only draw from the images that it holds (see `data.windows`)."""
    share = torn(labels, source.groups, recipe.batch.images) if isinstance(source, Streamed) else 0.0
    if share > 0.1:
        say(
            f"{share:.0%} of the images lie apart from the others of their person, which batches then repeat: "
            "`reidkit shard` puts them together"
        )
