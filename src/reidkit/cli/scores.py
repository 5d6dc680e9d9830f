"""What `reidkit evaluate` and `reidkit score` have to say about two sets of features."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from reidkit.cli import options
from reidkit.cli.show import percent, print_json, print_line, print_table
from reidkit.whole import said

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from reidkit.evaluate.intervals import Interval
    from reidkit.evaluate.metrics import Scores
    from reidkit.evaluate.protocol import CameraPair, SingleShot
    from reidkit.types import Embeddings

WORDS = {"map": "mAP", "map_trapezoid": "mAP (trapezoid)", "minp": "mINP"}
SHORT = ("rank1", "rank5", "rank10", "rank20", "map")


@dataclass(frozen=True, kw_only=True)
class Asked:
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

    def __post_init__(self) -> None:
        if self.way:
            from reidkit.evaluate.again import check_way

            check_way(self.way.value, self.metric)

    @property
    def way(self) -> options.Way | None:
        """How lists are put in order again; None if they are not."""
        return self.rerank_by or (options.Way.K_RECIPROCAL if self.rerank else None)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Scores, those after re-ranking, and what else was asked for; `seconds` by stage."""

    scores: Scores
    seconds: dict[str, float]
    way: options.Way | None = None
    reranked: Scores | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    pairs: tuple[CameraPair, ...] = ()
    single: SingleShot | None = None


def find(query: Embeddings, gallery: Embeddings, scores: Scores, asked: Asked, seconds: Mapping[str, float]) -> Found:
    """What is asked for besides `scores`; `seconds` are those spent so far."""
    from reidkit.evaluate import again, intervals, protocol

    taken = dict(seconds)
    reranked, single = None, None
    pairs: tuple[CameraPair, ...] = ()
    rule: Any = {"metric": asked.metric, "cameras": asked.cameras}
    if asked.way:
        started = time.perf_counter()
        reranked = again.score_again(query, gallery, asked.way.value, **rule)
        taken["rerank"] = time.perf_counter() - started
    if asked.by_camera:
        pairs = protocol.camera_pairs(query, gallery, **rule)
    if asked.single_shot:
        single = protocol.single_shot(query, gallery, **rule)
    known = intervals.intervals(scores, query.pids) if asked.ci else {}
    return Found(
        scores=scores, seconds=taken, way=asked.way, reranked=reranked, intervals=known, pairs=pairs, single=single
    )


def print_found(name: str, found: Found, ap: options.Ap, *, as_json: bool) -> None:
    """Prints it as tables, or as one JSON object."""
    if as_json:
        print_json(_json(found))
        return
    first, second = ("map_trapezoid", "map") if ap is options.Ap.TRAPEZOID else ("map", "map_trapezoid")
    keys = ("rank1", "rank5", "rank10", "rank20", first, second, "minp")
    rows = [_row(name, found.scores, keys)]
    if found.intervals:
        known = (found.intervals.get(key) for key in keys)
        rows.append(("95 % interval", *(f"{percent(i.low)}-{percent(i.high)}" if i else "-" for i in known)))
    if found.reranked:
        rows.append(_row(f"re-ranked ({found.way})", found.reranked, keys))
    print_table(("", *_head(keys)), rows)
    _print_pairs(found.pairs, (first, "minp"))
    if found.single:
        rows = [_row(f"one image per person, {found.single.repeats} draws", found.single, SHORT)]
        print_table(("", *_head(SHORT)), rows)
    scores = found.scores
    skipped = f", {scores.queries_skipped} without a match left out" if scores.queries_skipped else ""
    took = ", ".join(f"{key} {value:.1f} s" for key, value in found.seconds.items())
    print_line(f"{scores.queries} queries{skipped}; gallery {scores.gallery}; {took}")


def write_queries(path: Path, query: Embeddings, found: Found) -> None:
    """Writes one line for each query, of the scores as measured and after re-ranking; empty where it has no match.

    Raises:
        DataError: the file cannot be written.
    """
    kinds = {"": found.scores, **({"reranked_": found.reranked} if found.reranked else {})}
    values = {
        prefix + name: getattr(scores, attribute)
        for prefix, scores in kinds.items()
        for name, attribute in (("ap", "average_precision"), ("inp", "inp"), ("first_match", "first_match"))
    }
    with said(path), path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("query", "path", "pid", "camid", *values))
        for i, (pid, camid) in enumerate(zip(query.pids.tolist(), query.camids.tolist(), strict=True)):
            numbers = ("" if math.isnan(column[i]) else f"{column[i]:g}" for column in values.values())
            writer.writerow((i, query.paths[i] if query.paths else "", pid, camid, *numbers))


def _print_pairs(pairs: tuple[CameraPair, ...], means: tuple[str, str]) -> None:
    if not pairs:
        return
    keys = ("rank1", *means)
    rows = [
        (f"{pair.query_camid} in {pair.gallery_camid}", str(pair.scores.queries), *_values(pair.scores, keys))
        for pair in pairs
    ]
    print_table(("cameras", "queries", *_head(keys)), rows)


def _row(title: str, scores: Scores | SingleShot, keys: tuple[str, ...]) -> tuple[str, ...]:
    return (title, *_values(scores, keys))


def _values(scores: Scores | SingleShot, keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(percent(float(getattr(scores, key))) for key in keys)


def _head(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(WORDS.get(key, key.replace("rank", "rank-")) for key in keys)


def _json(found: Found) -> dict[str, Any]:
    value: dict[str, Any] = found.scores.as_json()
    if found.reranked:
        value["reranked"] = {"by": str(found.way), **found.reranked.as_json()}
    if found.intervals:
        value["ci"] = {name: [interval.low, interval.high] for name, interval in found.intervals.items()}
    if found.pairs:
        value["camera_pairs"] = [
            {"query_camid": pair.query_camid, "gallery_camid": pair.gallery_camid, **pair.scores.as_json()}
            for pair in found.pairs
        ]
    if found.single:
        value["single_shot"] = found.single.as_json()
    return {**value, "seconds": {key: round(taken, 3) for key, taken in found.seconds.items()}}
