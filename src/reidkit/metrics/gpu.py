"""What `distances`, `retrieval` and `neighbours` do, on an accelerator: whole arrays of torch in place of loops.

**Counts.** Blocks of distances are made, compared and dropped there; what comes back is one integer for each match, and
for each block the number of distances to look at, for which the host has to wait. A block is gone over once: what is
farther than a query's farthest match does not count, and what is left is put between two matches by binary search. No
row is sorted, and no more than the block need be in memory.

**Doubt.** As on the host, distances that single precision cannot tell apart are computed again in double precision, and
equal features are at equal distances: every pair's squares are added up in the same order, by steps that treat all
pairs alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reidkit.metrics.distances import LONGEST, SHORTEST, check_metric, prepare, refuse_tiny, slack, steps, to_host
from reidkit.metrics.products import full_precision
from reidkit.types import JUNK

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.metrics.candidates import Candidates, Points
    from reidkit.metrics.distances import Array
    from reidkit.metrics.matching import Matches, Rule
    from reidkit.types import Metric

    Floats = NDArray[np.float32]
    Integers = NDArray[np.int64]

GALLERY_BYTES = 128 << 20
"""A block of the gallery: 16,384 features of 2,048 numbers."""

BLOCK = 1 << 22
"""Distances at a time: 16 MB, and some 300 MB to count them where all are nearer than their query's farthest match."""

NEIGHBOUR_BLOCK = 1 << 27
"""Distances in one block where neighbours are looked for: 512 MB, of which there is room for three."""

DOUBLES = 1 << 23
"""Numbers that are handled in double precision at a time, of single features or pairs: 64 MB, twice or three times."""


# Distances.


@dataclass(frozen=True, eq=False)
class DeviceRows:
    """`Rows` on a device: `vectors` float32 [N, D], of length one for the cosine, `squares` float64 [N]."""

    vectors: Tensor
    squares: Tensor


def prepare_on_device(array: Array, metric: Metric, what: str, numbers: Integers | int, device: Any) -> DeviceRows:
    """Check features and make them `DeviceRows`, as `prepare` does.

    Raises:
        DataError: a row holds a NaN, an infinity or values of more than 1e18.
    """
    given = torch.tensor(to_host(array)) if isinstance(array, np.ndarray) else array.detach()
    vectors = given.to(device).float()
    squares = _device_squares(vectors)
    if not bool((squares < LONGEST**2).all()):
        prepare(vectors, metric, what, numbers)  # which says what is wrong with which row
    if metric == "euclidean":
        return DeviceRows(vectors, squares)
    length = torch.where(squares > 0, squares.sqrt(), 1.0)[:, None]
    unit = torch.empty_like(vectors)
    for part, row, scale in zip(*(x.split(at_once(vectors.shape[1])) for x in (unit, vectors, length)), strict=True):
        part.copy_(row.double().div_(scale))
    return DeviceRows(unit, _device_squares(unit))


def _device_squares(vectors: Tensor) -> Tensor:
    """Return the squared lengths, float64 [N]."""
    return torch.cat([_row_sums(some.double().square_()) for some in vectors.split(at_once(vectors.shape[1]))])


def products_on_device(query: DeviceRows, gallery: DeviceRows) -> Tensor:
    """Compute squared distances [Q, G] by a product in single precision, not cut at zero."""
    product = torch.addmm(gallery.squares.float(), query.vectors, gallery.vectors.T, alpha=-2)
    return product.add_(query.squares.float()[:, None])


def pair_squares_on_device(one_pd: Tensor, other_pd: Tensor) -> Tensor:
    """Compute the squared distances of P pairs of features, float64 [P]; equal pairs have equal bits."""
    return _row_sums(one_pd.double().sub_(other_pd).square_())


def _row_sums(values_nd: Tensor) -> Tensor:
    """Sum each row [N], over `values_nd`, all in the same order; that of a reduction depends on where a row begins."""
    width = values_nd.shape[1]
    while width > 1:
        half = width // 2
        values_nd[:, :half] += values_nd[:, width - half : width]
        width -= half
    return values_nd[:, 0].clone()


def at_once(width: int) -> int:
    """Return how many features, or pairs of them, are handled in double precision at a time."""
    return max(1, DOUBLES // width)


# How many images of other ids are nearer than each match.


@dataclass(frozen=True, eq=False)
class Lists:
    """The matches of Q queries on the device: those of query i are at `starts[i]:starts[i + 1]`, the nearest first.

    `starts` int64 [Q + 1]; `distances` float64 [P], squared; `counts` int64 [P + 1], added to, the last one holds what
    belongs to no match; `longest` is the highest number of matches of one query.
    """

    starts: Tensor
    distances: Tensor
    counts: Tensor
    longest: int

    def positions(self, row_k: Tensor, squared_k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the list of query `row_k` has its first match that is not nearer than `squared_k`, and its bounds.

        [K] each: the position (the stop where there is no such match), the start and the stop of the list.
        """
        start, stop = self.starts[row_k], self.starts[row_k + 1]
        low, high = start, stop
        for _ in range(self.longest.bit_length()):
            middle = (low + high) // 2
            nearer = (low < high) & (self.distances[middle.clamp(max=len(self.distances) - 1)] < squared_k)
            low, high = torch.where(nearer, middle + 1, low), torch.where(nearer, high, middle)
        return low, start, stop

    def add(self, position_k: Tensor, counted_k: Tensor) -> None:
        """Count an image at each position, where `counted_k` says so."""
        position_k = torch.where(counted_k, position_k, len(self.distances))
        self.counts.scatter_add_(0, position_k, torch.ones_like(position_k))


def count_nearer_on_device(
    query: Array, gallery: Array, metric: Metric, who: tuple[Rule, Matches], device: torch.device
) -> NDArray[np.int64]:
    """Count the images of other ids that come just before each match, int64 [P], nearest match first.

    Args:
        query: features [Q, D], NumPy or torch; they are copied to the device as a whole unless they are there.
        gallery: features [G, D], likewise, but in blocks.
        metric: cosine or euclidean.
        who: the labels, and the matches of every query, at least one.
        device: where it is done; it must know double precision.

    Raises:
        DataError: a row cannot be compared, or all are too short.
    """
    check_metric(metric)
    rule, matches = who
    exact = full_precision(torch.backends.cuda.matmul)
    with exact, torch.inference_mode(), torch.autocast(device.type, enabled=False):
        rows = prepare_on_device(query, metric, "query", 0, device)
        longest = float(rows.squares.max())
        lists = _lists(_match_squares(rows, gallery, metric, matches), matches)
        query_pids, gallery_pids = (torch.from_numpy(x).to(device) for x in (rule.query_pids, rule.gallery_pids))
        for images in steps(len(gallery), GALLERY_BYTES // (4 * rows.vectors.shape[1])):
            block = prepare_on_device(gallery[images], metric, "gallery", images.start, device)
            if longest < SHORTEST**2:
                refuse_tiny(max(longest, float(block.squares.max())))
            for part in steps(len(query), BLOCK // len(block.vectors)):
                _count_block(rows, block, part, (query_pids, gallery_pids[images]), lists)
        return lists.counts[:-1].cpu().numpy()


def _count_block(rows: DeviceRows, block: DeviceRows, part: slice, pids: tuple[Tensor, Tensor], lists: Lists) -> None:
    """Add the images of a block to the counts of the queries `part`; the host waits twice."""
    vectors, squares = rows.vectors[part], rows.squares[part]
    doubt_b = slack(vectors.shape[1]) * (squares + block.squares.max())
    stops = lists.starts[part.start + 1 : part.stop + 1]
    farthest_b = torch.where(
        stops > lists.starts[part], lists.distances[(stops - 1).clamp(min=0)] + 2 * doubt_b, -torch.inf
    )
    dist_bc = products_on_device(DeviceRows(vectors, squares), block)
    listed_bc = (pids[0][part, None] != pids[1]) & (pids[1] != JUNK) & (dist_bc <= farthest_b.float()[:, None])
    entry_k = listed_bc.view(-1).nonzero().view(-1)

    row_k, squared_k = entry_k // len(pids[1]), dist_bc.view(-1)[entry_k].double()
    position_k, start_k, stop_k = lists.positions(row_k + part.start, squared_k)
    last = len(lists.distances) - 1
    above_k = (position_k < stop_k) & (lists.distances[position_k.clamp(max=last)] - squared_k <= doubt_b[row_k])
    below_k = (position_k > start_k) & (squared_k - lists.distances[(position_k - 1).clamp(min=0)] <= doubt_b[row_k])
    doubtful_k = above_k | below_k
    lists.add(position_k, (position_k < stop_k) & ~doubtful_k)

    for entry_p in entry_k[doubtful_k].split(at_once(vectors.shape[1])):
        row_p, column_p = entry_p // len(pids[1]), entry_p % len(pids[1])
        squared_p = pair_squares_on_device(vectors[row_p], block.vectors[column_p])
        position_p, _, stop_p = lists.positions(row_p + part.start, squared_p)
        lists.add(position_p, position_p < stop_p)


def _match_squares(rows: DeviceRows, gallery: Array, metric: Metric, matches: Matches) -> Tensor:
    """Return the squared distance of every match, float64 [P]. Each of their images is read once."""
    wanted, inverse = np.unique(matches.columns, return_inverse=True)
    order, device = np.argsort(inverse, kind="stable"), rows.vectors.device
    found = torch.empty(len(order), dtype=torch.float64, device=device)
    width = rows.vectors.shape[1]
    for some in steps(len(wanted), GALLERY_BYTES // (4 * width)):
        block = prepare_on_device(_taken(gallery, wanted[some]), metric, "gallery", wanted[some], device)
        inside = order[slice(*np.searchsorted(inverse[order], (some.start, some.stop)))]
        numbers = np.stack((inside, matches.rows[inside], inverse[inside] - some.start))
        for match_p, row_p, column_p in torch.from_numpy(numbers).to(device).split(at_once(width), dim=1):
            found[match_p] = pair_squares_on_device(rows.vectors[row_p], block.vectors[column_p])
    return found


def _lists(squared_p: Tensor, matches: Matches) -> Lists:
    """Return the matches of every query in the order of their distances."""
    device = squared_p.device
    nearest = torch.argsort(squared_p)
    queries = torch.from_numpy(matches.rows).to(device)
    order = nearest[torch.argsort(queries[nearest], stable=True)]
    starts = torch.from_numpy(matches.starts).to(device)
    counts = torch.zeros(len(order) + 1, dtype=torch.int64, device=device)
    return Lists(starts, squared_p[order], counts, int(np.diff(matches.starts).max()))


def _taken(array: Array, numbers: NDArray[np.int64]) -> Array:
    if isinstance(array, np.ndarray):
        return np.asarray(array[numbers])
    return array[torch.from_numpy(numbers).to(array.device)]


# The nearest neighbours of every point.


def sweep_on_device(points: Points, candidates: Candidates, device: Any, into: Floats) -> None:
    """Fill the candidates as `merge_block` does block by block, on an accelerator; only lists come back from it.

    A block of rows is compared with all points at once, without the use of symmetry: products are the cheapest there.
    Of bounds that are equal where a list ends any may be kept; `settle_ties` then looks at all points.

    Args:
        points: N points, which are copied to the device.
        candidates: `keys` and `farthest` are filled; `worst` is left as it is.
        device: a device of torch.
        into: float32 [Q, N - Q]: filled with the squared distances of the first Q points to the others.
    """
    vectors, squares = (torch.tensor(values, device=device) for values in (points.vectors, points.squares))
    queries, (count, kept) = len(into), candidates.keys.shape
    with full_precision(torch.backends.cuda.matmul), torch.inference_mode():
        for rows in steps(count, NEIGHBOUR_BLOCK // count):
            block = DeviceRows(vectors[rows], squares[rows])
            distances = products_on_device(block, DeviceRows(vectors, squares)).clamp_(min=0)
            candidates.farthest[rows] = distances.amax(dim=1).cpu().numpy()
            if rows.start < queries:
                into[rows] = distances[: queries - rows.start, queries:].cpu().numpy()
            errors = (squares[rows, None] + squares).mul_(float(points.slack))
            bounds, others = distances.sub_(errors).clamp_(min=0).topk(kept, largest=False)
            keys = (bounds.view(torch.int32).long() << 32) | others
            candidates.keys[rows] = keys.sort(dim=1).values.cpu().numpy()
