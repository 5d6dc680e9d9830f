"""A batch that goes through the network in parts: one after the other in this process, or beside it in others.

The loss is always that of the whole batch, hardest examples included. What a part is decides one thing only: over which
images a batch norm takes its mean and variance. `batch.parts` of the recipe says how many there are; how many processes
share the work changes nothing in the result.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from reidkit.model.network import Features
from reidkit.model.norm import forgetting, remembering, synchronise
from reidkit.types import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from reidkit.distributed import Group
    from reidkit.model.network import Network
    from reidkit.recipe import Batch


def parts_here(batch: Batch, processes: int) -> int:
    """How many parts of a batch each process passes through the network; below 1 where several share one: then 1.

    Raises:
        UsageError: the parts, or the images, cannot be dealt out evenly.
    """
    images = batch.ids * batch.images
    if batch.parts % processes and processes % batch.parts:
        raise UsageError(
            f"{processes} processes cannot share {batch.parts} parts of a batch evenly: "
            f"take --set batch.parts={processes}, or 1 for batch norm over the whole batch"
        )
    if images % processes:
        raise UsageError(f"{processes} processes cannot share a batch of {images} images evenly: change batch.ids")
    return max(1, batch.parts // processes)


class InParts:
    """Images of this process [B/n, 3, H, W] to f_t and f_i of the whole batch, [B, D] each.

    With more than one part here, the network runs twice: first every part for its features alone, then, part by part
    while the gradients go back, for what the gradients need. So the memory is that of one part, and the gradient that
    of the whole batch (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021).
    """

    def __init__(self, network: Network, batch: Batch, group: Group) -> None:
        self._network, self._group = network, group
        self._parts = parts_here(batch, group.size)
        synchronise(network, group.neighbours(max(1, group.size // batch.parts)) if group.size > 1 else group)

    def __call__(self, images: Tensor) -> Features:
        """Run the network as its mode says."""
        if self._parts == 1:
            found = [self._network(images)]
        else:
            found = [self._part(part, i) for i, part in enumerate(images.chunk(self._parts))]
        metric, search = (self._group.gather(torch.cat(list(each))) for each in zip(*found, strict=True))
        return Features(metric, search)

    def _part(self, images: Tensor, number: int) -> Features:
        contexts = partial(_two_passes, self._network, number, self._parts)
        return Features(*checkpoint(self._network, images, use_reentrant=False, context_fn=contexts))


def _two_passes(
    network: nn.Module, number: int, parts: int
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What surrounds the first pass, and the second."""
    first = remembering(network, number, parts) if network.training else nullcontext()
    return first, forgetting(network)


def share_gradients(network: nn.Module, objective: nn.Module, group: Group) -> None:
    """Give every process the gradient of the whole batch.

    The network's is the sum of what each process has of its images. The objective's each process has whole: the mean
    only sees to it that rounding cannot let the processes drift apart.
    """
    for module, scale in ((network, 1.0), (objective, 1 / group.size)):
        group.add_in_place([p.grad for p in module.parameters() if p.grad is not None], scale)


def share_statistics(group: Group, *networks: nn.Module) -> None:
    """Give every process the mean of what the batch norms of all remember.

    A running statistic is linear in what it is fed with, so that the mean may wait until somebody looks.
    """
    for network in networks:
        group.add_in_place([buffer for buffer in network.buffers() if buffer.is_floating_point()], 1 / group.size)
