"""The ID loss among a part of the people, for training sets of 100,000 of them (Partial FC, arXiv:2203.15565)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.distributed import ALONE
from reidkit.losses.identity import first_classifier, smoothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit.distributed import Group
    from reidkit.recipe import Identity, Optim


# Who of the others enters a step: a function of seed and step that needs no generator, and is one on every device.

_GAMMA = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def sample_classes(seed: Tensor, step: Tensor, people: int, count: int, label_b: Tensor) -> Tensor:
    """`count` of the numbers 0 to `people` - 1, int64 [count], rising: those of `label_b` [B], and others drawn.

    Each of the others is drawn with the same odds, and none twice: every person has a random number of 62 bits, and
    the largest `count` win, where those of the batch stand above all. `seed` and `step` are int64 scalars on the device
    of the labels, so that nothing waits for it. No more than `count` different people may be in the batch.
    """
    start = splitmix64(seed, step)
    numbers = torch.arange(people, device=label_b.device)
    keys = _shifted(splitmix64(start, numbers), 2)
    keys[label_b] = torch.iinfo(torch.int64).max
    return keys.topk(count, sorted=False).indices.sort().values


def splitmix64(seed: Tensor, place: Tensor) -> Tensor:
    """What stands at `place`, from 0 on, in the sequence that `seed` begins (Steele, Lea and Flood, OOPSLA 2014).

    Sixty-four random bits, as int64: the arithmetic wraps.
    """
    bits = seed + (place + 1) * _signed(_GAMMA)
    bits = (bits ^ _shifted(bits, 30)) * _signed(_FIRST)
    bits = (bits ^ _shifted(bits, 27)) * _signed(_SECOND)
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """To the right, with zeros from the left, where torch would repeat the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(constant: int) -> int:
    return constant - (1 << 64) if constant >> 63 else constant


# The rows of a large classifier, of which a step moves those that it used, and touches no other.

BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""torch's own for Adam."""

CACHED = 1 << 18
"""Numbers that a processor steps at once, so that what it has read is at hand until it is done with."""

_STATE = ("weight", "mean", "square", "visits")


class ClassifierRows(nn.Module):
    """A matrix [N, D] that takes steps of Adam by itself, as far as it was used: the lazy, or sparse, Adam.

    A dense Adam reads and writes weights, gradient and both moments of all N rows in every step; this one those of the
    rows that were taken. What follows from it: a row that is not taken is not moved, neither by what its moments
    remember nor by weight decay; its moments wait. Each row counts its own steps, which is what the correction of the
    moments' bias needs. With all rows taken in every step it is Adam with coupled weight decay.

    Of a `group` of processes each holds its share of the rows, with their moments, and steps them. They are no buffers,
    because buffers are what all processes have alike. The state is that of one process, so that another number of them
    can go on with it; `collect` brings it together.
    """

    weight: Tensor
    """Those that lie here [n, D]."""
    mean: Tensor
    square: Tensor
    visits: Tensor

    def __init__(self, weight: Tensor, weight_decay: float, group: Group = ALONE) -> None:
        """All rows [N, D], of which a copy of the own share is kept."""
        super().__init__()
        self.weight_decay, self.group, self.total = weight_decay, group, len(weight)
        self._here = group.share(self.total)
        self.weight = weight if group.size == 1 else weight[self._here].clone()
        self.mean, self.square = torch.zeros_like(self.weight), torch.zeros_like(self.weight)
        self.visits = torch.zeros(len(self.weight), dtype=torch.int64)
        self._taken: tuple[Tensor, Tensor] | None = None
        self._whole: dict[str, Tensor] = {}

    def take(self, index_s: Tensor) -> tuple[Tensor, int]:
        """A copy of the rows with these numbers [S], none twice and rising, whose gradient `step` will use.

        Returns:
            Those that lie here [s, D], and the place of the first of them among the S.
        """
        start = 0
        if self.group.size > 1:
            ends = torch.tensor((self._here.start, self._here.stop), device=index_s.device)
            start, stop = torch.searchsorted(index_s, ends).tolist()
            index_s = index_s[start:stop] - self._here.start
        rows_sd = self.weight[index_s].requires_grad_()
        self._taken = index_s, rows_sd
        return rows_sd, start

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the rows that were taken last by their gradient; once for each `take`, and not without a gradient."""
        if self._taken is None:
            return
        (index_s, rows_sd), self._taken = self._taken, None
        if rows_sd.grad is None:
            return
        self._whole = {}
        self.visits[index_s] += 1
        width = rows_sd.shape[1]
        size = max(len(index_s) if rows_sd.device.type == "cuda" else CACHED // width, 1)
        parts = zip(index_s.split(size), rows_sd.detach().split(size), rows_sd.grad.split(size), strict=True)
        for index, rows, grad in parts:
            self._step(index, rows, grad, lr)

    def _step(self, index_s: Tensor, rows_sd: Tensor, grad_sd: Tensor, lr: float) -> None:
        """Adam (Kingma and Ba, ICLR 2015, algorithm 1), t being a row's own count."""
        first, second = BETAS
        visits_s = self.visits[index_s].double()[:, None]  # 1 - 0.999**1 has three digits left in single precision
        mean_scale_s, square_scale_s = ((1 - beta**visits_s).to(rows_sd.dtype) for beta in BETAS)
        grad_sd.add_(rows_sd, alpha=self.weight_decay)
        mean_sd = self.mean[index_s].lerp_(grad_sd, 1 - first)
        square_sd = self.square[index_s].mul_(second).addcmul_(grad_sd, grad_sd, value=1 - second)
        self.mean.index_copy_(0, index_s, mean_sd)
        self.square.index_copy_(0, index_s, square_sd)
        root_sd = square_sd.sqrt_().div_(square_scale_s.sqrt_()).add_(EPSILON)
        self.weight.index_copy_(0, index_s, rows_sd.addcdiv_(mean_sd.div_(mean_scale_s), root_sd, value=-lr))

    def collect(self) -> None:
        """Bring the state of all processes together in the first one, in the host's memory, until the next step.

        Every process of the group has to call this before the first one's `state_dict` is asked for.
        """
        if self.group.size > 1:
            self._whole = {name: collected(getattr(self, name), self.group) for name in _STATE}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ClassifierRows:
        """What `to` and its kin do to parameters and buffers."""
        super()._apply(fn, recurse)
        for name in _STATE:
            setattr(self, name, fn(getattr(self, name)))
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """The first process's state is whole; that of the others is what lies there, and is never written."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.group.size > 1 and self.group.rank == 0 and not self._whole:
            raise RuntimeError("the rows of the other processes are not here: let every process call `collect` before")
        for name in _STATE:
            destination[prefix + name] = self._whole[name] if self._whole else getattr(self, name)

    def _load_from_state_dict(  # noqa: PLR0913, PLR0917 (torch's signature)
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],  # noqa: ARG002
        strict: bool,  # noqa: ARG002
        missing_keys: list[str],
        unexpected_keys: list[str],  # noqa: ARG002
        error_msgs: list[str],
    ) -> None:
        """Take the own share of a whole state."""
        for name in _STATE:
            whole, mine = state_dict.get(prefix + name), getattr(self, name)
            if whole is None:
                missing_keys.append(prefix + name)
            elif whole.shape != (self.total, *mine.shape[1:]):
                error_msgs.append(f"size mismatch for {prefix + name}: {tuple(whole.shape)}")
            else:
                mine.copy_(whole[self._here])
        self._whole = {}


# A softmax whose classes are shared out over processes: each has the logits of its own, and none has all.

COLUMNS = 64
"""Columns of a matrix that are brought together at once: every process receives them, and one keeps them."""


def for_all(feat_bd: Tensor, group: Group) -> Tensor:
    """The same features [B, D], of which every process makes logits of its own: their gradients are summed."""
    return feat_bd if group.size == 1 else _ForAll.apply(feat_bd, group)


def cross_entropy(logits_bs: Tensor, place_b: Tensor, total: int, smoothing: float, group: Group) -> Tensor:
    """Cross entropy with label smoothing over the classes of all processes, the mean over the batch, in each of them.

    L = log sum_k exp(z_k) - (1 - eps) z_y - eps/S sum_k z_k, with its sums and its maximum taken over the processes.

    Args:
        logits_bs: z of the classes that lie here [B, s], s of S, or none.
        place_b: Where among them the true class of each image lies [B]; below 0 or above s - 1 where it lies elsewhere.
        total: S, the number of classes in all.
        smoothing: eps, shared among all S.
        group: The processes.
    """
    loss: Tensor = _CrossEntropy.apply(logits_bs, place_b, total, smoothing, group)
    return loss


def collected(part: Tensor, group: Group) -> Tensor:
    """The parts [n, ...] of all processes behind each other [N, ...], in the first process and in the host's memory.

    The others get their own part back. Every process has to call this.
    """
    mine = part.detach().cpu()
    blocks = []
    for block in mine.reshape(len(mine), -1).split(COLUMNS, dim=1):
        found = group.gather_rows(block)
        blocks += [found] if group.rank == 0 else []
    return torch.cat(blocks, dim=1).reshape(-1, *mine.shape[1:]) if blocks else mine


class _ForAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feat_bd: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return feat_bd.view_as(feat_bd)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].clone()
        ctx.group.add_in_place([total])
        return total, None


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_bs: Tensor, place_b: Tensor, total: int, smoothing: float, group: Group) -> Tensor:
        count = logits_bs.shape[1]
        lowest = logits_bs.new_full((len(logits_bs), 1), -torch.inf)
        largest_1b = torch.cat((logits_bs, lowest), dim=1).amax(dim=1)[None]
        largest_b1 = group.gather(largest_1b).amax(dim=0)[:, None]
        powers_bs = (logits_bs - largest_b1).exp_()
        here_b = (place_b >= 0) & (place_b < count)
        true_b = torch.where(here_b, torch.cat((logits_bs, lowest), 1).gather(1, _column(place_b, count))[:, 0], 0.0)
        sums_3b = torch.stack((powers_bs.sum(1), true_b, logits_bs.sum(1)))
        group.add_in_place([sums_3b])
        ctx.save_for_backward(powers_bs.div_(sums_3b[0][:, None]), place_b)
        ctx.total, ctx.smoothing = total, smoothing
        log_sum_b = largest_b1[:, 0] + sums_3b[0].log()
        return (log_sum_b - (1 - smoothing) * sums_3b[1] - smoothing / total * sums_3b[2]).mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        """What the softmax gives less what label smoothing wants: p - q."""
        share_bs, place_b = ctx.saved_tensors
        count = share_bs.shape[1]
        target_bs = torch.full((len(share_bs), count + 1), ctx.smoothing / ctx.total).to(share_bs)
        column_b1 = _column(place_b, count)
        target_bs.scatter_add_(1, column_b1, torch.full_like(target_bs[:, :1], 1 - ctx.smoothing))
        return (share_bs - target_bs[:, :count]) * (grads[0] / len(share_bs)), None, None, None, None


def _column(place_b: Tensor, count: int) -> Tensor:
    """The column [B, 1] of the true class, or one behind the last where it lies elsewhere."""
    here_b = (place_b >= 0) & (place_b < count)
    return torch.where(here_b, place_b, count)[:, None]


class PartialFC(nn.Module):
    """Cross entropy with label smoothing over S people: all those of the batch, and others that each step draws.

    The loss is that of `IdentityLoss` with S for N. So each of the others present has a larger share of the softmax
    than among all N, which nothing makes up for, as in Partial FC; and eps of label smoothing is shared among the S.
    As somebody outside of the batch enters with odds of about S/N, their eps/S is in the mean the eps/N of equation 3.
    With S = N it is `IdentityLoss` under Adam.

    Who is drawn is a function of a seed, taken from torch's when the loss is made, and of the steps taken so far. Both
    belong to the state: a resumed run draws as an unbroken one, and several processes with one seed draw the same.

    The rows of the classifier step themselves (see `Rows`). Those of people who are not drawn rest, and are not
    decayed: a row meets the weight decay as often as it meets the loss.

    In a `group` of processes, each of which has the features of the whole batch, the rows are shared out, and the
    softmax is taken over all of them ("partial"). Loss, gradients and draw are those of one process.
    """

    seed: Tensor
    steps: Tensor

    def __init__(
        self, channels: int, people: int, recipe: Identity, optim: Optim, *, bias: bool, group: Group = ALONE
    ) -> None:
        super().__init__()
        self.people, self.count = people, min(recipe.sampled, people)
        self.smoothing = smoothing(recipe, self.count)
        first = first_classifier(channels, people, recipe, bias=bias)
        weight = first.weight.detach()
        if first.bias is not None:  # a column more: Adam treats it as every other weight
            weight = torch.cat((weight, first.bias.detach()[:, None]), dim=1)
        self.rows = ClassifierRows(weight, optim.weight_decay, group)
        self.group = group
        self.register_buffer("seed", torch.randint(2**62, ()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """f_i [B, D] and the number of each person [B], 0 <= label < people, at most `count` different ones."""
        index_s = sample_classes(self.seed, self.steps, self.people, self.count, label_b)
        place_b = torch.searchsorted(index_s, label_b)
        rows_sd, start = self.rows.take(index_s)
        channels = feat_bd.shape[1]
        bias_s = rows_sd[:, channels] if rows_sd.shape[1] > channels else None
        logits_bs = F.linear(for_all(feat_bd, self.group), rows_sd[:, :channels], bias_s)
        if self.group.size == 1:
            return F.cross_entropy(logits_bs, place_b, label_smoothing=self.smoothing)
        return cross_entropy(logits_bs, place_b - start, self.count, self.smoothing, self.group)

    def step(self, lr: float) -> None:
        """Move the rows of the last `forward` at the rate `lr`, and go on to the next draw."""
        self.rows.step(lr)
        self.steps += 1
