"""What `reidkit evaluate` and `reidkit score` have to say about two sets of features."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from reidkit.cli import options
from reidkit.cli.output import percent, print_json, print_line, print_table, progress, remark
from reidkit.errors import UsageError
from reidkit.types import NO_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reidkit.metrics.intervals import Interval
    from reidkit.metrics.matching import Copies
    from reidkit.metrics.protocols import CameraPair, SingleShot
    from reidkit.metrics.reranking.k_reciprocal import KReciprocal
    from reidkit.metrics.retrieval import Scores
    from reidkit.types import Embeddings, Names

WORDS = {"map": "mAP", "map_trapezoid": "mAP (trapezoid)", "minp": "mINP"}
SHORT = ("rank1", "rank5", "rank10", "rank20", "map")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """The options of both commands that say what is computed.

    Raises:
        UsageError: options that do not go together, before anything is read.
    """

    metric: Literal["cosine", "euclidean"]
    cameras: Literal["cross", "any"]
    rerank: bool
    rerank_by: options.Way | None
    ci: bool
    by_camera: bool
    single_shot: bool
    k1: int | None = None
    k2: int | None = None
    lam: float | None = None

    def __post_init__(self) -> None:
        given = [name for name, value in self._numbers().items() if value is not None]
        if given and self.way is not options.Way.K_RECIPROCAL:
            raise UsageError(f"--{given[0]} is a number of k-reciprocal re-ranking: ask for it by --rerank")
        if self.way:
            from reidkit.metrics.scoring import check_method

            check_method(self.way.value, self.metric)
            _ = self.settings

    def _numbers(self) -> dict[str, float | None]:
        return {"k1": self.k1, "k2": self.k2, "lambda": self.lam}

    @property
    def settings(self) -> KReciprocal | None:
        """The numbers of k-reciprocal re-ranking, those of its authors where none are given; None for other ways."""
        from reidkit.metrics.reranking.k_reciprocal import KReciprocal

        if self.way is not options.Way.K_RECIPROCAL:
            return None
        usual = KReciprocal()
        return KReciprocal(
            k1=usual.k1 if self.k1 is None else self.k1,
            k2=usual.k2 if self.k2 is None else self.k2,
            lam=usual.lam if self.lam is None else self.lam,
        )

    @property
    def way(self) -> options.Way | None:
        """How lists are put in order again; None if they are not."""
        return self.rerank_by or (options.Way.K_RECIPROCAL if self.rerank else None)


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """Scores, those after re-ranking, and what else was asked for; `seconds` by stage."""

    scores: Scores
    seconds: dict[str, float]
    way: options.Way | None = None
    settings: KReciprocal | None = None
    reranked: Scores | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    pairs: tuple[CameraPair, ...] = ()
    single: SingleShot | None = None
    copies: Copies | None = None
    names: Names = NO_NAMES
    trained: Mapping[str, Any] = field(default_factory=dict)
    """Beside other keys of `--json`, `warnings` of what the model was trained on."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the scores has to know."""
        own = self.copies.warnings() if self.copies else ()
        return (*self.trained.get("warnings", ()), *own)


def compute_scores(
    query: Embeddings, gallery: Embeddings, scores: Scores, asked: ScoreOptions, seconds: Mapping[str, float]
) -> ScoreResult:
    """What is asked for besides `scores`; `seconds` are those spent so far."""
    from reidkit.metrics import protocols
    from reidkit.metrics import scoring as again
    from reidkit.metrics.intervals import bootstrap
    from reidkit.metrics.matching import find_copies

    taken = dict(seconds)
    reranked, single = None, None
    pairs: tuple[CameraPair, ...] = ()
    rule: Any = {"metric": asked.metric, "cameras": asked.cameras}
    if asked.way:
        started = time.perf_counter()
        reranked = again.score_reranked(query, gallery, asked.way.value, settings=asked.settings, **rule)
        taken["rerank"] = time.perf_counter() - started
    if asked.by_camera:
        with progress() as tell:
            pairs = protocols.camera_pairs(query, gallery, tell=tell, **rule)
    if asked.single_shot:
        single = protocols.single_shot(query, gallery, **rule)
    known = bootstrap(scores, query.pids) if asked.ci else {}
    return ScoreResult(
        scores=scores,
        seconds=taken,
        way=asked.way,
        settings=asked.settings,
        reranked=reranked,
        intervals=known,
        pairs=pairs,
        single=single,
        copies=find_copies(query, gallery, cameras=asked.cameras),
        names=query.names.and_of(gallery.names),
    )


def print_found(name: str, found: ScoreResult, ap: options.Ap, *, as_json: bool) -> None:
    """Prints it as tables, or as one JSON object; warnings go to stderr as well."""
    for warning in found.warnings:
        remark(f"warning: {warning}")
    if as_json:
        print_json(_json(found))
        return
    first, second = ("map_trapezoid", "map") if ap is options.Ap.TRAPEZOID else ("map", "map_trapezoid")
    keys = ("rank1", "rank5", "rank10", "rank20", first, second, "minp")
    rows = [_row(name, found.scores, keys)]
    if found.intervals:
        known = [found.intervals.get(key) for key in keys]
        rows.append(("  95 % interval from", *(percent(i.low if i else None) for i in known)))
        rows.append(("  to", *(percent(i.high if i else None) for i in known)))
    if found.reranked:
        rows.append(_row(f"re-ranked ({_way(found)})", found.reranked, keys))
    print_table(("", *_head(keys)), rows)
    _print_pairs(found.pairs, found.names, (first, "minp"))
    if found.single:
        rows = [_row(f"one image per person, {found.single.repeats} draws", found.single, SHORT)]
        print_table(("", *_head(SHORT)), rows)
    scores = found.scores
    skipped = f", {scores.queries_skipped} without a match left out" if scores.queries_skipped else ""
    took = ", ".join(f"{key} {value:.1f} s" for key, value in found.seconds.items())
    print_line(f"{scores.queries} queries{skipped}; gallery {scores.gallery}; {took}")


def _print_pairs(pairs: tuple[CameraPair, ...], names: Names, means: tuple[str, str]) -> None:
    if not pairs:
        return
    keys = ("rank1", *means)
    rows = [
        (
            f"{names.camid(pair.query_camid)} in {names.camid(pair.gallery_camid)}",
            str(pair.scores.queries),
            *_values(pair.scores, keys),
        )
        for pair in pairs
    ]
    print_table(("cameras", "queries", *_head(keys)), rows)


def rerank_words(found: ScoreResult) -> dict[str, str]:
    """For a page's settings: how lists were put in order again, and by which numbers."""
    if not found.way:
        return {}
    numbers = (f"{name} {value:g}" for name, value in _numbers(found.settings).items())
    return {"re-ranking": ", ".join([str(found.way), *numbers])}


def _way(found: ScoreResult) -> str:
    """How lists were put in order again; the numbers only where they are not the usual ones."""
    from reidkit.metrics.reranking.k_reciprocal import KReciprocal

    if found.settings in (None, KReciprocal()):
        return str(found.way)
    return rerank_words(found)["re-ranking"]


def _numbers(settings: KReciprocal | None) -> dict[str, float]:
    return {"k1": settings.k1, "k2": settings.k2, "lambda": settings.lam} if settings else {}


def _row(title: str, scores: Scores | SingleShot, keys: tuple[str, ...]) -> tuple[str, ...]:
    return (title, *_values(scores, keys))


def _values(scores: Scores | SingleShot, keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(percent(float(getattr(scores, key))) for key in keys)


def _head(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(WORDS.get(key, key.replace("rank", "rank-")) for key in keys)


def _json(found: ScoreResult) -> dict[str, Any]:
    value: dict[str, Any] = found.scores.as_json()
    if found.reranked:
        value["reranked"] = {"by": str(found.way), **_numbers(found.settings), **found.reranked.as_json()}
    if found.intervals:
        value["ci"] = {name: [interval.low, interval.high] for name, interval in found.intervals.items()}
    if found.pairs:
        value["camera_pairs"] = [
            {
                "query_camid": pair.query_camid,
                "gallery_camid": pair.gallery_camid,
                "query_camera": found.names.camid(pair.query_camid),
                "gallery_camera": found.names.camid(pair.gallery_camid),
                **pair.scores.as_json(),
            }
            for pair in found.pairs
        ]
    if found.single:
        value["single_shot"] = found.single.as_json()
    value |= found.copies.as_json() if found.copies else {}
    value |= found.trained
    value["warnings"] = list(found.warnings)
    return {**value, "seconds": {key: round(taken, 3) for key, taken in found.seconds.items()}}
