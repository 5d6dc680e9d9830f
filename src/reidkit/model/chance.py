"""Modules that draw random numbers in `forward`, as functions of (seed, step) and of the whole batch.

What is drawn from torch's random state would differ between the two passes of a micro-batch, between processes that
share a batch, and between a run and the same run gone on with. A `Chance` draws from numbers of its own instead, which
the training loop sets before each step (`reseed`), and knows which images of the batch it sees (`placed`).
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from reidkit.distributed import ALONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reidkit.distributed import Group


RANDOM_STATE = threading.RLock()
"""Who sets torch's random state holds this, as one thread would otherwise put back what another has drawn from."""


@contextmanager
def first_weights(seed: int | None = None) -> Iterator[None]:
    """Draw the weights of a network from torch's random state, which all threads share, after any other network.

    With a `seed` the state is that of the seed, and goes on from there. Without one, as for weights that a file will
    replace, it is what it was before.
    """
    with RANDOM_STATE:
        if seed is not None:
            torch.manual_seed(seed)
            yield
            return
        before = torch.get_rng_state()
        try:
            yield
        finally:
            torch.set_rng_state(before)


class Place(NamedTuple):
    """The images that a module sees now: those from `first` on of a batch of `total`, in its micro-batch `part`."""

    first: int
    total: int
    part: int = 0


class Chance(nn.Module):
    """A module that draws in `forward`: derive from it, and draw by the methods below in training mode.

    In a loop of your own call `reseed(network, seed, step)` before each step; without it the draws follow torch's
    random state, as those of `nn.Dropout` do. A module that is called twice in one step draws the same both times.
    """

    group: Group = ALONE
    """The processes that share a micro-batch (see `train.parallel.synchronise`)."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: tuple[int, ...] | None = None
        self._place: Place | None = None

    # Numbers that change with each step are no constants of a compiled graph: it is left for drawing.
    @_disable_dynamo
    def generator(self, stream: int = 0) -> torch.Generator:
        """Return a generator for what is drawn once for the whole batch: alike in every part and process.

        Another `stream` gives other numbers.
        """
        return torch.Generator().manual_seed(self._seed(0, stream))

    @_disable_dynamo
    def generator_of_part(self) -> torch.Generator:
        """Return a generator for what is drawn once for each micro-batch: alike in the processes that share it."""
        return torch.Generator().manual_seed(self._seed(1, self._place.part if self._place else 0))

    @_disable_dynamo
    def of_batch(self, draw: Callable[[int, torch.Generator], Tensor], images: Tensor, *, stream: int = 0) -> Tensor:
        """Return the rows for the images [B, ...] here of what `draw(count, generator)` gives for the whole batch.

        So each image gets its own, whatever the parts are.
        """
        place = self._place or Place(0, len(images))
        return draw(place.total, self.generator(stream))[place.first : place.first + len(images)]

    @_disable_dynamo
    def uniform(self, images: Tensor, *shape: int) -> Tensor:
        """Draw numbers in [0, 1) for each of the images [B, ...] here: [B, *shape], float32, on their device."""
        drawn = self.of_batch(lambda count, generator: torch.rand(count, *shape, generator=generator), images)
        return drawn.to(images.device)

    def drop(self, x: Tensor, probability: float, *shape: int) -> Tensor:
        """Zero parts of x [B, ...] with a probability p, in training mode, and divide the rest by 1 - p.

        Each of the `shape` parts of an image, which broadcasts against x, is kept or dropped by itself.
        """
        if not self.training or not probability:
            return x
        kept = self.uniform(x, *shape) >= probability
        return x * kept.to(x.dtype) / (1 - probability)

    def _seed(self, *stream: int) -> int:
        if self._numbers is None:
            return int(torch.randint(2**62, ()).item())
        return int(np.random.SeedSequence((*self._numbers, *stream)).generate_state(1, np.uint64)[0] >> 1)


def chances(network: nn.Module) -> list[Chance]:
    """Return the modules of a network that draw."""
    return [module for module in network.modules() if isinstance(module, Chance)]


def reseed(network: nn.Module, seed: int, step: int) -> None:
    """Let the modules of the network that draw begin the numbers of this step; others are left alone.

    Args:
        network: Any module.
        seed: That of the run, at least 0.
        step: Counted from 0 over the whole run.
    """
    for number, module in enumerate(chances(network)):
        module._numbers = (seed, step, number)


@contextmanager
def placed(network: nn.Module, place: Place) -> Iterator[None]:
    """While entered, the modules that draw know which images of the batch they see."""
    changed = [(module, module._place) for module in chances(network)]
    for module, _ in changed:
        module._place = place
    try:
        yield
    finally:
        for module, before in changed:
            module._place = before


class DropPath(Chance):
    """Leave out a residual branch of some images (stochastic depth, Huang et al., arXiv:1603.09382).

    In training a branch stays with probability 1 - p, divided by it, so that its mean stays the same.
    """

    def __init__(self, probability: float = 0.0) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] to the same shape; the same x in evaluation mode."""
        return self.drop(x, self.probability, *(1 for _ in x.shape[1:]))
