"""Batches on the device: a thread prepares the next ones while the network works on one."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from reidkit.data import transforms
from reidkit.data import transforms as resident
from reidkit.data.sources import UnreadableImagesError
from reidkit.data.stream_sampler import announce_order, epoch_batches
from reidkit.data.transforms import Numbers
from reidkit.distributed import ALONE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.data.sources import ImageSource
    from reidkit.distributed import Group
    from reidkit.recipe import Recipe

T = TypeVar("T")

AHEAD = 3
"""Batches that are prepared before they are asked for."""

_AUGMENT = 0x617567
"""Sets the random numbers of the augmentation apart from those of the sampler, which know no batch."""


class TrainBatches:
    """The augmented batches of every epoch; which they are depends on the recipe, the seed and the labels alone.

    On a GPU with room for the set the images are copied there once, and each batch is cut out of them; else the host
    prepares the pixels. Both ways give the same batches (see `resident.augment` for what rounding and noise do).
    """

    def __init__(
        self,
        source: ImageSource,
        labels: NDArray[np.int64],
        recipe: Recipe,
        seed: int,
        device: torch.device,
        group: Group = ALONE,
    ) -> None:
        """Batches of the images of `source`, whose ids are `labels` [M], counted from 0 or not.

        In a `group` of processes each gets its share of the images, and the labels of all of them.
        """
        if len(labels) != len(source):
            raise ValueError(f"{len(labels)} labels for {len(source)} images")
        self._source, self._labels, self._recipe = source, labels, recipe
        self._seed, self._device, self._group = seed, device, group
        self._order = lru_cache(maxsize=2)(lambda epoch: epoch_batches(source, labels, recipe.batch, seed, epoch))
        self.resident = resident.fits(source, device)
        """Whether the images live on the device; to be changed, if at all, before the first epoch."""
        self.replaced: Callable[[str], None] | None = None
        """Who is told, once for each image, of one that broke since the start and in whose place another image of its
        person stands; None: an epoch ends there. To be changed, if at all, before the first epoch."""
        self._missing: set[int] = set()
        self._images: Tensor | None = None
        self.wait_seconds = 0.0
        """How long the consumer has waited for data so far."""

    def count(self, epoch: int) -> int:
        """How many batches this epoch has.

        Raises:
            DataError: too few ids.
        """
        return len(self._order(epoch))

    def epoch(self, epoch: int, start: int = 0) -> Generator[tuple[Tensor, Tensor], None, None]:
        """The batches of an epoch from the batch `start` on, the same as those of a run that was not broken off.

        Yields:
            Images float32 [B, 3, H, W], normalised and erased, channels last in memory, and labels int64 [B], both
            on the device. One of n processes gets its [B/n, 3, H, W] and all labels.

        Raises:
            DataError: too few ids; an image that is not mapped cannot be read any more.
        """
        order = self._order(epoch)
        if self.resident and self._images is None:
            self._images = resident.load(self._source, self._device, given=self)

        share = self._group.share(order.shape[1])
        announce_order(self._source, order[start:, share])

        def fill(batch: int, slot: _Slot) -> transforms.Draws:
            rng = np.random.default_rng((self._seed, epoch, batch, _AUGMENT))
            drawn = transforms.draw(rng, order.shape[1], self._recipe.images, self._recipe.erasing).of(share)
            index, pad = order[batch, share], self._recipe.images.pad
            if self._images is None:
                transforms.crop_flip(self, index, drawn, pad, slot.images.numpy())
            resident.write_numbers(index, self._labels[order[batch]], drawn, pad, slot.numbers.numpy())
            return drawn

        size = (0, 0) if self.resident else self._source.size
        count = share.stop - share.start
        slots = [_Slot.empty(count, order.shape[1], size, self._device) for _ in range(AHEAD)]
        with contextlib.closing(_prefetch(fill, range(start, len(order)), slots)) as ready:
            while True:
                began = time.perf_counter()
                item = next(ready, None)
                self.wait_seconds += time.perf_counter() - began
                if item is None:
                    return
                yield self._finish(*item)

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """`ImageSource.rows`, where another image of the same person among these may stand in for a broken one.

        Raises:
            DataError: an image cannot be read, and none may stand in for it, or there is none.
        """
        try:
            return self._source.rows(indices)
        except UnreadableImagesError as error:
            if self.replaced is None:
                raise
            whole = np.setdiff1d(np.arange(len(indices)), list(error.why))
            rows = np.arange(len(indices))
            for at, why in error.why.items():
                same = whole[self._labels[indices[whole]] == self._labels[indices[at]]]
                if not len(same):
                    raise
                rows[at] = same[0]
                if indices[at] not in self._missing:
                    self._missing.add(int(indices[at]))
                    self.replaced(f"{why}: another image of the same person stands in for it")
            return error.pixels, rows

    def _finish(self, slot: _Slot, drawn: transforms.Draws) -> tuple[Tensor, Tensor]:
        """What is left to do on the device for a batch that is prepared in `slot`; the host waits for nothing."""
        pixels, numbers = slot.to(self._device, len(drawn.flip))
        fill = self._recipe.erasing.fill
        if self._images is not None:
            erased = fill if drawn.boxes.any() else None
            return resident.augment(self._images, numbers, erased, int(drawn.noise[0])), numbers.label
        images = transforms.normalise(pixels)
        if images.device.type == "cpu":
            transforms.erase(images, drawn.boxes, fill, drawn.noise)
        elif drawn.boxes.any():
            transforms.erase_inside(images, numbers.boxes, fill, int(drawn.noise[0]))
        return images, numbers.label


def eval_batches(
    source: ImageSource, batch_size: int, device: torch.device, flip: bool = False, share: slice | None = None
) -> Generator[Tensor, None, None]:
    """All images in order, normalised, with nothing drawn: float32 [B, 3, H, W] on the device, the last one smaller.

    With `flip` every image is mirrored. With a `share` only those images.

    Raises:
        DataError: an image that is not mapped cannot be read any more.
    """
    wanted = np.arange(len(source))[share or slice(None)]
    total = len(wanted)
    announce_order(source, wanted)

    def fill(batch: int, slot: _Slot) -> int:
        indices = wanted[batch * batch_size : (batch + 1) * batch_size]
        transforms.copy(source, indices, flip, slot.images.numpy()[: len(indices)])
        return len(indices)

    slots = [_Slot.empty(min(batch_size, total), 0, source.size, device) for _ in range(AHEAD)]
    with contextlib.closing(_prefetch(fill, range(-(-total // batch_size)), slots)) as ready:
        for slot, count in ready:
            yield transforms.normalise(slot.to(device, count)[0])


@dataclass
class _Slot:
    """Room for one batch in the host's memory: pixels uint8 [B, H, W, 3], and numbers int64 [9, L] (see `Numbers`)."""

    images: Tensor
    numbers: Tensor
    copied: torch.cuda.Event | None = None

    @classmethod
    def empty(cls, count: int, labelled: int, size: tuple[int, int], device: torch.device) -> _Slot:
        pinned = device.type == "cuda"
        images = torch.empty((count, *size, 3), dtype=torch.uint8, pin_memory=pinned)
        numbers = torch.zeros((resident.ROWS, labelled), dtype=torch.int64, pin_memory=pinned)
        return cls(images, numbers, torch.cuda.Event() if pinned else None)

    def to(self, device: torch.device, count: int) -> tuple[Tensor, Numbers]:
        """The pixels of the first `count` images, on a CPU still those of the slot, and a copy of all numbers."""
        pixels = self.images[:count].to(device, non_blocking=True)
        numbers = self.numbers.to(device, non_blocking=True, copy=True)
        if self.copied is not None:
            self.copied.record(torch.cuda.current_stream(device))
        return pixels, Numbers.of(numbers, count)

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
