"""Evaluating an encoder on a data set: features of query and gallery, then their scores."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypedDict, get_args

import numpy as np

from reidkit.arguments import check_path
from reidkit.data.formats.detect import load_dataset
from reidkit.encoder import (
    PRESETS,
    InferenceChanges,
    InferenceOptions,
    as_image_encoder,
    embed_samples,
    feature_name,
    load_model,
    require_torch,
)
from reidkit.encoder.torch_model import map_sequences
from reidkit.errors import MissingFileError, UsageError
from reidkit.metrics.matching import find_copies, require_evaluable
from reidkit.metrics.reranking.sequences import RESCORE_TOP, check_rescore, score_rescored
from reidkit.metrics.scoring import check_method, score
from reidkit.model_files import EXPORTED
from reidkit.types import Cameras, Dataset, Metric

if TYPE_CHECKING:
    from typing import Unpack

    from numpy.typing import NDArray

    from reidkit.encoder import Encoder, InputSpec
    from reidkit.metrics.retrieval import Scores
    from reidkit.types import Embeddings, RerankMethod, RescoreMethod


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How features are made and compared; the defaults are the official protocol, with f_i and cosine.

    Raises:
        UsageError: a value that there is not.
    """

    feature: str = "f_i"
    metric: Metric = "cosine"
    cameras: Cameras = "cross"
    flip: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "feature", feature_name(self.feature))
        for name, known in (("metric", get_args(Metric)), ("cameras", get_args(Cameras))):
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"{name} is {value}: choose {' or '.join(known)}", argument=name)

    @property
    def comparing(self) -> Comparing:
        """The arguments of whatever compares features."""
        return {"metric": self.metric, "cameras": self.cameras}


class Comparing(TypedDict):
    """How features are compared, by the names of the arguments."""

    metric: Metric
    cameras: Cameras


class Changes(InferenceChanges, total=False):
    """The fields of `EvaluationProtocol` and of `InferenceOptions`, by name."""

    feature: str
    metric: Metric
    cameras: Cameras
    flip: bool


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores with the features they come from, and the seconds of each stage.

    `reranked` are the scores after re-ranking; None where that was not asked for. `cameras` is the rule that they are
    by.
    """

    scores: Scores
    query: Embeddings = field(repr=False)
    gallery: Embeddings = field(repr=False)
    seconds: dict[str, float]
    reranked: Scores | None = None
    cameras: Cameras = "cross"

    def __str__(self) -> str:
        """The scores in per cent, and the warnings, in a line each."""
        lines = [_in_words(self.scores)]
        if self.reranked:
            lines.append(f"re-ranked: {_in_words(self.reranked)}")
        return "\n".join((*lines, *(f"warning: {warning}" for warning in self.warnings())))

    def warnings(self) -> tuple[str, ...]:
        """Return what a reader of the scores must know, as `reidkit evaluate` says it: copies, and equal features."""
        return find_copies(self.query, self.gallery, cameras=self.cameras).warnings()


def evaluate(  # noqa: PLR0913
    model: Encoder,
    dataset: Dataset | str | os.PathLike[str],
    protocol: EvaluationProtocol | None = None,
    options: InferenceOptions | None = None,
    *,
    rerank: RerankMethod | None = None,
    rescore: RescoreMethod | None = None,
    rescore_top: int = RESCORE_TOP,
    **changes: Unpack[Changes],
) -> Evaluation:
    """Score a model on the queries and the gallery of a data set.

    Args:
        model: What `load_model` returns, or any other `Encoder`.
        dataset: What `load_dataset` returns, or a path for it; it needs a query and a gallery.
        protocol: How features are made and compared; None: the official protocol.
        options: How images are read and run; None: all automatic, without a cache.
        rerank: `k-reciprocal`, `ecn`, `ecn-original` or `expansion`: scores after re-ranking, too.
        rescore: `path` or `attention`: scores after the nearest of each query are compared by sequences, in the place
            of `rerank`; of a network in torch.
        rescore_top: How many of each list.
        changes: Single fields of both, by name: `feature`, `metric`, `cameras`, `flip`, and `device`, `precision`,
            `batch`, `cache_dir`, `skip_unreadable`, `progress`, `masks`, `missing_masks`.

    Raises:
        DataError: the data set has no queries or no gallery; images that cannot be read; no query has a true match.
        UsageError: an option that there is not, or that this machine does not have.
    """
    model = as_image_encoder(model)
    dataset = open_dataset(dataset)
    protocol, options = with_changes(protocol, options, changes)
    if rerank:
        check_method(rerank, protocol.metric)
    if rescore:
        _check_rescore(model, rescore, rescore_top, rerank)
    elif rescore_top != RESCORE_TOP:
        raise UsageError(
            "rescore_top is how many of each list are re-scored: say how by rescore", argument="rescore_top"
        )
    require_evaluable(dataset, protocol.cameras)
    started = time.perf_counter()
    query, gallery = embed_dataset(model, dataset, protocol, options)
    embedded = time.perf_counter()
    device = options.device if options.device.type == "cuda" else None  # a processor's own loops are quicker there
    scores = score(query, gallery, **protocol.comparing, device=device)
    scored = time.perf_counter()
    seconds = {"embed": embedded - started, "score": scored - embedded}
    if rerank is None and rescore is None:
        return Evaluation(scores=scores, query=query, gallery=gallery, seconds=seconds, cameras=protocol.cameras)
    if rescore:
        both = dataset_sequences(model, dataset, options)
        reranked = score_rescored(query, gallery, both, rescore, top=rescore_top, **protocol.comparing)
    else:
        reranked = score(query, gallery, rerank=rerank, **protocol.comparing)
    seconds["rerank"] = time.perf_counter() - scored
    return Evaluation(
        scores=scores, query=query, gallery=gallery, seconds=seconds, reranked=reranked, cameras=protocol.cameras
    )


def embed_dataset(
    model: Encoder, dataset: Dataset, protocol: EvaluationProtocol, options: InferenceOptions
) -> tuple[Embeddings, Embeddings]:
    """Return the features of the queries and of the gallery, with what ids and cameras are called.

    Raises:
        DataError: an image cannot be read.
        DivergedError: the network gives features that are NaN or infinite.
    """
    query, gallery = (
        embed_samples(model, samples, name, options, feature=protocol.feature, flip=protocol.flip)
        for name, samples in (("query", dataset.query), ("gallery", dataset.gallery))
    )
    return replace(query, names=dataset.names), replace(gallery, names=dataset.names)


def find_input_spec(
    path: str | os.PathLike[str],
    dataset: Dataset | str | os.PathLike[str],
    *,
    images: int = 2500,
    **changes: Unpack[Changes],
) -> list[tuple[str, InputSpec, Scores]]:
    """Evaluate a foreign `.onnx` or `.xml` with every known input spec, the best by mAP first.

    A wrong spec is no error, it only scores low: by a tenth where the colours are in another order.

    Args:
        path: The file.
        dataset: A data set with a query and a gallery, or a path for it.
        images: Of a larger data set, the images of as many ids as have no more than these are taken.
        changes: As for `evaluate`.

    Returns:
        The name, the spec and the scores of each.

    Raises:
        DataError: the data set has no queries or no gallery, or images that cannot be read.
        UsageError: a file that says itself how its images are made; an option that there is not.
        WeightsError: the file cannot be run.
    """
    path = check_path(path, "an .onnx or an OpenVINO .xml")
    if not os.path.lexists(path):
        raise MissingFileError(f"{path} is not there: give an .onnx or an OpenVINO .xml")
    if path.suffix.lower() not in EXPORTED:
        raise UsageError(f"{path} says itself how its images are made: leave out input_spec", argument="input_spec")
    some = _some_ids(open_dataset(dataset), images)
    found = []
    for name in PRESETS:
        model = load_model(path, input_spec=name)
        found.append((name, model.input, evaluate(model, some, **changes).scores))
    return sorted(found, key=lambda one: -one[2].map)


def _some_ids(dataset: Dataset, images: int) -> Dataset:
    """Return query and gallery of a random part of the ids, with about `images` images together."""
    pids = np.concatenate([dataset.query.pids, dataset.gallery.pids])
    if len(pids) <= images:
        return dataset
    ids, counts = np.unique(pids[pids > 0], return_counts=True)
    mixed = np.random.default_rng(0).permutation(len(ids))
    chosen = ids[mixed[: max(2, int(np.searchsorted(np.cumsum(counts[mixed]), images)))]]
    parts = (part.take(np.flatnonzero(np.isin(part.pids, chosen))) for part in (dataset.query, dataset.gallery))
    return Dataset(dataset.name, (), *parts, names=dataset.names)


def dataset_sequences(
    model: Encoder, dataset: Dataset, options: InferenceOptions
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Return the rows of the maps of the queries [Q, S, C] and of the gallery [G, S, C], for re-scoring.

    Raises:
        DataError: an image cannot be read.
        UsageError: the model is exported, or a user's own network.
    """
    network = require_torch(model, "re-scoring")
    splits = (("query rows", dataset.query), ("gallery rows", dataset.gallery))
    query, gallery = (map_sequences(network, samples, options, name=name) for name, samples in splits)
    return query, gallery


def _check_rescore(model: Encoder, rescore: str, top: int, rerank: str | None) -> None:
    """Refuse before minutes are spent what re-scoring cannot do.

    Raises:
        UsageError: another re-ranking is asked for too, the model is exported, or a number makes no sense.
    """
    if rerank:
        raise UsageError("rerank and rescore exclude each other: give one of them", argument="rescore")
    check_rescore(rescore, top)
    require_torch(model, "re-scoring")


def open_dataset(dataset: Dataset | str | os.PathLike[str]) -> Dataset:
    """Return a data set that is given by itself or by its path."""
    return dataset if isinstance(dataset, Dataset) else load_dataset(dataset)


def with_changes(
    protocol: EvaluationProtocol | None, options: InferenceOptions | None, changes: Changes
) -> tuple[EvaluationProtocol, InferenceOptions]:
    """Both with the changed fields.

    Raises:
        UsageError: there is no such field, or no such value.
    """
    for value, kind in ((protocol, EvaluationProtocol), (options, InferenceOptions)):
        if not isinstance(value, kind | None):
            name = "options" if kind is InferenceOptions else "protocol"
            raise UsageError(
                f"{name} is a {type(value).__name__}: pass {kind.__name__}(...), or its fields by their names",
                argument=name,
            )
    given = dict(changes)
    known = {field.name for kind in (EvaluationProtocol, InferenceOptions) for field in fields(kind)}
    if unknown := given.keys() - known:
        raise UsageError(f"there is no argument {min(unknown)}: choose of {', '.join(sorted(known))}")
    how: Any = {key: value for key, value in given.items() if key in EvaluationProtocol.__dataclass_fields__}
    where: Any = {key: value for key, value in given.items() if key not in how}
    return replace(protocol or EvaluationProtocol(), **how), replace(options or InferenceOptions(), **where)


def _in_words(scores: Scores) -> str:
    shares = {"rank-1": scores.rank1, "rank-5": scores.rank5, "rank-10": scores.rank10, "mAP": scores.map}
    words = " ".join(f"{name} {100 * share:.1f}" for name, share in shares.items())
    return f"{words} mINP {100 * scores.minp:.1f} ({scores.queries} queries, {scores.gallery} gallery images)"
