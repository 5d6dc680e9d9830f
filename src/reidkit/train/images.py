"""The images of a run: opened, told apart from other sets, and the same to its end."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from reidkit.data.cache import open_images
from reidkit.data.shards.samples import ShardSamples
from reidkit.data.sources import Streamed
from reidkit.data.standins import AsBegun
from reidkit.train import folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidkit.data.sources import ImageSource
    from reidkit.recipe import Recipe
    from reidkit.train.job import Job
    from reidkit.types import Sample


def open_for(samples: Sequence[Sample], recipe: Recipe, job: Job) -> ImageSource:
    """The images of `samples`, as the job wants them read."""
    return open_images(
        samples,
        recipe.images,
        job.cache_dir,
        job.skip_broken,
        lambda done, total: job.tell("reading images", done, total),
        job.stream,
    )


def open_training(samples: Sequence[Sample], recipe: Recipe, job: Job) -> tuple[ImageSource, dict[str, list[int]]]:
    """The images to train with, and what `run.json` is to remember of those left out: their places in the list.

    A run that goes on keeps the list that it was begun with.
    """
    source = open_for(samples, recipe, job)
    if not job.skip_broken or isinstance(source.samples, ShardSamples):
        return source, {}
    left_out = np.setdiff1d(np.arange(len(samples)), source.kept).tolist()
    if job.resume and folder.holds_run(job.out):
        before = folder.left_out(job.out)
        if before != left_out:
            source = AsBegun(source, samples, before)
            if len(source.lost):
                names = ", ".join(samples[i].path.name for i in source.lost[:3].tolist())
                more = ", ..." if len(source.lost) > 3 else ""
                job.say(f"others of the same people stand in for images that cannot be read any more: {names}{more}")
        left_out = before
    return source, {folder.LEFT_OUT: left_out} if left_out else {}


def digest(source: ImageSource) -> str:
    """Names and ids of the training images; their order too, as it decides which ones make up a batch."""
    if isinstance(source.samples, ShardSamples):
        return source.samples.digest() + (folder.STREAMED if isinstance(source, Streamed) else "")
    total = hashlib.sha256()
    for sample in source.samples:
        total.update(f"{sample.path.name}\0{sample.pid}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:16]
