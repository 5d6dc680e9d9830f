"""The nearest points of every point on an accelerator: only lists and maxima come back from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reidkit.evaluate.multiply import full_precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reidkit.evaluate.nearest_kernels import Points, Tally

BLOCK = 1 << 27
"""Distances in one block: 512 MB, of which the device needs room for three."""


def sweep_on_device(points: Points, tally: Tally, device: Any, into: NDArray[np.float32]) -> None:
    """Fills the lists and the farthest distances of a tally, as `nearest_kernels.merge` does square by square.

    A block of rows is compared with all points at once, without the use of symmetry: products are the cheapest there.
    Of bounds that are equal where a list ends any may be kept; `settle` then looks at all points.

    Args:
        points: N points, which are copied to the device.
        tally: `keys` and `farthest` are filled; `worst` is left as it is.
        device: a device of torch.
        into: float32 [Q, N - Q]: filled with the squared distances of the first Q points to the others.
    """
    import torch

    vectors, squares = (torch.tensor(values, device=device) for values in (points.vectors, points.squares))
    slack, queries = float(points.slack), len(into)
    count, kept = tally.keys.shape
    step = max(1, BLOCK // count)
    with full_precision(torch.backends.cuda.matmul), torch.inference_mode():
        for first in range(0, count, step):
            rows = slice(first, min(first + step, count))
            both = squares[rows, None] + squares
            distances = torch.addmm(both, vectors[rows], vectors.T, alpha=-2).clamp_(min=0)
            tally.farthest[rows] = distances.amax(dim=1).cpu().numpy()
            if first < queries:
                into[rows] = distances[: queries - first, queries:].cpu().numpy()
            bounds, others = distances.sub_(both.mul_(slack)).clamp_(min=0).topk(kept, largest=False)
            keys = (bounds.view(torch.int32).long() << 32) | others
            tally.keys[rows] = keys.sort(dim=1).values.cpu().numpy()
