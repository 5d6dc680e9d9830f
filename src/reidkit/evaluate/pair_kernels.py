"""What `pairs` does with every number of a tile of products, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.evaluate.kernels import compiled
from reidkit.types import JUNK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]


class Side(NamedTuple):
    """Who is on the images of one side of a tile, all int64 [b].

    `people` and `cameras` are rows of the tables of `Tally`, `people` -1 where there is none.
    """

    pids: Integers
    places: Integers
    people: Integers
    cameras: Integers


class Tally(NamedTuple):
    """Counts of impostor pairs: `fine` [F] by distance, and by the coarse bin that `coarse_of` int16 [F] names.

    `people` [I, K]: pairs in which a person is the query, and again pairs in which the person is the gallery image.
    `cameras` [P, K]: pairs of the two cameras that `camera_pair` [C, C] gives that row; the last row is for the rest.
    `sums` [K]: squared distances; `moments` [2]: the sum of them all, and of their squares.
    """

    fine: Integers
    coarse_of: NDArray[np.int16]
    people: Integers
    cameras: Integers
    camera_pair: Integers
    sums: Doubles
    moments: Doubles


class Near(NamedTuple):
    """Room for the impostor pairs that are nearest: rows, columns, and their squared distances."""

    rows: Integers
    columns: Integers
    values: Doubles


@compiled
def tally_tile(
    product_bc: Floats,
    squares: tuple[Doubles, Doubles],
    sides: tuple[Side, Side],
    tally: Tally,
    near: Near,
    progress: tuple[int, int, float, float],
) -> tuple[int, int]:
    """Adds the impostor pairs of a tile to the counts, and notes those nearer than a limit.

    A pair counts if neither image is junk, the people differ and the places differ.

    Args:
        product_bc: products of b queries with c images.
        squares: their squared lengths, [b] and [c].
        sides: who they are.
        tally: the counts, added to in place.
        near: what is noted; at least c places more than `found`.
        progress: the row to begin with, how many are noted, the limit, and fine bins per unit of squared distance.

    Returns:
        The row to go on with (b when done; it stops when `near` is full) and how many are noted.
    """
    query, gallery = sides
    start, found, limit, scale = progress
    last = np.float64(tally.fine.shape[0] - 1)
    columns = product_bc.shape[1]
    for i in range(start, product_bc.shape[0]):
        if query.pids[i] == JUNK:
            continue
        if found + columns > near.rows.shape[0]:
            return i, found
        person = query.people[i]
        total, total_square = 0.0, 0.0
        for j in range(columns):
            pid = gallery.pids[j]
            if pid == JUNK or pid == query.pids[i] or query.places[i] == gallery.places[j]:
                continue
            squared = max(0.0, squares[0][i] + squares[1][j] - 2.0 * np.float64(product_bc[i, j]))
            total += squared
            total_square += squared * squared
            fine = int(min(squared * scale, last))
            tally.fine[fine] += 1
            k = tally.coarse_of[fine]
            tally.sums[k] += squared
            tally.people[person, k] += 1
            if gallery.people[j] >= 0:
                tally.people[gallery.people[j], k] += 1
            tally.cameras[tally.camera_pair[query.cameras[i], gallery.cameras[j]], k] += 1
            if squared < limit:
                near.rows[found], near.columns[found], near.values[found] = i, j, squared
                found += 1
        tally.moments[0] += total
        tally.moments[1] += total_square
    return product_bc.shape[0], found


@compiled
def nearest_strangers(
    squared_bg: Floats,
    pids: tuple[Integers, Integers],
    held_out: tuple[NDArray[np.bool_], Integers],
    best: Floats,
    where: Integers,
) -> None:
    """The nearest image of somebody else, for every query of a block and every split of the people.

    Args:
        squared_bg: distances of b queries to the gallery.
        pids: of the queries and of the gallery.
        held_out: for every person and split whether the person is left out [I, R]; the person of each image [g].
        best: the distances, [b, R], written in place; they begin as infinite.
        where: the numbers of the images, [b, R]; they begin as -1.
    """
    out, person = held_out
    for i in range(squared_bg.shape[0]):
        farthest = np.float32(np.inf)
        for j in range(squared_bg.shape[1]):
            distance = squared_bg[i, j]
            if distance >= farthest or pids[1][j] == JUNK or pids[1][j] == pids[0][i]:
                continue
            farthest = np.float32(0)
            for r in range(best.shape[1]):
                if distance < best[i, r] and not out[person[j], r]:
                    best[i, r] = distance
                    where[i, r] = j
                farthest = max(farthest, best[i, r])
