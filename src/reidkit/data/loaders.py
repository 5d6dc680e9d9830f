"""Batches on the device: a thread prepares the next ones while the network works on one."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from reidkit.data import transforms, transforms_on_device
from reidkit.data.masks import with_masks
from reidkit.data.sampler import build_sampler
from reidkit.data.sources import READ_ANYWHERE, Streamed, UnreadableImagesError
from reidkit.data.style_exchange import StyledRows
from reidkit.data.transforms import build_augmentation
from reidkit.data.transforms_on_device import DeviceParams
from reidkit.distributed import ALONE
from reidkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.data.masks import Masks
    from reidkit.data.sampler import Sampler
    from reidkit.data.sources import ImageSource, Rows
    from reidkit.data.transforms import Augmentation
    from reidkit.distributed import Group
    from reidkit.recipe import Recipe

T = TypeVar("T")

AHEAD = 3
"""Batches that are prepared before they are asked for."""

DEVICE_ROOM = 4
"""The images are kept on the device if they take less than one part in so many of the memory that is free there."""

_COPIED_AT_ONCE = 1024
"""Images that are copied to the device at a time."""

_AUGMENT = 0x617567
"""Sets the random numbers of the augmentation apart from those of the sampler, which know no batch."""


_STYLE = 0x737479
"""Sets those of AutoAugment and of the exchange of styles apart from both, which are there without them."""


@dataclass(eq=False)
class TrainBatches:
    """The augmented batches of every epoch; which they are depends on sampler, augmentation, seed and labels alone.

    `source` has the images, whose ids are `labels` int64 [M], counted from 0 or not. In a `group` of processes each
    gets its slice of the images of a batch, and the labels of all of them.

    On a GPU with room for the set (`resident`) the images are copied there once, and each batch is cut out of them;
    else the host prepares the pixels. Both ways give the same batches (see `augment_on_device` for what rounding
    and noise do).

    `replaced` is called with a sentence, once for each image that became unreadable since the start and was replaced by
    another image of the same id in its batch. If it is None, such an image ends the epoch.
    """

    source: ImageSource
    labels: NDArray[np.int64]
    sampler: Sampler
    augmentation: Augmentation
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    group: Group = ALONE
    replaced: Callable[[str], None] | None = None
    watcher: Callable[[int, int, Tensor], None] = lambda *_: None
    """Is called before a batch is handed out: with its epoch, its number, and the images of it that are here."""

    asked_to_stop: Callable[[], bool] = lambda: False
    """Whether the run is to stop, for what takes long before the first batch of an epoch."""

    resident: bool | None = None
    """Whether the images are copied to the device; None: if it is a GPU that has room for them."""

    masks: Masks | None = None
    """Those of the images of `source`: they stand behind the colours of each batch, cropped as its images."""

    wait_seconds: float = field(default=0.0, init=False)
    """How long the consumer has waited for data so far."""

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.source):
            raise ValueError(f"{len(self.labels)} labels for {len(self.source)} images")
        if self.augmentation.exchange and isinstance(self.source, Streamed):
            raise UsageError(
                f"streamed shards have an order of their own: set images.exchange to 0, or {READ_ANYWHERE}",
                argument="images.exchange",
            )
        if self.resident is None:
            on_host = self.augmentation.changes_pixels or self.masks is not None
            self.resident = fits_on(self.device, self.source) and not on_host
        self._styles = StyledRows(self, self.source, self.augmentation) if self.augmentation.changes_pixels else None
        self._order = lru_cache(maxsize=2)(self.sampler.epoch)
        self._missing: set[int] = set()
        self._images: Tensor | None = None

    def count(self, epoch: int) -> int:
        """Return how many batches this epoch has.

        Raises:
            DataError: too few ids.
        """
        return len(self._order(epoch))

    def forget_order(self) -> None:
        """Ask the sampler again for its batches, as it gives others from now on."""
        self._order.cache_clear()

    def styled(self, epoch: int, batch: int) -> Tensor | None:
        """Return which images of a whole batch have another camera's style: bool [B], on the device; None without.

        It is what `epoch` has drawn.
        """
        if self._styles is None:
            return None
        rng = np.random.default_rng((self.seed, epoch, batch, _STYLE))
        styled_b = self._styles.exchanged(rng, self._order(epoch)[batch])
        return None if styled_b is None else torch.from_numpy(styled_b).to(self.device)

    def cameras(self, epoch: int, batch: int) -> Tensor:
        """Return the cameras of the images that this process has of a batch: int64 [B/n], on the device."""
        order = self.indices(epoch, batch)
        here = order[self.group.slice_of(len(order))]
        return torch.from_numpy(self.source.samples.camids[here].astype(np.int64)).to(self.device)

    def indices(self, epoch: int, batch: int) -> NDArray[np.int64]:
        """Return which images of `source` a whole batch consists of: int64 [B]."""
        indices: NDArray[np.int64] = self._order(epoch)[batch]
        return indices

    def epoch(self, epoch: int, start: int = 0) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield the batches of an epoch from the batch `start` on, the same as those of a run that was not broken off.

        Yields:
            Images float32 [B, 3, H, W], normalised and erased, channels last in memory, and labels int64 [B], both
            on the device. One of n processes gets its [B/n, 3, H, W] and all labels. With masks images are
            [B, 3 + K, H, W].

        Raises:
            DataError: too few ids; an image that is not mapped cannot be read any more.
        """
        order = self._order(epoch)
        if self.resident and self._images is None:
            self._images = copy_to_device(self.device, self.source, self)

        mine = self.group.slice_of(order.shape[1])
        _announce(self.source, order[start:, mine])

        pad = self.augmentation.pad

        def fill(batch: int, slot: _Slot) -> transforms.AugmentParams:
            # Every process samples the parameters of the whole batch: they do not depend on the number of processes.
            rng = np.random.default_rng((self.seed, epoch, batch, _AUGMENT))
            params = self.augmentation.sample(rng, order.shape[1], self.source.size).of(mine)
            index = order[batch, mine]
            if self._images is None:
                rows: Rows = self
                if self._styles is not None:
                    styles = np.random.default_rng((self.seed, epoch, batch, _STYLE))
                    rows = self._styles.of(styles, order[batch], mine)
                transforms.crop_flip(rows, index, params, pad, slot.images.numpy())
            if self.masks is not None:
                self.masks.augment_into(index, params, pad, slot.masks.numpy())
            transforms_on_device.write_params(index, self.labels[order[batch]], params, pad, slot.numbers.numpy())
            return params

        size = (0, 0) if self.resident else self.source.size
        count = mine.stop - mine.start
        slots = [_Slot.empty(count, order.shape[1], size, self.device, self.masks) for _ in range(AHEAD)]
        with contextlib.closing(_prefetch(fill, range(start, len(order)), slots)) as ready:
            for batch in itertools.count(start):
                began = time.perf_counter()
                item = next(ready, None)
                self.wait_seconds += time.perf_counter() - began
                if item is None:
                    return
                images, labels = self._finish(*item)
                self.watcher(epoch, batch, images)
                yield images, labels

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """`ImageSource.rows`, where another image of the same id among these may replace an unreadable one.

        Raises:
            DataError: an image cannot be read, and none may replace it, or there is none.
        """
        try:
            return self.source.rows(indices)
        except UnreadableImagesError as error:
            if self.replaced is None:
                raise
            readable = np.setdiff1d(np.arange(len(indices)), list(error.why))
            rows = np.arange(len(indices))
            for at, why in error.why.items():
                same = readable[self.labels[indices[readable]] == self.labels[indices[at]]]
                if not len(same):
                    raise
                rows[at] = same[0]
                if indices[at] not in self._missing:
                    self._missing.add(int(indices[at]))
                    self.replaced(f"{why}: another image of the same id replaces it")
            return error.pixels, rows

    def _finish(self, slot: _Slot, params: transforms.AugmentParams) -> tuple[Tensor, Tensor]:
        """What is left to do on the device for a batch that is prepared in `slot`; the host waits for nothing."""
        pixels, on_device = slot.to(self.device, len(params.flip))
        fill = self.augmentation.erasing.fill
        if self._images is not None:
            erased = fill if params.boxes.any() else None
            return transforms_on_device.augment_on_device(
                self._images, on_device, erased, int(params.noise[0])
            ), on_device.label
        images = transforms.normalise(pixels)
        if images.device.type == "cpu":
            transforms.erase(images, params.boxes, fill, params.noise)
        elif params.boxes.any():
            transforms_on_device.erase_inside(images, on_device.boxes, fill, int(params.noise[0]))
        if self.masks is not None:
            images = with_masks(images, slot.masks.to(self.device), self.masks)
        return images, on_device.label


def build_batches(  # noqa: PLR0913
    source: ImageSource,
    labels: NDArray[np.int64],
    recipe: Recipe,
    seed: int,
    device: torch.device,
    group: Group = ALONE,
    *,
    sampler: Sampler | None = None,
) -> TrainBatches:
    """Return the batches of a recipe; with a `sampler`, those that it chooses.

    Raises:
        DataError: fewer ids than a batch needs.
    """
    if sampler is None:
        sampler = build_sampler(source, labels, recipe.batch, seed)
    augmentation = build_augmentation(recipe.images, recipe.erasing)
    return TrainBatches(source, labels, sampler, augmentation, seed, device, group)


def eval_batches(
    source: ImageSource,
    batch_size: int,
    device: torch.device,
    part: slice | None = None,
    *,
    masks: Masks | None = None,
) -> Generator[Tensor, None, None]:
    """All images in order, normalised, not augmented: float32 [B, 3, H, W] on the device, the last one smaller.

    With a `part` only those images. With the `masks` of the images of `source`, [B, 3 + K, H, W].

    Raises:
        DataError: an image that is not mapped cannot be read any more.
    """
    wanted = np.arange(len(source))[part or slice(None)]
    total = len(wanted)
    _announce(source, wanted)

    def fill(batch: int, slot: _Slot) -> int:
        indices = wanted[batch * batch_size : (batch + 1) * batch_size]
        transforms.copy(source, indices, slot.images.numpy()[: len(indices)])
        if masks is not None:
            slot.masks.numpy()[: len(indices)] = masks.rows(indices)
        return len(indices)

    slots = [_Slot.empty(min(batch_size, total), 0, source.size, device, masks) for _ in range(AHEAD)]
    with contextlib.closing(_prefetch(fill, range(-(-total // batch_size)), slots)) as ready:
        for slot, count in ready:
            images = transforms.normalise(slot.to(device, count)[0])
            yield images if masks is None else with_masks(images, slot.masks[:count].to(device), masks)


def fits_on(device: torch.device, source: ImageSource) -> bool:
    """Return whether the device is a GPU with room for the images of `source`; a CPU has them in its memory already."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return len(source) * source.size[0] * source.size[1] * 3 * DEVICE_ROOM < free


def copy_to_device(device: torch.device, source: ImageSource, given: Rows | None = None) -> Tensor:
    """All images of `source` uint8 [M, H, W, 3] on the device, in the order of their indices; `given` may give them.

    Raises:
        DataError: an image that is not mapped cannot be read any more.
    """
    images = torch.empty((len(source), *source.size, 3), dtype=torch.uint8, device=device)
    for first in range(0, len(source), _COPIED_AT_ONCE):
        indices = np.arange(first, min(first + _COPIED_AT_ONCE, len(source)))
        pixels, rows = (given or source).rows(indices)
        images[first : first + len(rows)] = torch.from_numpy(np.take(pixels, rows, axis=0))
    return images


def _announce(source: ImageSource, order: NDArray[np.int64]) -> None:
    """Tell a source that reads ahead which images will be asked for, in their order."""
    if isinstance(source, Streamed):
        source.expect(order)


@dataclass
class _Slot:
    """Room for one batch in host memory: pixels uint8 [B, H, W, 3], parameters int64 [9, L] (see `DeviceParams`).

    `masks` uint8 [B, H, W, M] is empty where there are none.
    """

    images: Tensor
    numbers: Tensor
    masks: Tensor
    copied: torch.cuda.Event | None = None

    @classmethod
    def empty(
        cls, count: int, labelled: int, size: tuple[int, int], device: torch.device, masks: Masks | None = None
    ) -> _Slot:
        pinned = device.type == "cuda"
        images = torch.empty((count, *size, 3), dtype=torch.uint8, pin_memory=pinned)
        numbers = torch.zeros((transforms_on_device.PARAM_ROWS, labelled), dtype=torch.int64, pin_memory=pinned)
        beside = torch.empty((count, *size, masks.stored) if masks else 0, dtype=torch.uint8)
        return cls(images, numbers, beside, torch.cuda.Event() if pinned else None)

    def to(self, device: torch.device, count: int) -> tuple[Tensor, DeviceParams]:
        """The pixels of the first `count` images, on a CPU still those of the slot, and a copy of all numbers."""
        pixels = self.images[:count].to(device, non_blocking=True)
        numbers = self.numbers.to(device, non_blocking=True, copy=True)
        if self.copied is not None:
            self.copied.record(torch.cuda.current_stream(device))
        return pixels, DeviceParams.of(numbers, count)

    def wait(self) -> None:
        """Until the device has taken what is in here."""
        if self.copied is not None:
            self.copied.synchronize()


def _prefetch(
    fill: Callable[[int, _Slot], T], batches: range, slots: Sequence[_Slot]
) -> Generator[tuple[_Slot, T], None, None]:
    """Run `fill` for each batch in a thread, ahead of the consumer, whose slot is its own until it asks for the next.

    What `fill` raises is raised here, in its turn. Closing the generator ends the thread.
    """
    free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
    ready: queue.SimpleQueue[tuple[_Slot, T] | BaseException | None] = queue.SimpleQueue()
    closed = threading.Event()

    def work() -> None:
        try:
            for batch in batches:
                slot = free.get()
                if closed.is_set():
                    return
                slot.wait()
                ready.put((slot, fill(batch, slot)))
            ready.put(None)
        except BaseException as error:  # even this must not end in silence
            ready.put(error)

    for slot in slots:
        free.put(slot)
    thread = threading.Thread(target=work, name="reidkit-prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            free.put(item[0])
    finally:
        closed.set()
        free.put(slots[0])  # it may be waiting for one
        thread.join()
