"""The loss of cluster contrast (Dai et al., arXiv:2103.11568): InfoNCE against one centroid a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from reidkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor


class ClusterMemory(nn.Module):
    """A memory of centroids m_1 ... m_C of length one, towards which and from which features f are pulled (equation 2).

    L = -log(exp(f m_y / t) / sum over c of exp(f m_c / t)), with f of length one and y the cluster of its image. After
    each step every image moves its centroid, one after the other: m_y <- unit(a m_y + (1 - a) f) (equation 4).

    The number of clusters changes whenever the memory is filled; nothing in it is learned by an optimizer.

    Args:
        dim: D, the length of a feature.
        temperature: t.
        momentum: a, how much of a centroid an image leaves in place.
        images: K, where every batch has exactly K images of each of its clusters, so that `step` need not ask how many
            there are, for which the host waits for a GPU; 0: any number.

    Attributes:
        centroids: float32 [C, D], each of length one.
        clusters: The cluster of each of N images, int64 [N], -1 for outliers; as it was filled.

    Raises:
        UsageError: t is not above 0, or a is not between 0 and 1.
    """

    centroids: Tensor
    clusters: Tensor

    def __init__(self, dim: int, *, temperature: float = 0.05, momentum: float = 0.1, images: int = 0) -> None:
        if temperature <= 0:
            raise UsageError(f"a temperature of {temperature}: it must be above 0", argument="temperature")
        if not 0 <= momentum <= 1:
            raise UsageError(f"a momentum of {momentum}: it must be between 0 and 1", argument="momentum")
        super().__init__()
        self.dim, self.temperature, self.momentum, self.images = dim, temperature, momentum, images
        self.register_buffer("centroids", torch.zeros(0, dim))
        self.register_buffer("clusters", torch.zeros(0, dtype=torch.int64))
        self._last: tuple[Tensor, Tensor] | None = None

    def fill(self, feat_nd: Tensor, cluster_n: Tensor) -> None:
        """Begin again with the mean direction of each cluster.

        Args:
            feat_nd: The features of N images, [N, D].
            cluster_n: The cluster of each, int64 [N], from 0 to C - 1 without a gap, or -1 for outliers.
        """
        inside = cluster_n >= 0
        direction_md = F.normalize(feat_nd[inside].to(torch.float32), dim=1)
        sums = torch.zeros(int(cluster_n.max()) + 1, self.dim, device=feat_nd.device)
        centroids = F.normalize(sums.index_add_(0, cluster_n[inside], direction_md), dim=1)
        self.centroids = centroids.to(self.centroids.device)
        self.clusters = cluster_n.to(self.centroids.device, torch.int64)

    def forward(self, feat_bd: Tensor, label_b: Tensor) -> Tensor:
        """Return the loss of features [B, D] whose images are in the clusters `label_b` int64 [B], 0 <= label < C."""
        direction_bd = F.normalize(feat_bd, dim=1)
        self._last = (direction_bd.detach(), label_b)
        return F.cross_entropy(direction_bd @ self.centroids.T / self.temperature, label_b)

    @torch.no_grad()
    def step(self, lr: float | None = None) -> None:  # noqa: ARG002 (the rate of the optimizer, for losses that use it)
        """Move the centroids towards the features of the last `forward`, image by image; once for each."""
        if self._last is None:
            return
        (direction_bd, label_b), self._last = self._last, None
        for turn_s in self._turns(label_b):
            label_s = label_b[turn_s]
            moved_sd = self.momentum * self.centroids[label_s] + (1 - self.momentum) * direction_bd[turn_s]
            self.centroids[label_s] = F.normalize(moved_sd, dim=1)

    def _turns(self, label_b: Tensor) -> Iterable[Tensor]:
        """Return which images move their centroids together: the first one of each cluster, then the second ones, ...

        Clusters do not touch each other, so that this is the same as image by image.
        """
        if self.images:
            return label_b.argsort(stable=True).view(-1, self.images).T
        before_b = (label_b[:, None] == label_b).tril(-1).sum(dim=1)
        return [(before_b == turn).nonzero()[:, 0] for turn in range(int(before_b.max()) + 1)]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Make room for as many clusters and images as were saved.

        Raises:
            ValueError: what was saved is no memory of this size.
        """
        centroids, clusters = (state_dict.get(prefix + name) for name in ("centroids", "clusters"))
        if centroids is not None and clusters is not None:
            if centroids.shape[1:] != (self.dim,) or clusters.dim() != 1 or clusters.dtype != torch.int64:
                raise ValueError("a memory of another shape")
            if len(clusters) and not -1 <= int(clusters.min()) <= int(clusters.max()) < len(centroids):
                raise ValueError("clusters without a centroid")
            self.centroids = self.centroids.new_zeros(centroids.shape)
            self.clusters = self.clusters.new_zeros(clusters.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)
