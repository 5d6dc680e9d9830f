"""The strong baseline written a second time, from its description and in double precision: a reference for reidkit.

It follows what the authors' program does (Luo et al. 2019 and its published code): the network, one step of training,
the learning rate, the evaluation protocol of Market-1501, k-reciprocal re-ranking and the sampler. It is written to be
read beside the formulas, without regard to speed or memory. Nothing of reidkit is imported here: a fault that both have
must have been made twice.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The numbers of the authors' program."""

    smoothing: float = 0.1
    margin: float = 0.3
    center_weight: float = 5e-4
    center_lr: float = 0.5
    lr: float = 3.5e-4
    weight_decay: float = 5e-4
    warmup_epochs: int = 10
    warmup_from: float = 0.01
    drops: tuple[int, ...] = (40, 70)
    gamma: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1, each with batch norm, beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or channels != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, 4 width, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + shortcut)


class Baseline(nn.Module):
    """ResNet-50 with last stride 1 and torchvision's names, pooling, BNNeck and a classifier without bias.

    The stem has no ReLU, as in the authors' program. `base` is the width of the stem: 64 in ResNet-50.
    """

    def __init__(self, ids: int, base: int = 64) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, base, 7, 2, 3, bias=False), nn.BatchNorm2d(base)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = base
        for number, (depth, stride) in enumerate(((3, 1), (4, 2), (6, 2), (3, 1))):
            width = base * 2**number
            blocks = [Bottleneck(channels, width, stride)]
            blocks += [Bottleneck(4 * width, width, 1) for _ in range(depth - 1)]
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
            channels = 4 * width
        self.neck = nn.BatchNorm1d(channels)
        self.classifier = nn.Linear(channels, ids, bias=False)
        self.channels = channels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] to f_t and f_i [B, D]."""
        x = self.maxpool(self.bn1(self.conv1(images)))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        f_t = x.flatten(2).sum(2) / x[0, 0].numel()
        return f_t, self.neck(f_t)


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, eps: float) -> Tensor:
    """The mean of -sum_i q_i log p_i, with q = 1 - (N-1)/N eps for the true id and eps/N for each other one (eq. 3)."""
    ids = logits.shape[1]
    target = torch.full_like(logits, eps / ids)
    target[torch.arange(len(labels)), labels] = 1 - (ids - 1) / ids * eps
    return -(target * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()


def hardest_triplets(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    """The mean over the anchors of [d_p - d_n + margin]+, with every distance written as the norm of a difference."""
    losses = []
    for anchor, label in zip(features, labels, strict=True):
        distances = (anchor - features).square().sum(dim=1).clamp(min=1e-12).sqrt()
        same = labels == label
        losses.append((distances[same].max() - distances[~same].min() + margin).clamp(min=0))
    return torch.stack(losses).mean()


def center_distance(features: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """The mean over the batch of the squared distance to the centre of the id."""
    return torch.stack([(f - centers[y]).square().sum() for f, y in zip(features, labels.tolist(), strict=True)]).mean()


def learning_rate(setting: Setting, epoch: int) -> float:
    """The rate of an epoch, counted from 1: from a hundredth in a line to all of it, then a tenth after each drop."""
    share = min(1.0, (epoch - 1) / setting.warmup_epochs)
    factor = setting.warmup_from * (1 - share) + share
    return float(setting.lr * factor * math.prod(setting.gamma for drop in setting.drops if epoch > drop))


class Adam:
    """Adam (arXiv:1412.6980, algorithm 1) with weight decay that is added to the gradient."""

    def __init__(self, parameters: Iterable[Tensor], setting: Setting) -> None:
        self.parameters, self.setting, self.steps = list(parameters), setting, 0
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.square = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move every parameter."""
        self.steps += 1
        first, second = self.setting.betas
        for parameter, mean, square in zip(self.parameters, self.mean, self.square, strict=True):
            assert parameter.grad is not None  # noqa: S101
            gradient = parameter.grad + self.setting.weight_decay * parameter
            mean.mul_(first).add_((1 - first) * gradient)
            square.mul_(second).add_((1 - second) * gradient**2)
            unbiased = (mean / (1 - first**self.steps), square / (1 - second**self.steps))
            parameter.sub_(lr * unbiased[0] / (unbiased[1].sqrt() + self.setting.eps))


class Reference:
    """Training with this page's formulas. Weights have torchvision's names, `neck.`, `classifier.` and `centers`."""

    name = "reference"

    def __init__(self, start: Weights, setting: Setting | None = None) -> None:
        self.setting = setting or Setting()
        self.network = Baseline(len(start["classifier.weight"]), len(start["conv1.weight"])).double().train()
        self.network.load_state_dict({name: value for name, value in start.items() if name != "centers"})
        self.network.neck.bias.requires_grad_(False)
        self.centers = start["centers"].clone().requires_grad_()
        self.adam = Adam((p for p in self.network.parameters() if p.requires_grad), self.setting)

    def step(self, images: Tensor, labels: Tensor, epoch: int) -> dict[str, float]:
        """One step at the rate of an epoch; the weighted terms of the loss before it, and the rate."""
        setting, lr = self.setting, learning_rate(self.setting, epoch)
        f_t, f_i = self.network(images)
        terms = {
            "identity": smoothed_cross_entropy(self.network.classifier(f_i), labels, setting.smoothing),
            "triplet": hardest_triplets(f_t, labels, setting.margin),
            "center": setting.center_weight * center_distance(f_t, labels, self.centers),
        }
        self.network.zero_grad()
        self.centers.grad = None
        torch.stack(list(terms.values())).sum().backward()
        self.adam.step(lr)
        with torch.no_grad():  # SGD of its own, the weight of the loss taken out of the gradient
            assert self.centers.grad is not None  # noqa: S101
            self.centers -= setting.center_lr * self.centers.grad / setting.center_weight
        return {name: float(term.detach()) for name, term in terms.items()} | {"lr": lr}

    def weights(self) -> Weights:
        """All weights, running statistics and centres."""
        return {**self.network.state_dict(), "centers": self.centers.detach()}

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """f_i as it is searched with."""
        self.network.eval()
        features: Tensor = self.network(images)[1]
        self.network.train()
        return features


def unit(features: NDArray[Any]) -> Doubles:
    """Rows of length one."""
    wide = features.astype(np.float64)
    return np.asarray(wide / np.sqrt((wide**2).sum(axis=1, keepdims=True)))


def squared_distances(query: NDArray[Any], gallery: NDArray[Any]) -> Doubles:
    """The squared Euclidean distances as sums of squared differences, so that equal features are equally far."""
    wide = gallery.astype(np.float64)
    return np.stack([((wide - row) ** 2).sum(axis=1) for row in query.astype(np.float64)])


def average_precision(hits: Integers) -> float:
    """The mean of the precisions at the hits; `hits` are their ranks, counted from 1."""
    return float(np.mean([number / rank for number, rank in enumerate(hits.tolist(), start=1)]))


def average_precision_trapezoid(hits: Integers) -> float:
    """Image by image, as Market-1501's own evaluation does: a trapezoid between this precision and the one before."""
    area, recall_before, precision_before, found = 0.0, 0.0, 1.0, 0
    ranks = set(hits.tolist())
    for rank in range(1, int(hits[-1]) + 1):
        found += rank in ranks
        recall, precision = found / len(hits), found / rank
        area += (recall - recall_before) * (precision_before + precision) / 2
        recall_before, precision_before = recall, precision
    return area


def market_scores(
    distances: NDArray[Any], query: tuple[Integers, Integers], gallery: tuple[Integers, Integers], depth: int = 50
) -> dict[str, Any]:
    """The protocol of Market-1501 on distances [Q, G]; `query` and `gallery` are pids and camids.

    Of each query's list, junk (pid -1) and the images of its id by its camera are removed; a query that has no match
    then is skipped. Of images at one distance those of other ids come first, so that nothing is won by a tie.
    """
    curve, first, mean, trapezoid, inp = np.zeros(depth), [], [], [], []
    for row, pid, camid in zip(distances, *query, strict=True):
        match = gallery[0] == pid
        removed = (match & (gallery[1] == camid)) | (gallery[0] == -1)
        order = np.lexsort((match, row))  # by distance, then other ids before the match
        hits = 1 + np.flatnonzero(match[order[~removed[order]]])
        if pid == -1 or not len(hits):
            mean.append(math.nan)
            continue
        first.append(int(hits[0]))
        mean.append(average_precision(hits))
        trapezoid.append(average_precision_trapezoid(hits))
        inp.append(len(hits) / int(hits[-1]))
        curve[hits[0] - 1 :] += 1
    curve /= len(first)
    return {
        "rank1": curve[0],
        "rank5": curve[4],
        "rank10": curve[9],
        "map": float(np.nanmean(mean)),
        "map_trapezoid": float(np.mean(trapezoid)),
        "minp": float(np.mean(inp)),
        "queries": len(first),
        "cmc": curve,
        "average_precision": np.array(mean),
    }


def k_reciprocal(
    query: NDArray[Any], gallery: NDArray[Any], dtype: type[np.floating[Any]] = np.float64
) -> NDArray[np.floating[Any]]:
    """k-reciprocal re-ranking (arXiv:1701.08398) with k1 20, k2 6, lambda 0.3, in full matrices of `dtype`.

    In double precision distances are sums of squared differences; in another they are made by one product of matrices,
    as programs make them. Neighbours are ordered by distance and then by index, queries before the gallery.
    """
    k1, k2, lam = 20, 6, 0.3
    points = unit(np.concatenate([query, gallery])).astype(dtype)
    if dtype is np.float64:
        distance: NDArray[np.floating[Any]] = squared_distances(points, points)
    else:
        squares = (points**2).sum(axis=1)
        distance = squares[:, None] + squares - 2 * points @ points.T
    distance = distance / distance.max(axis=1, keepdims=True)
    near = np.argsort(distance, axis=1, kind="stable")

    def mutual(i: int, k: int) -> set[int]:
        return {j for j in near[i, : k + 1].tolist() if i in near[j, : k + 1]}

    encoded = np.zeros_like(distance)
    for i in range(len(points)):
        members = core = mutual(i, k1)
        for candidate in core:
            others = mutual(candidate, round(k1 / 2))
            if len(others & core) > 2 / 3 * len(others):
                members = members | others
        columns = sorted(members)
        weight = np.exp(-distance[i, columns])
        encoded[i, columns] = weight / weight.sum()
    encoded = np.stack([encoded[near[i, :k2]].mean(axis=0) for i in range(len(points))])
    count = len(query)
    common = np.stack([np.minimum(row, encoded[count:]).sum(axis=1) for row in encoded[:count]])
    return np.asarray((1 - lam) * (1 - common / (2 - common)) + lam * distance[:count, count:])


def epoch_of_batches(pids: Sequence[int], ids: int, images: int, rng: random.Random) -> list[list[int]]:
    """The batches of an epoch, each a list of indices into `pids`.

    Every id's images are shuffled and cut into chunks of `images`, the remainder dropped; one with fewer gives one
    chunk, drawn with replacement. Then `ids` ids at a time give a chunk each, until fewer than that have one left.
    """
    of_id: dict[int, list[int]] = defaultdict(list)
    for index, pid in enumerate(pids):
        of_id[pid].append(index)
    chunks = {}
    for pid, own in of_id.items():
        drawn = own if len(own) >= images else rng.choices(own, k=images)
        shuffled = rng.sample(drawn, len(drawn))
        chunks[pid] = [shuffled[n : n + images] for n in range(0, len(shuffled) - images + 1, images)]
    batches = []
    while len(left := [pid for pid, waiting in chunks.items() if waiting]) >= ids:
        batches.append([index for pid in rng.sample(left, ids) for index in chunks[pid].pop()])
    return batches
