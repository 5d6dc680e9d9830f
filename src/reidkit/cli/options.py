"""Options that several commands share, each written once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reidkit.cli import complete
from reidkit.errors import UsageError


class Precision(StrEnum):
    """What the network computes in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class Feature(StrEnum):
    """Which feature is compared: f_i after the neck, or f_t before it."""

    AFTER = "after"
    BEFORE = "before"


class Metric(StrEnum):
    """How features are compared."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"


class Ap(StrEnum):
    """The interpretation of average precision: the mean of the precisions at the hits, or the area under trapezoids."""

    MEAN = "mean"
    TRAPEZOID = "trapezoid"


class Cameras(StrEnum):
    """Whether a match by the query's own camera counts."""

    CROSS = "cross"
    ANY = "any"


class Way(StrEnum):
    """How lists are put in order again."""

    K_RECIPROCAL = "k-reciprocal"
    ECN = "ecn"
    ECN_ORIGINAL = "ecn-original"
    EXPANSION = "expansion"


Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        autocompletion=complete.formats,
        help="The data set's format, if its layout does not tell (`reidkit data --help`).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, and nothing else.")]
Device = Annotated[str, typer.Option(autocompletion=complete.devices, help="auto, cpu or cuda.")]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="auto: bf16 where the device has it.")]
CacheDir = Annotated[
    Path | None, typer.Option("--cache", help="Folder for decoded images.  [default: ~/.cache/reidkit]")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Decode images for every batch instead.")]
SkipBroken = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read.")]
Stream = Annotated[
    bool | None,
    typer.Option(
        "--stream/--no-stream", help="Read shards in order and shuffle in memory.  [default: at a URL, and Parquet]"
    ),
]
FeatureOption = Annotated[Feature, typer.Option("--feature", help="After the neck, or before it.")]
MetricOption = Annotated[Metric, typer.Option("--metric", help="How features are compared.")]
ApOption = Annotated[Ap, typer.Option("--ap", help="The interpretation of average precision that is shown first.")]
CamerasOption = Annotated[Cameras, typer.Option("--cameras", help="any: matches by the query's own camera count.")]
Rerank = Annotated[bool, typer.Option("--rerank", help="Scores after k-reciprocal re-ranking, too.")]
RerankBy = Annotated[
    Way | None, typer.Option("--rerank-by", help="Re-ranking in another way: ECN, or alpha query expansion.")
]
MOST_NEIGHBOURS = 200
"""Re-ranking makes room for k1 squared entries an image: beyond this it would take gigabytes."""
K1 = Annotated[
    int | None,
    typer.Option(
        "--k1", min=1, max=MOST_NEIGHBOURS, help="k-reciprocal: neighbours for the reciprocal sets.  [default: 20]"
    ),
]
K2 = Annotated[
    int | None,
    typer.Option("--k2", min=1, max=MOST_NEIGHBOURS, help="k-reciprocal: neighbours for the expansion.  [default: 6]"),
]
Lambda = Annotated[
    float | None,
    typer.Option("--lambda", min=0, max=1, help="k-reciprocal: the weight of the original distance.  [default: 0.3]"),
]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Share the work among so many; torchrun works too.")]
As = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="INTERPRETATION",
        autocompletion=complete.interpretations,
        help="The interpretation of disputed points: paper-text, official-code or fast-reid.",
    ),
]
ByCamera = Annotated[
    bool, typer.Option("--by-camera", help="Scores of each pair of a query camera and a gallery camera, too.")
]
SingleShot = Annotated[
    bool, typer.Option("--single-shot", help="CUHK03's first protocol, too: one gallery image per id, 100 draws.")
]
MultiQuery = Annotated[
    bool, typer.Option("--multi-query", help="One query of all images of an id by one camera: their mean.")
]
PerQuery = Annotated[
    Path | None, typer.Option("--per-query", help="Write the AP, INP and first match of every query there (.csv).")
]
Ci = Annotated[bool, typer.Option("--ci", help="95 % intervals, by bootstrap over ids.")]
Report = Annotated[Path | None, typer.Option("--report", help="Write a self-contained HTML page there.")]


def cache_dir(cache: Path | None, no_cache: bool) -> Path | None:
    """The folder of the image cache, or None for none.

    Raises:
        UsageError: both are asked for.
    """
    if no_cache and cache is not None:
        raise UsageError("--cache and --no-cache exclude each other: give one of them")
    if no_cache:
        return None
    return cache_folder(cache)


def cache_folder(cache: Path | None) -> Path:
    """The folder of the image cache, where there is to be one."""
    from reidkit.data.cache import default_cache_dir

    return cache or default_cache_dir()
