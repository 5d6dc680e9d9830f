"""Images in, batches out: layouts of data sets, reading and decoding, sampling, augmentation, shards.

The names below stand alone and take plain arguments. They are imported when they are first used, since some need torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.lazy import import_when_asked

if TYPE_CHECKING:
    from reidkit.data.formats.detect import load_dataset, merge_datasets
    from reidkit.data.images import open_images
    from reidkit.data.loaders import TrainBatches
    from reidkit.data.masks import Masks, open_masks
    from reidkit.data.sampler import PKSampler
    from reidkit.data.transforms import Augmentation, RandomErasing
    from reidkit.types import Dataset, Sample, Samples, SampleTable

__all__ = [
    "Augmentation",
    "Dataset",
    "Masks",
    "PKSampler",
    "RandomErasing",
    "Sample",
    "SampleTable",
    "Samples",
    "TrainBatches",
    "load_dataset",
    "merge_datasets",
    "open_images",
    "open_masks",
]

_NAMES = {
    "reidkit.types": ("Dataset", "Sample", "SampleTable", "Samples"),
    "reidkit.data.formats.detect": ("load_dataset", "merge_datasets"),
    "reidkit.data.images": ("open_images",),
    "reidkit.data.loaders": ("TrainBatches",),
    "reidkit.data.masks": ("Masks", "open_masks"),
    "reidkit.data.sampler": ("PKSampler",),
    "reidkit.data.transforms": ("Augmentation", "RandomErasing"),
}

__getattr__ = import_when_asked(__name__, _NAMES)
