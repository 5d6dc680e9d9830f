"""Judging a network on a benchmark: features of query and gallery, then their scores."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import torch

from reidkit.data.images import open_images
from reidkit.data.loaders import eval_batches
from reidkit.distributed import ALONE
from reidkit.encoder import choose_batch, embed, refuse_diverged
from reidkit.errors import DataError
from reidkit.metrics.matching import Labels, find_matches, make_rule, require_matches
from reidkit.metrics.retrieval import Scores, score
from reidkit.types import Embeddings, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from reidkit.distributed import Group
    from reidkit.model.weights import Model
    from reidkit.types import Dataset, Sample, Samples

    Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How features are made and compared. What is not said is the official protocol, with f_i and cosine."""

    feature: Literal["after", "before"] = "after"
    metric: Literal["cosine", "euclidean"] = "cosine"
    cameras: Literal["cross", "any"] = "cross"
    flip: bool = False


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """How images are read and run; none of it changes a score by more than rounding. `batch` 0: by the device."""

    cache_dir: Path | None = None
    skip_unreadable: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: torch.dtype = torch.float32
    batch: int = 0
    tell: Tell | None = None
    group: Group = ALONE
    """The processes that share the embedding; each gets all features."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores with the features they come from, and the seconds of each stage."""

    scores: Scores
    query: Embeddings
    gallery: Embeddings
    seconds: dict[str, float]


def evaluate(model: Model, benchmark: Dataset, protocol: EvaluationProtocol, reading: InferenceOptions) -> Evaluation:
    """Score `model` on the queries and the gallery of `benchmark`.

    Raises:
        DataError: the benchmark has no queries or no gallery; images that cannot be read; nobody is in both.
    """
    require_evaluable(benchmark, protocol)
    started = time.perf_counter()
    query, gallery = embed_benchmark(model, benchmark, protocol, reading)
    embedded = time.perf_counter()
    device = reading.device if reading.device.type == "cuda" else None  # a processor's own loops are quicker there
    scores = score(query, gallery, metric=protocol.metric, cameras=protocol.cameras, device=device)
    seconds = {"embed": embedded - started, "score": time.perf_counter() - embedded}
    return Evaluation(scores=scores, query=query, gallery=gallery, seconds=seconds)


def require_evaluable(benchmark: Dataset, protocol: EvaluationProtocol) -> None:
    """Refuse a benchmark of which no score can come; no image is opened.

    Raises:
        DataError: there are no queries or no gallery, or no query has a right image by the protocol.
    """
    for part, samples in (("query", benchmark.query), ("gallery", benchmark.gallery)):
        if not samples:
            raise DataError(f"{benchmark.name} has no {part} images to judge with: give a data set that has")
    rule = make_rule(_labels(benchmark.query), _labels(benchmark.gallery), protocol.cameras)
    require_matches(find_matches(rule), rule, protocol.cameras)


def embed_benchmark(
    model: Model, benchmark: Dataset, protocol: EvaluationProtocol, reading: InferenceOptions
) -> tuple[Embeddings, Embeddings]:
    """Features of the queries and of the gallery, with what ids and cameras are called.

    Raises:
        DataError: an image cannot be read.
        DivergedError: the network gives features that are no numbers.
    """
    query = embed_samples(model, benchmark.query, "query", protocol, reading)
    gallery = embed_samples(model, benchmark.gallery, "gallery", protocol, reading)
    return replace(query, names=benchmark.names), replace(gallery, names=benchmark.names)


def embed_samples(
    model: Model, samples: Sequence[Sample], name: str, protocol: EvaluationProtocol, reading: InferenceOptions
) -> Embeddings:
    """Features of `samples`, those left out that cannot be read where `reading` allows it.

    Raises:
        DataError: an image cannot be read.
        DivergedError: the network gives features that are no numbers.
    """
    source = open_images(
        samples,
        model.recipe.images.size,
        resize=model.recipe.images.resize,
        cache_dir=reading.cache_dir,
        skip_unreadable=reading.skip_unreadable,
    )
    model.network.to(reading.device)
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        if reading.tell:
            reading.tell(name, done, share.stop - share.start)

    share = reading.group.share(len(source))
    batches = eval_batches(source, reading.batch or choose_batch(reading.device), reading.device, share=share)
    vectors = embed(
        model.network, batches, reading.precision, feature=protocol.feature, flip=protocol.flip, progress=progress
    )
    vectors = reading.group.gather_rows(torch.from_numpy(vectors)).numpy()
    refuse_diverged(vectors)
    labels = _labels(source.samples)
    return Embeddings(vectors, labels.pids, labels.camids, model.fingerprint, labels.paths)


def _labels(samples: Samples) -> Labels:
    return Labels(pids=samples.pids, camids=samples.camids, paths=samples.paths)
