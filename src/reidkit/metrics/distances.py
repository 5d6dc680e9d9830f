"""Distances in blocks, so that neither the whole matrix nor the whole gallery need be in memory."""

from __future__ import annotations

import ctypes
import functools
import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.metrics.kernels import squared_lengths, unit_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[Any] | Tensor


# The one product that all distances come from, on the machine's own cores or on an accelerator.

WORTH_TORCH = 2e11
"""Multiplications and additions that take NumPy a second longer: as long as torch takes to import."""


WIDE_CORES = ("SkylakeX", "Cooperlake", "Sapphirerapids")
"""The processors for which OpenBLAS uses the whole of AVX-512; Zen 4 and 5 are among them under these names."""


class Multiplier(Protocol):
    """Puts features where they are multiplied, and multiplies them."""

    def place(self, vectors: NDArray[np.float32]) -> Any:
        """Features [N, D] as `multiply` takes them."""

    def multiply(self, query: Any, gallery: Any, out: NDArray[np.float32]) -> None:
        """Writes `query @ gallery.T` to `out`."""


class Host:
    """NumPy's product: nothing that torch has is quicker, as long as its OpenBLAS uses the whole width of registers."""

    def place(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features themselves."""
        return vectors

    def multiply(self, query: NDArray[np.float32], gallery: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Writes `query @ gallery.T` to `out`."""
        np.matmul(query, gallery.T, out=out)


class Wide:
    """oneDNN's product in single precision, by way of torch, for an OpenBLAS that uses half the width of AVX-512.

    It does so on processors that it does not know, and where `OPENBLAS_CORETYPE` says so: 130 GFLOP/s of one Zen 5
    core, where this gives 250. Otherwise the two are equally quick.
    """

    def place(self, vectors: NDArray[np.float32]) -> Tensor:
        """The features themselves, seen by torch."""
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that some cannot be written to: nobody does
            return torch.from_numpy(vectors)

    def multiply(self, query: Tensor, gallery: Tensor, out: NDArray[np.float32]) -> None:
        """Writes `query @ gallery.T` to `out`."""
        import torch

        with full_precision(_onednn()), torch.inference_mode():
            torch.from_numpy(out).copy_(torch.ops.mkldnn._linear_pointwise(query, gallery, None, "none", [], ""))


class Device:
    """torch's product on an accelerator, in full single precision whatever the program has set."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def place(self, vectors: NDArray[np.float32]) -> Tensor:
        """A copy on the device."""
        import torch

        return torch.tensor(vectors, device=self.device)

    def multiply(self, query: Tensor, gallery: Tensor, out: NDArray[np.float32]) -> None:
        """Writes `query @ gallery.T` to `out`."""
        import torch

        with full_precision(torch.backends.cuda.matmul), torch.inference_mode():
            torch.from_numpy(out).copy_(query @ gallery.T)


def multiplier_for(*arrays: NDArray[Any] | Tensor, all_pairs: bool = False) -> Multiplier:
    """The one for the first array that is on an accelerator; else the machine's own cores.

    Args:
        arrays: features [N, D] of each part: queries and a gallery, or points.
        all_pairs: every point is compared with every other; else the first part with the second.

    The choice depends on sizes, processor and OpenBLAS, and not on a clock: a command gives the same bits each time on
    one machine.
    """
    device = accelerator(*arrays)
    if device is not None:
        return Device(device)
    rows = [float(len(array)) for array in arrays]
    pairs = sum(rows) ** 2 / 2 if all_pairs else math.prod(rows)
    return Wide() if 2 * pairs * arrays[0].shape[1] >= WORTH_TORCH and has_wide() else Host()


def accelerator(*arrays: NDArray[Any] | Tensor) -> Any:
    """The device of the first array that is on one; None where all are in the host's memory."""
    devices = (None if isinstance(array, np.ndarray) else getattr(array, "device", None) for array in arrays)
    return next((device for device in devices if device is not None and device.type != "cpu"), None)


@functools.cache
def has_wide() -> bool:
    """Whether `Wide` is there, quicker, and exact: by what processor and OpenBLAS say, and by a check."""
    from llvmlite import binding

    if not binding.get_host_cpu_features().get("avx512f", False) or blas_core() in ("", *WIDE_CORES):
        return False
    import torch

    # torch before 2.9 has no switch that holds oneDNN to single precision.
    there = torch.backends.mkldnn.is_available() and hasattr(torch.backends.mkldnn, "matmul")
    return there and hasattr(torch.ops.mkldnn, "_linear_pointwise") and is_exact(Wide())


def blas_core() -> str:
    """The processor that NumPy's OpenBLAS computes for, as `Haswell`; empty where NumPy has another library."""
    for path in Path(np.__file__).parents[1].glob("numpy.libs/libscipy_openblas*"):
        library = ctypes.CDLL(str(path))
        for name in ("scipy_openblas_get_corename64_", "scipy_openblas_get_corename"):
            if function := getattr(library, name, None):
                function.restype = ctypes.c_char_p
                return str(function().decode())
    return ""


def is_exact(multiplier: Multiplier) -> bool:
    """Whether a product has the errors of single precision: one of bf16 or TF32 is off by a thousand times as much.

    The environment can tell oneDNN to round to bf16 (`ONEDNN_DEFAULT_FPMATH_MODE`), which no setting of torch undoes.
    """
    vectors = np.random.default_rng(0).uniform(-1, 1, (256, 512)).astype(np.float32)
    found, wanted = np.empty((256, 256), np.float32), vectors.astype(np.float64) @ vectors.astype(np.float64).T
    try:
        multiplier.multiply(multiplier.place(vectors), multiplier.place(vectors), found)
    except RuntimeError:  # another version takes other arguments
        return False
    return bool(np.abs(found - wanted).max() < 1e-3)


def _onednn() -> Any:
    """OneDNN's switch, which torch's types do not know."""
    import torch

    backend: Any = torch.backends.mkldnn
    return backend.matmul


@contextmanager
def full_precision(switch: Any) -> Iterator[None]:
    """Products of one backend without TF32 and bf16, whose errors are a thousand times larger; what was set comes back.

    `switch` is torch's: `torch.backends.cuda.matmul` or `torch.backends.mkldnn.matmul`.
    """
    name, exact = ("fp32_precision", "ieee") if hasattr(switch, "fp32_precision") else ("allow_tf32", False)
    before = getattr(switch, name)
    setattr(switch, name, exact)
    try:
        yield
    finally:
        setattr(switch, name, before)


Metric = Literal["cosine", "euclidean"]

QUERY_ROWS = 512
GALLERY_BYTES = 8 << 20
"""A block of the gallery. Larger ones, as the allocator hands them back to the system each time, took 10 % longer."""

ROW_BYTES = 256 << 20
LONGEST = 1e18
"""A feature longer than this cannot be squared in single precision with room to spare."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Features ready to be compared: `vectors` float32 [N, D], of length one for the cosine, and their squared lengths.

    The squared Euclidean distance of two of them is what is compared. For unit vectors it is 2 - 2 cos, so that both
    metrics are one computation.
    """

    vectors: NDArray[np.float32]
    squares: NDArray[np.float64]

    @property
    def slack(self) -> float:
        """`slack` of these."""
        return slack(self.vectors.shape[1])


@dataclass(frozen=True, eq=False)
class Tile:
    """The products of a block of queries and a block of the gallery: valid until the next tile is asked for."""

    first_query: int
    first_gallery: int
    query: Rows
    gallery: Rows
    product_bc: NDArray[np.float32]


def shape(array: Array, what: str) -> tuple[int, int]:
    """The shape [N, D] of features.

    Raises:
        DataError: there are not two axes, no rows or columns, or the values are no real numbers.
    """
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(f"the {what} features have the shape {list(array.shape)}: [images, dimensions] is needed")
    if str(array.dtype).removeprefix("torch.").startswith(("complex", "bool", "object", "str", "<U", "|S", "|V")):
        raise DataError(f"the {what} features are of type {array.dtype}: real numbers are needed")
    return array.shape[0], array.shape[1]


def check_pair(query: Array, gallery: Array) -> None:
    """Refuses two sets of features that cannot be compared with each other."""
    (_, ours), (_, theirs) = shape(query, "query"), shape(gallery, "gallery")
    if ours != theirs:
        raise DataError(
            f"query features have {ours} dimensions and gallery features {theirs}: make both with the same model"
        )


def to_numpy(array: Array) -> NDArray[Any]:
    """The array in NumPy, as float32 or float64; a view where it is that already, a memory map or a tensor."""
    if not isinstance(array, np.ndarray):
        array = (array.detach() if array.element_size() == 8 else array.detach().float()).cpu().numpy()
    wide = array.dtype.itemsize == 8
    return np.ascontiguousarray(array, dtype=np.float64 if wide else np.float32)


def to_host(array: Array) -> NDArray[np.float32]:
    """The array as float32 in NumPy; a view where it is that already."""
    with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused with its row
        return to_numpy(array).astype(np.float32, copy=False)


def check_metric(metric: Metric) -> None:
    """Refuses a metric that is not there."""
    if metric not in ("cosine", "euclidean"):
        raise UsageError(f"there is no metric {metric}: choose cosine or euclidean")


def prepare(array: Array, metric: Metric, what: str, numbers: NDArray[np.int64] | int = 0) -> Rows:
    """Features [N, D] as `Rows`. `numbers`: the row numbers for messages, or the number of the first row.

    Raises:
        DataError: a row holds a NaN, an infinity or values of more than 1e18.
        UsageError: there is no such metric.
    """
    check_metric(metric)
    vectors = to_host(array)
    vectors = vectors.view(np.ndarray)
    vectors.flags.writeable = False  # one type of array for the compiled loops
    squares = squared_lengths(vectors)
    bad = np.flatnonzero(~(squares < LONGEST**2))
    if bad.size:
        row = int(bad[0]) + numbers if isinstance(numbers, int) else int(numbers[bad[0]])
        value = "a NaN, an infinity" if not np.isfinite(vectors[bad[0]]).all() else "values too large to be compared"
        raise DataError(f"row {row} of the {what} features holds {value}: leave the image out or embed it again")
    if metric == "euclidean":
        return Rows(vectors, squares)
    unit = unit_rows(vectors, np.sqrt(squares))
    unit.flags.writeable = False
    return Rows(unit, squared_lengths(unit))


def slack(width: int) -> float:
    """How far a distance of `width` dimensions in single precision may be off, as a part of both squared lengths' sum.

    A sum of D rounded products is off by at most D 2^-24 |a| |b| in whatever order. Mostly it is far less, but not
    where all rounding goes one way: features that are one constant reach a fifth of it.
    """
    return (width + 16) * 2.0**-24


def gallery_rows(width: int) -> int:
    """How many rows of the gallery make a block, for features of `width` dimensions."""
    return int(np.clip(GALLERY_BYTES // (4 * width), 256, 16384))


def tiles(query: Rows, gallery: Array, metric: Metric, where: Array | None = None) -> Iterator[Tile]:
    """The products of all queries with all of the gallery; every row of the gallery is read once.

    `where`: the array that the queries came from, so that the products are made on its device.

    Raises:
        DataError: a row of the gallery cannot be compared.
    """
    multiplier = multiplier_for(query.vectors if where is None else where, gallery)
    total, width = shape(gallery, "gallery")
    step = gallery_rows(width)
    buffer = np.empty(min(QUERY_ROWS, len(query.vectors)) * min(step, total), np.float32)
    blocks = [slice(i, i + QUERY_ROWS) for i in range(0, len(query.vectors), QUERY_ROWS)]
    queries = [(block.start, Rows(query.vectors[block], query.squares[block])) for block in blocks]
    placed = [multiplier.place(rows.vectors) for _, rows in queries]
    for first in range(0, total, step):
        block = prepare(gallery[first : first + step], metric, "gallery", first)
        right = multiplier.place(block.vectors)
        for (number, rows), left in zip(queries, placed, strict=True):
            out = buffer[: len(rows.vectors) * len(block.vectors)].reshape(len(rows.vectors), len(block.vectors))
            multiplier.multiply(left, right, out)
            yield Tile(number, first, rows, block, out)


def distances(tile: Tile, metric: Metric) -> NDArray[np.float32]:
    """The distances of a tile, written over its products: 1 - cos, or the Euclidean distance."""
    dist_bc = tile.product_bc
    dist_bc *= -2
    dist_bc += tile.gallery.squares.astype(np.float32)
    dist_bc += tile.query.squares.astype(np.float32)[:, None]
    np.maximum(dist_bc, 0, out=dist_bc)
    return np.multiply(dist_bc, 0.5, out=dist_bc) if metric == "cosine" else np.sqrt(dist_bc, out=dist_bc)


def from_squares(squared: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """The distances that belong to squared Euclidean distances of `Rows`."""
    return squared / 2 if metric == "cosine" else np.sqrt(squared)


def to_squares(distance: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """The opposite of `from_squares`."""
    return distance * 2 if metric == "cosine" else np.square(distance)


def distance_blocks(
    query: Array, gallery: Array, metric: Metric = "cosine", block: int | None = None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The distances of all queries to the whole gallery, a block of queries at a time.

    Args:
        query: features [Q, D]: NumPy, a memory map, or a tensor on any device.
        gallery: features [G, D], likewise.
        metric: `cosine` gives 1 - cos, between 0 and 2; `euclidean` the distance itself, not squared.
        block: queries at a time; by default as many as make 256 MB of distances.

    Yields:
        The number of the first query, and the distances float32 [block, G]. They are right to about 1e-6 of the squared
        lengths: two equal features may be at 1e-3 of their length from each other in the Euclidean distance.

    Raises:
        DataError: shapes that do not fit, or a row with a NaN, an infinity or values of more than 1e18.
    """
    check_pair(query, gallery)
    total = len(gallery)
    step = block or max(1, min(len(query), ROW_BYTES // (4 * total)))
    for first in range(0, len(query), step):
        rows = prepare(query[first : first + step], metric, "query", first)
        out = np.empty((len(rows.vectors), total), np.float32)
        for tile in tiles(rows, gallery, metric, where=query):
            part = distances(tile, metric)
            out[tile.first_query : tile.first_query + len(part), tile.first_gallery :][:, : part.shape[1]] = part
        yield first, out


def gather(array: Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Some rows of features, as float32 in NumPy."""
    if isinstance(array, np.ndarray):
        return to_host(array[rows])
    import torch

    return to_host(array[torch.from_numpy(rows).to(array.device)])
