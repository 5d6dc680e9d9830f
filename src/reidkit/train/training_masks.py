"""The masks of a training: opened before the first step, and what is wrong with them said then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reidkit.data.masks import masks_of
from reidkit.data.sources import WithReplacements
from reidkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from reidkit.data.masks import Masks
    from reidkit.data.sources import ImageSource
    from reidkit.train.inputs import Job


def open_training_masks(source: ImageSource, job: Job) -> Masks | None:
    """Return the masks of the training images for a network that takes them, else None.

    Raises:
        DataError: masks are missing or cannot be read, or an image of a run before is gone.
        UsageError: the network takes masks and there are none, or the other way round.
    """
    network, images = job.recipe.network, job.recipe.images
    if job.network is not None and (job.masks is not None or network.masks != "none"):
        raise UsageError("a network of your own takes no masks: leave them out", argument="masks")
    how: Any = {"missing": job.options.missing_masks, "progress": job.show_progress}
    masks = masks_of(job.masks, source.samples, images, network, **how)
    if masks is None:
        return None
    if isinstance(source, WithReplacements) and len(source.lost):
        raise DataError("with masks no image can replace another: repair those that are lost, and run again")
    if masks.missing:
        job.warn(
            f"{masks.missing} of {len(masks)} training images have no mask: all ones are taken for it", "missing_masks"
        )
    return masks
