"""Micro-batches: a batch passes through the network in parts, one after the other or in several processes.

The loss is always that of the whole batch, hardest examples included. What a part is decides one thing only: over which
images a batch norm takes its mean and variance. `batch.micro_batches` of the recipe says how many there are; how many
processes share the work changes nothing in the result.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from reidkit.errors import UsageError
from reidkit.model import Features
from reidkit.model.chance import Place, chances, placed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reidkit.distributed import Group
    from reidkit.model.own_network import AnyNetwork
    from reidkit.recipe import Batch


# Batch norm over more, or less, than the images that one process sees at once.


class SyncedNorm(_BatchNorm):
    """Batch norm whose mean and variance are those of the images of several processes, which hold equally many.

    Torch's own `SyncBatchNorm` works on accelerators only, where it is used; without this class several processes on a
    CPU could not be tested to equal one. Each process sends its mean and its variance, in one message, and those of
    all follow exactly: the variance is the mean of theirs plus the variance of their means.
    """

    group: Group

    def forward(self, x: Tensor) -> Tensor:
        """[B, C] or [B, C, H, W] to the same shape; in evaluation mode as every batch norm."""
        if not self.training:
            return super().forward(x)
        gamma_c: Tensor | None = self.weight
        if gamma_c is None:  # one that only normalises
            gamma_c = x.new_ones(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))
        beta_c = torch.zeros_like(gamma_c) if self.bias is None else self.bias
        y, mean_c, var_c = _Normalise.apply(x, gamma_c, beta_c, self.eps, self.group)
        count = self.group.size * x.numel() // x.shape[1]
        self._remember(mean_c, var_c * count / max(count - 1, 1))
        return cast("Tensor", y)

    def _remember(self, mean_c: Tensor, var_c: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        # Without a momentum they are the mean of all batches, as torch has it.
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_c, share)
        self.running_var.lerp_(var_c, share)

    def _check_input_dim(self, x: Tensor) -> None:  # what torch's class asks its children for
        pass


class _Normalise(torch.autograd.Function):
    """y = z gamma + beta with z = (x - mean) / sqrt(var + eps), and mean and var beside it; the norm of N numbers.

    dx = gamma / sqrt(var + eps) (dy - sum(dy)/N - z sum(dy z)/N), where both sums are over all processes and travel in
    one message. The gradients of gamma and beta are those of the own images.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gamma_c: Tensor, beta_c: Tensor, eps: float, group: Group
    ) -> tuple[Tensor, Tensor, Tensor]:
        dims, pixel = _axes(x)
        wide = x.to(gamma_c.dtype)  # what autocast has halved is added up in full
        own_c = wide.mean(dims)
        told_n2c = group.gather(torch.stack([own_c, (wide - own_c.view(pixel)).square().mean(dims)])[None])
        mean_c = told_n2c[:, 0].mean(0)
        var_c = told_n2c[:, 1].mean(0) + (told_n2c[:, 0] - mean_c).square().mean(0)
        scale_c = torch.rsqrt(var_c + eps)
        z = (wide - mean_c.view(pixel)) * scale_c.view(pixel)
        ctx.save_for_backward(z, gamma_c, scale_c)
        ctx.group, ctx.kind = group, x.dtype
        ctx.mark_non_differentiable(mean_c, var_c)
        return (z * gamma_c.view(pixel) + beta_c.view(pixel)).to(x.dtype), mean_c, var_c

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        z, gamma_c, scale_c = ctx.saved_tensors
        dims, pixel = _axes(z)
        grad = grads[0].to(z.dtype)
        sums_2c = torch.stack([grad.sum(dims), (grad * z).sum(dims)])
        means_2c = ctx.group.gather(sums_2c[None]).sum(0) * z.shape[1] / (z.numel() * ctx.group.size)
        centred = grad - means_2c[0].view(pixel) - z * means_2c[1].view(pixel)
        return (centred * (gamma_c * scale_c).view(pixel)).to(ctx.kind), sums_2c[1], sums_2c[0], None, None


def _axes(x: Tensor) -> tuple[list[int], tuple[int, ...]]:
    """Return the axes that are summed over, and the shape of what is left beside x."""
    dims = [dim for dim in range(x.dim()) if dim != 1]
    return dims, (1, -1, *(1 for _ in dims[1:]))


def norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms of a network."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def synchronise(network: nn.Module, group: Group) -> None:
    """Let the batch norms of the network take their statistics over the processes of `group`; weights stay in place.

    Other modules that look at the whole batch, as an exchange of styles does, get the group, too. Names and state stay
    the same, so that a file written by one process is read by several, and the other way round.
    """
    if group.size == 1:
        return
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, _synced(child, group))
    for module in chances(network):
        module.group = group


def _synced(norm: _BatchNorm, group: Group) -> _BatchNorm:
    # torch's own holds its group in a form that cannot be copied with the network, unless it is that of all processes.
    held = norm.weight if norm.weight is not None else norm.running_mean
    ours = held is None or held.device.type == "cpu" or group.members is not None
    kind = SyncedNorm if ours else nn.SyncBatchNorm
    made = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made.weight, made.bias = norm.weight, norm.bias
    made.running_mean, made.running_var = norm.running_mean, norm.running_var
    made.num_batches_tracked = norm.num_batches_tracked
    if isinstance(made, SyncedNorm):
        made.group = group
    return made.train(norm.training)


@contextmanager
def remembering(network: nn.Module, part: int, parts: int) -> Iterator[None]:
    """Batch norms that see `parts` parts of a batch one after the other remember the mean of what the parts tell them.

    After n parts, a running statistic R with momentum m is to be (1-m) R + m (s_1 + ... + s_n)/n. That is so when the
    i-th step has the momentum (m/n) / (1 - m + i m/n): the product of what the steps keep is 1 - m, and each part is
    left with m/n. For one part it is m.
    """
    changed = [(norm, norm.momentum) for norm in norms(network)]
    for norm, momentum in changed:
        if momentum is not None:
            norm.momentum = (momentum / parts) / (1 - momentum + (part + 1) * momentum / parts)
    try:
        yield
    finally:
        for norm, momentum in changed:
            norm.momentum = momentum


@contextmanager
def forgetting(network: nn.Module) -> Iterator[None]:
    """Batch norms that pass images a second time remember nothing of it."""
    changed = [(norm, norm.momentum) for norm in norms(network)]
    for norm, _ in changed:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in changed:
            norm.momentum = momentum


def micro_batches_here(batch: Batch, processes: int) -> int:
    """How many parts of a batch each process passes through the network; below 1 where several share one: then 1.

    Raises:
        UsageError: the parts, or the images, cannot be dealt out evenly.
    """
    images = batch.ids * batch.images
    if batch.micro_batches % processes and processes % batch.micro_batches:
        raise UsageError(
            f"{processes} processes cannot share {batch.micro_batches} parts of a batch evenly: "
            f"set batch.micro_batches to {processes}, or to 1 for batch norm over the whole batch",
            argument="batch.micro_batches",
        )
    if images % processes:
        raise UsageError(
            f"{processes} processes cannot share a batch of {images} images evenly: change batch.ids",
            argument="batch.ids",
        )
    return max(1, batch.micro_batches // processes)


class MicroBatches(nn.Module):
    """Images of this process [B/n, 3, H, W] to f_t and f_i of the whole batch, [B, D] each.

    With more than one part here, the network runs twice: first every part for its features alone, then, part by part
    while the gradients go back, for what the gradients need. So the memory is that of one part, and the gradient that
    of the whole batch (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021).
    """

    def __init__(self, network: AnyNetwork, batch: Batch, group: Group) -> None:
        super().__init__()
        self.network, self._group = network, group
        self._parts = micro_batches_here(batch, group.size)
        self._sharing = max(1, group.size // batch.micro_batches)  # processes that share a part
        synchronise(network, group.neighbours(self._sharing) if group.size > 1 else group)

    def forward(self, images: Tensor, camera_b: Tensor | None = None) -> Features:
        """Run the network as its mode says; with the images' cameras where it takes them."""
        inputs = (images,) if camera_b is None else (images, camera_b)
        if self._parts == 1:
            with placed(self.network, self._place(len(images), 0)):
                found = [self.network(*inputs)]
        else:
            parts = zip(*(each.chunk(self._parts) for each in inputs), strict=True)
            found = [self._part(part, i) for i, part in enumerate(parts)]
        return Features(*map(self._whole, zip(*found, strict=True)))

    def _whole(self, parts: tuple[Tensor | None, ...]) -> Any:
        """One side of the features of the whole batch, of that of each part here; None where there is none."""
        mine = [part for part in parts if part is not None]
        return self._group.gather(torch.cat(mine)) if mine else None

    def _part(self, inputs: tuple[Tensor, ...], number: int) -> Features:
        place = self._place(len(inputs[0]), number)
        contexts = partial(_two_passes, self.network, number, self._parts, place)
        return Features(*checkpoint(self.network, *inputs, use_reentrant=False, context_fn=contexts))

    def _place(self, images: int, number: int) -> Place:
        """Where in the batch of all processes the part `number` of this one stands."""
        rank, size = self._group.rank, self._group.size
        first = (rank * self._parts + number) * images
        return Place(first, images * self._parts * size, rank * self._parts // self._sharing + number)


def _two_passes(
    network: nn.Module, number: int, parts: int, place: Place
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds the first pass, and the second."""
    first = remembering(network, number, parts) if network.training else nullcontext()
    return _both(first, placed(network, place)), _both(forgetting(network), placed(network, place))


@contextmanager
def _both(outer: AbstractContextManager[None], inner: AbstractContextManager[None]) -> Iterator[None]:
    with outer, inner:
        yield


def share_gradients(network: nn.Module, objective: nn.Module, group: Group) -> None:
    """Give every process the gradient of the whole batch.

    The network's is the sum of what each process has of its images. The objective's each process has whole: the mean
    only sees to it that rounding cannot let the processes drift apart.
    """
    for module, scale in ((network, 1.0), (objective, 1 / group.size)):
        group.add_in_place([p.grad for p in module.parameters() if p.grad is not None], scale)


def share_statistics(group: Group, *networks: nn.Module) -> None:
    """Give every process the mean of what the batch norms of all remember.

    A running statistic is linear in its inputs, so that the mean may wait until the statistic is read.
    """
    for network in networks:
        group.add_in_place([buffer for buffer in network.buffers() if buffer.is_floating_point()], 1 / group.size)
