"""The ID loss over a sample of the ids, for training sets of 100,000 of them (Partial FC, arXiv:2203.15565).

`PartialFC` is the loss. Below it stand its three parts: the sampling of the ids that enter a step, the rows of the
classifier with their own Adam, and the softmax over classes that several processes hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.distributed import ALONE
from reidkit.errors import UsageError
from reidkit.losses.identity import new_classifier, smoothing_over_all
from reidkit.losses.loss_inputs import checked_classes

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit.distributed import Group
    from reidkit.losses.identity import ClassifierInit, SmoothingOver

BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""torch's own for Adam."""

CHUNK = 1 << 18
"""Numbers that a CPU updates at a time, so that they are still in its cache when they are written back."""

COLUMNS = 64
"""Columns of a matrix that are gathered at a time: every process receives them, and one keeps them."""


class PartialFC(nn.Module):
    """Cross entropy with label smoothing over S of the N ids: those of the batch, and others sampled in each step.

    The loss is that of `IdentityLoss` with S for N. So each other id that enters has a larger part of the softmax than
    among all N, which nothing corrects, as in Partial FC; and eps of label smoothing is spread over the S. As an id
    that is not in the batch enters with probability of about S/N, its eps/S is in the mean the eps/N of equation 3.
    With S = N it is `IdentityLoss` under Adam.

    Which ids are sampled is a function of a seed, taken from torch's generator when the loss is made, and of the number
    of steps taken. Both are in the state: a resumed run samples as an unbroken one, and several processes with one seed
    sample the same.

    The rows of the classifier update themselves (see `ClassifierRows`). Rows that are not sampled are not touched, not
    even by weight decay.

    In a `group` of processes, each of which has the features of the whole batch, every process holds a slice of the
    rows, and the softmax is taken over all of them. Loss, gradients and samples are those of one process.
    """

    seed: Tensor
    steps: Tensor

    def __init__(  # noqa: PLR0913
        self,
        dim: int,
        num_ids: int,
        *,
        sampled: int,
        smoothing: float = 0.0,
        smoothing_over: SmoothingOver = "all",
        weight_decay: float = 0.0,
        bias: bool = False,
        init: ClassifierInit = "normal",
        std: float = 0.001,
        group: Group = ALONE,
    ) -> None:
        super().__init__()
        self.num_ids, self.sampled = num_ids, min(sampled, num_ids)
        self.smoothing = smoothing_over_all(smoothing, smoothing_over, self.sampled)
        first = new_classifier(dim, num_ids, bias=bias, init=init, std=std)
        weight = first.weight.detach()
        if first.bias is not None:  # one more column: Adam treats a bias as every other weight
            weight = torch.cat((weight, first.bias.detach()[:, None]), dim=1)
        self.dim = dim
        self.rows = ClassifierRows(weight, weight_decay, group)
        self.group = group
        self.register_buffer("seed", torch.randint(2**62, ()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """Return the mean loss of f_i [B, D] with labels [B], 0 <= label < num_ids, at most S different ones.

        Raises:
            UsageError: the batch has more ids than enter a step, or is none of this loss.
        """
        label_b = checked_classes(feat_bd, label_b, self.dim, self.num_ids)
        if len(label_b) > self.sampled:  # only then count: on a GPU that waits for the device
            ids = len(label_b.unique())
            if ids > self.sampled:
                sentence = f"a batch of {ids} ids does not fit into a sample of {self.sampled}: sample at least as many"
                raise UsageError(sentence, argument="sampled")
        index_s = sample_classes(self.seed, self.steps, self.num_ids, self.sampled, label_b)
        column_b = torch.searchsorted(index_s, label_b)  # of the true id among the S
        rows_sd, start = self.rows.take(index_s)
        bias_s = rows_sd[:, self.dim] if rows_sd.shape[1] > self.dim else None
        logits_bs = F.linear(_to_all(feat_bd, self.group), rows_sd[:, : self.dim], bias_s)
        if self.group.size == 1:
            return F.cross_entropy(logits_bs, column_b, label_smoothing=self.smoothing)
        return cross_entropy(logits_bs, column_b - start, self.sampled, self.smoothing, self.group)

    def step(self, lr: float) -> None:
        """Update the rows of the last `forward` at the rate `lr`, and go on to the next sample."""
        self.rows.step(lr)
        self.steps += 1

    def collect(self) -> None:
        """Gather the rows of all processes in the first one; every process calls this before a save."""
        self.rows.collect()


# --- The sample of a step: a function of seed and step, without a generator, the same on every device.

_GAMMA = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def sample_classes(seed: Tensor, step: Tensor, num_ids: int, count: int, label_b: Tensor) -> Tensor:
    """Sample `count` of the numbers 0 to `num_ids` - 1 without replacement: those of `label_b` [B], and others.

    All others have the same probability: every id has a random key of 62 bits, the ids of the batch the largest key of
    all, and the `count` largest keys win. `seed` and `step` are int64 scalars on the device of the labels, so that the
    device need not wait for the host. The batch must not have more than `count` different ids.

    Returns:
        int64 [count], rising.
    """
    start = splitmix64(seed, step)
    numbers = torch.arange(num_ids, device=label_b.device)
    keys = _shift_right(splitmix64(start, numbers), 2)
    keys[label_b] = torch.iinfo(torch.int64).max
    return keys.topk(count, sorted=False).indices.sort().values


def splitmix64(seed: Tensor, index: Tensor) -> Tensor:
    """Return number `index`, from 0 on, of the sequence that `seed` starts (Steele, Lea and Flood, OOPSLA 2014).

    Sixty-four random bits as int64; the arithmetic wraps.
    """
    bits = seed + (index + 1) * _signed(_GAMMA)
    bits = (bits ^ _shift_right(bits, 30)) * _signed(_FIRST)
    bits = (bits ^ _shift_right(bits, 27)) * _signed(_SECOND)
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: Tensor, by: int) -> Tensor:
    """Shift with zeros from the left, where torch would repeat the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(constant: int) -> int:
    return constant - (1 << 64) if constant >> 63 else constant


# --- The rows of the classifier, of which a step updates those that it used, and touches no other.

_STATE = ("weight", "mean", "square", "visits")


class ClassifierRows(nn.Module):
    """A matrix [N, D] that takes steps of Adam by itself, in the rows that were used: the lazy, or sparse, Adam.

    A dense Adam reads and writes weights, gradient and both moments of all N rows in every step; this one does so for
    the rows that were taken. Hence a row that is not taken does not move, neither by its moments nor by weight decay.
    Each row counts its own steps (`visits`), by which the bias of its moments is corrected. With all rows taken in
    every step it is Adam with coupled weight decay.

    In a `group` each process holds a slice of the rows with their moments, and updates them. They are not buffers, for
    buffers are equal in all processes. The state that is saved is that of one process, so that a run can go on with
    another number of them; `collect` gathers it.
    """

    weight: Tensor
    """The slice of this process [n, D]."""
    mean: Tensor
    square: Tensor
    visits: Tensor

    def __init__(self, weight: Tensor, weight_decay: float, group: Group = ALONE) -> None:
        """Take all rows [N, D], and keep a copy of the slice of this process."""
        super().__init__()
        self.weight_decay, self.group, self.total = weight_decay, group, len(weight)
        self._slice = group.slice_of(self.total)
        self.weight = weight if group.size == 1 else weight[self._slice].clone()
        self.mean, self.square = torch.zeros_like(self.weight), torch.zeros_like(self.weight)
        self.visits = torch.zeros(len(self.weight), dtype=torch.int64)
        self._taken: tuple[Tensor, Tensor] | None = None
        self._collected: dict[str, Tensor] = {}

    def take(self, index_s: Tensor) -> tuple[Tensor, int]:
        """Return a copy of these rows [S], distinct and rising, whose gradient `step` will use.

        Returns:
            Those of them that this process holds [s, D], and the position of the first among the S.
        """
        start = 0
        if self.group.size > 1:
            ends = torch.tensor((self._slice.start, self._slice.stop), device=index_s.device)
            start, stop = torch.searchsorted(index_s, ends).tolist()
            index_s = index_s[start:stop] - self._slice.start
        rows_sd = self.weight[index_s].requires_grad_()
        self._taken = index_s, rows_sd
        return rows_sd, start

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update the rows that were taken last by their gradient; once for each `take`, and not without a gradient."""
        if self._taken is None:
            return
        (index_s, rows_sd), self._taken = self._taken, None
        if rows_sd.grad is None:
            return
        self._collected = {}
        self.visits[index_s] += 1
        size = max(len(index_s) if rows_sd.device.type == "cuda" else CHUNK // rows_sd.shape[1], 1)
        chunks = zip(index_s.split(size), rows_sd.detach().split(size), rows_sd.grad.split(size), strict=True)
        for index, rows, grad in chunks:
            self._adam(index, rows, grad, lr)

    def _adam(self, index_s: Tensor, rows_sd: Tensor, grad_sd: Tensor, lr: float) -> None:
        """Take a step of Adam (Kingma and Ba, ICLR 2015, algorithm 1), where t is a row's own count of steps."""
        first, second = BETAS
        visits_s = self.visits[index_s].double()[:, None]  # 1 - 0.999**1 has three digits left in single precision
        mean_scale_s, square_scale_s = ((1 - beta**visits_s).to(rows_sd.dtype) for beta in BETAS)
        # The gradient with weight decay, and both moments.
        grad_sd.add_(rows_sd, alpha=self.weight_decay)
        mean_sd = self.mean[index_s].lerp_(grad_sd, 1 - first)
        square_sd = self.square[index_s].mul_(second).addcmul_(grad_sd, grad_sd, value=1 - second)
        self.mean.index_copy_(0, index_s, mean_sd)
        self.square.index_copy_(0, index_s, square_sd)
        # w <- w - lr m / (sqrt(v) + eps), with both moments corrected.
        root_sd = square_sd.sqrt_().div_(square_scale_s.sqrt_()).add_(EPSILON)
        self.weight.index_copy_(0, index_s, rows_sd.addcdiv_(mean_sd.div_(mean_scale_s), root_sd, value=-lr))

    def collect(self) -> None:
        """Gather the state of all processes in the first one, in the host's memory, until the next step.

        Every process of the group has to call this before the first one's `state_dict` is asked for.
        """
        if self.group.size > 1:
            self._collected = {name: _gather_rows(getattr(self, name), self.group) for name in _STATE}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ClassifierRows:
        """Apply what `to` and its kin do to parameters and buffers."""
        super()._apply(fn, recurse)
        for name in _STATE:
            setattr(self, name, fn(getattr(self, name)))
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Save all rows in the first process. The others save what they hold, which is never written."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.group.size > 1 and self.group.rank == 0 and not self._collected:
            raise RuntimeError("the rows of the other processes are not here: let every process call `collect` before")
        for name in _STATE:
            destination[prefix + name] = self._collected[name] if self._collected else getattr(self, name)

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
        """Take the slice of this process out of a state of all rows."""
        for name in _STATE:
            rows, mine = state_dict.get(prefix + name), getattr(self, name)
            if rows is None:
                missing_keys.append(prefix + name)
            elif rows.shape != (self.total, *mine.shape[1:]):
                error_msgs.append(f"size mismatch for {prefix + name}: {tuple(rows.shape)}")
            else:
                mine.copy_(rows[self._slice])
        self._collected = {}


# --- A softmax over the classes of several processes: each has the logits of its own classes, and none has all.


def cross_entropy(logits_bs: Tensor, column_b: Tensor, total: int, smoothing: float, group: Group) -> Tensor:
    """Return the mean cross entropy with label smoothing over the classes of all processes, in each of them.

    L = log sum_k exp(z_k) - (1 - eps) z_y - eps/S sum_k z_k, with its sums and its maximum taken over the processes.

    Args:
        logits_bs: z of the classes that this process holds [B, s], s of S, or none.
        column_b: The column of the true class of each image [B]; below 0 or above s - 1 where another process holds it.
        total: S, the number of classes in all.
        smoothing: eps, spread over all S.
        group: The processes.
    """
    loss: Tensor = _CrossEntropy.apply(logits_bs, column_b, total, smoothing, group)
    return loss


def _to_all(feat_bd: Tensor, group: Group) -> Tensor:
    """Return the features [B, D] from which every process makes its own logits: their gradients are summed."""
    return feat_bd if group.size == 1 else _ToAll.apply(feat_bd, group)


def _gather_rows(part: Tensor, group: Group) -> Tensor:
    """Gather the parts [n, ...] of all processes in the first one, [N, ...], in the host's memory.

    The others get their own part back. Every process has to call this.
    """
    mine = part.detach().cpu()
    blocks = []
    for block in mine.reshape(len(mine), -1).split(COLUMNS, dim=1):
        gathered = group.gather_rows(block)
        blocks += [gathered] if group.rank == 0 else []
    return torch.cat(blocks, dim=1).reshape(-1, *mine.shape[1:]) if blocks else mine


class _ToAll(torch.autograd.Function):
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
    def forward(ctx: Any, logits_bs: Tensor, column_b: Tensor, total: int, smoothing: float, group: Group) -> Tensor:
        count = logits_bs.shape[1]
        # The largest logit of all processes keeps the powers finite; a process without classes has minus infinity.
        lowest_b1 = logits_bs.new_full((len(logits_bs), 1), -torch.inf)
        largest_1b = torch.cat((logits_bs, lowest_b1), dim=1).amax(dim=1)[None]
        largest_b1 = group.gather(largest_1b).amax(dim=0)[:, None]
        powers_bs = (logits_bs - largest_b1).exp_()
        # Three sums over all processes in one message: of the powers, of the true logit, of all logits.
        here_b = (column_b >= 0) & (column_b < count)
        true_b = torch.where(
            here_b, torch.cat((logits_bs, lowest_b1), 1).gather(1, _column(column_b, count))[:, 0], 0.0
        )
        sums_3b = torch.stack((powers_bs.sum(1), true_b, logits_bs.sum(1)))
        group.add_in_place([sums_3b])
        ctx.save_for_backward(powers_bs.div_(sums_3b[0][:, None]), column_b)
        ctx.total, ctx.smoothing = total, smoothing
        log_sum_b = largest_b1[:, 0] + sums_3b[0].log()
        return (log_sum_b - (1 - smoothing) * sums_3b[1] - smoothing / total * sums_3b[2]).mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return p - q: the softmax less the distribution that label smoothing wants."""
        softmax_bs, column_b = ctx.saved_tensors
        count = softmax_bs.shape[1]
        target_bs = torch.full((len(softmax_bs), count + 1), ctx.smoothing / ctx.total).to(softmax_bs)
        target_bs.scatter_add_(1, _column(column_b, count), torch.full_like(target_bs[:, :1], 1 - ctx.smoothing))
        return (softmax_bs - target_bs[:, :count]) * (grads[0] / len(softmax_bs)), None, None, None, None


def _column(column_b: Tensor, count: int) -> Tensor:
    """Return the column [B, 1] of the true class, or one behind the last where another process holds it."""
    here_b = (column_b >= 0) & (column_b < count)
    return torch.where(here_b, column_b, count)[:, None]
