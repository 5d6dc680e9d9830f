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
from reidkit.data.windows import epoch_batches, foretell

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.data.sources import ImageSource
    from reidkit.recipe import Recipe

T = TypeVar("T")

AHEAD = 3
"""Batches that are prepared before they are asked for."""

_AUGMENT = 0x617567
"""Sets the random numbers of the augmentation apart from those of the sampler, which know no batch."""


class TrainBatches:
    """The augmented batches of every epoch; which they are depends on the recipe, the seed and the labels alone."""

    def __init__(
        self, source: ImageSource, labels: NDArray[np.int64], recipe: Recipe, seed: int, device: torch.device
    ) -> None:
        """Batches of the images of `source`, whose ids are `labels` [M], counted from 0 or not."""
        if len(labels) != len(source):
            raise ValueError(f"{len(labels)} labels for {len(source)} images")
        self._source, self._labels, self._recipe = source, labels, recipe
        self._seed, self._device = seed, device
        self._order = lru_cache(maxsize=2)(lambda epoch: epoch_batches(source, labels, recipe.batch, seed, epoch))
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
            on the device.

        Raises:
            DataError: too few ids; an image that is not mapped cannot be read any more.
        """
        order = self._order(epoch)
        foretell(self._source, order[start:])
        erasing, pad = self._recipe.erasing, self._recipe.images.pad

        def fill(batch: int, slot: _Slot) -> transforms.Draws:
            rng = np.random.default_rng((self._seed, epoch, batch, _AUGMENT))
            drawn = transforms.draw(rng, order.shape[1], self._recipe.images, erasing)
            transforms.crop_flip(self._source, order[batch], drawn, pad, slot.images.numpy())
            slot.labels.numpy()[:] = self._labels[order[batch]]
            return drawn

        slots = [_Slot.empty(order.shape[1], self._source.size, self._device) for _ in range(AHEAD)]
        with contextlib.closing(_prefetch(fill, range(start, len(order)), slots)) as ready:
            while True:
                began = time.perf_counter()
                item = next(ready, None)
                self.wait_seconds += time.perf_counter() - began
                if item is None:
                    return
                slot, drawn = item
                images, labels = slot.to(self._device, order.shape[1])
                transforms.erase(images, drawn.boxes, erasing.fill, drawn.noise)
                yield images, labels


def eval_batches(
    source: ImageSource, batch_size: int, device: torch.device, flip: bool = False
) -> Generator[Tensor, None, None]:
    """All images in order, normalised, with nothing drawn: float32 [B, 3, H, W] on the device, the last one smaller.

    With `flip` every image is mirrored.

    Raises:
        DataError: an image that is not mapped cannot be read any more.
    """
    total = len(source)
    foretell(source, np.arange(total))

    def fill(batch: int, slot: _Slot) -> int:
        indices = np.arange(batch * batch_size, min((batch + 1) * batch_size, total))
        transforms.copy(source, indices, flip, slot.images.numpy()[: len(indices)])
        return len(indices)

    slots = [_Slot.empty(min(batch_size, total), source.size, device) for _ in range(AHEAD)]
    with contextlib.closing(_prefetch(fill, range(-(-total // batch_size)), slots)) as ready:
        for slot, count in ready:
            yield slot.to(device, count)[0]


@dataclass
class _Slot:
    """Room for one batch in the host's memory: pixels uint8 [B, H, W, 3], labels int64 [B]."""

    images: Tensor
    labels: Tensor
    copied: torch.cuda.Event | None = None

    @classmethod
    def empty(cls, count: int, size: tuple[int, int], device: torch.device) -> _Slot:
        pinned = device.type == "cuda"
        images = torch.empty((count, *size, 3), dtype=torch.uint8, pin_memory=pinned)
        labels = torch.zeros(count, dtype=torch.int64, pin_memory=pinned)
        return cls(images, labels, torch.cuda.Event() if pinned else None)

    def to(self, device: torch.device, count: int) -> tuple[Tensor, Tensor]:
        """The first `count` images, normalised, and their labels, in memory of their own on the device."""
        pixels = self.images[:count].to(device, non_blocking=True)
        labels = self.labels[:count].to(device, non_blocking=True, copy=True)
        if self.copied is not None:
            self.copied.record(torch.cuda.current_stream(device))
        return transforms.normalise(pixels), labels

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
