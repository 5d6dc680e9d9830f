"""Images to learn from without labels: the training images of a data set, or a folder of images alone."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from reidkit.data.formats import scan
from reidkit.data.formats.detect import load_dataset, merge_datasets
from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.types import NO_CAMERA, Dataset, Sample, SampleTable, as_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidkit.types import Samples

    Unlabelled = str | os.PathLike[str] | Dataset | Sequence[Sample] | Sequence[str | os.PathLike[str] | Dataset]

NO_ID = 0
"""The pid of all images whose ids are not to be read."""


def open_unlabelled(data: Unlabelled, format: str | None = None) -> Dataset:  # noqa: A002
    """Open images whose ids do not matter, and forget these.

    Args:
        data: A data set or its path; the path of a folder with nothing but images in it, which need not say ids;
            several of these; or samples.
        format: The format of data sets given as paths; None: it is recognised.

    Returns:
        A data set whose training images have one pid, 0, all of them; query and gallery are as they were.

    Raises:
        DataError: a path leads to no data set and no images, or there are no training images.
    """
    dataset = _opened(data, format)
    if not dataset.train:
        raise DataError(
            f"the data set {dataset.name} has no training images, and those of a query or gallery are not learned "
            "from: give a data set or a folder with other images",
            argument="data",
        )
    return dataclasses.replace(dataset, train=without_ids(dataset.train))


def without_ids(samples: Samples) -> Samples:
    """Return the same images as of one id; those in shards as they are, as their table has no room for a change."""
    if samples.shards:
        return samples
    return SampleTable(Sample(sample.path, NO_ID, sample.camid) for sample in samples)


def _opened(data: Unlabelled, format: str | None) -> Dataset:  # noqa: A002
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | os.PathLike):
        return _load(Path(data), format)
    if not hasattr(data, "__len__"):
        raise UsageError(
            f"data is a {type(data).__name__}: pass a folder, what load_dataset returns, or a list of these or of "
            "Sample(path, pid, camid)",
            argument="data",
        )
    if len(data) and isinstance(data[0], str | os.PathLike | Dataset):
        opened = [_opened(one, format) for one in data]  # type: ignore[arg-type]
        return opened[0] if len(opened) == 1 else merge_datasets(opened)
    return Dataset("samples", train=as_samples(data))  # type: ignore[arg-type]


def _load(folder: Path, format: str | None) -> Dataset:  # noqa: A002
    """Load a data set; where none is recognised, the images right inside the folder, if it holds nothing else."""
    try:
        return load_dataset(folder, format)
    except MissingFileError:
        raise
    except DataError:
        if format is not None or not scan.any_image(folder) or scan.folders_in(folder):
            raise
    images = (Sample(folder / name, NO_ID, NO_CAMERA) for name in scan.image_names(folder))
    return Dataset(folder.resolve().name, train=images)
