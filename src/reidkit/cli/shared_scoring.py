"""What `reidkit score` and `reidkit evaluate` have in common: options, scores beyond the first, output."""

from __future__ import annotations

import csv
import io
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reidkit.atomic import atomic_write, os_errors_as
from reidkit.cli import options
from reidkit.cli.output import print_json, print_line, print_table, progress, remark
from reidkit.errors import UsageError
from reidkit.terminal import percent, text_cell
from reidkit.types import NO_NAMES, RerankMethod, RescoreMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from reidkit.encoder import Encoder
    from reidkit.metrics.intervals import Interval
    from reidkit.metrics.matching import Copies
    from reidkit.metrics.protocols import CameraPair, SingleShot
    from reidkit.metrics.reranking.k_reciprocal import KReciprocal
    from reidkit.metrics.retrieval import Scores
    from reidkit.types import Embeddings, Names

    Sequences = Callable[[], tuple[NDArray[Any], NDArray[Any]]]
    """Gives the sequences of query and gallery."""


MAX_NEIGHBOURS = 200
"""Re-ranking makes room for k1 squared entries an image: beyond this it would take gigabytes."""

WORDS = {"map": "mAP", "map_trapezoid": "mAP (trapezoid)", "minp": "mINP"}
SHORT = ("rank1", "rank5", "rank10", "rank20", "map")


@dataclass(frozen=True, kw_only=True)
class Scoring(options.Comparing):
    """The options of both commands that say what is computed and shown.

    Raises:
        UsageError: options that do not go together, before anything is read.
    """

    rerank: Annotated[bool, typer.Option("--rerank", help="Scores after k-reciprocal re-ranking, too.")] = False
    rerank_by: Annotated[
        RerankMethod | None,
        typer.Option("--rerank-by", help="Re-ranking by another method: ECN, or alpha query expansion."),
    ] = None
    k1: Annotated[
        int | None,
        typer.Option(
            "--k1", min=1, max=MAX_NEIGHBOURS, help="k-reciprocal: neighbours for the reciprocal sets.  [default: 20]"
        ),
    ] = None
    k2: Annotated[
        int | None,
        typer.Option(
            "--k2", min=1, max=MAX_NEIGHBOURS, help="k-reciprocal: neighbours for the expansion.  [default: 6]"
        ),
    ] = None
    lam: Annotated[
        float | None,
        typer.Option(
            "--lambda", min=0, max=1, help="k-reciprocal: the weight of the original distance.  [default: 0.3]"
        ),
    ] = None
    rescore: Annotated[
        RescoreMethod | None,
        typer.Option("--rescore", help="Scores after comparing the top of each list by sequences of vectors, too."),
    ] = None
    rescore_top: Annotated[
        int | None, typer.Option("--rescore-top", min=1, help="--rescore: how many of each list.  [default: 100]")
    ] = None
    ap: Annotated[
        Literal["mean", "trapezoid"],
        typer.Option("--ap", help="The interpretation of average precision that is shown first."),
    ] = "mean"
    ci: Annotated[bool, typer.Option("--ci", help="95 % intervals, by bootstrap over ids.")] = False
    by_camera: Annotated[
        bool, typer.Option("--by-camera", help="Scores of each pair of a query camera and a gallery camera, too.")
    ] = False
    single_shot: Annotated[
        bool, typer.Option("--single-shot", help="CUHK03's first protocol, too: one gallery image per id, 100 draws.")
    ] = False
    multi_query: Annotated[
        bool, typer.Option("--multi-query", help="One query of all images of an id by one camera: their mean.")
    ] = False
    per_query: Annotated[
        Path | None, typer.Option("--per-query", help="Write the AP, INP and first match of every query there (.csv).")
    ] = None

    def __post_init__(self) -> None:
        given = [name for name, value in self._numbers().items() if value is not None]
        if given and self.method != "k-reciprocal":
            raise UsageError(f"--{given[0]} is a number of k-reciprocal re-ranking: ask for it by --rerank")
        if self.rescore_top is not None and not self.rescore:
            raise UsageError("--rescore-top is how many of each list are re-scored: say how by --rescore")
        if self.rescore and (self.method or self.multi_query):
            raise UsageError("--rescore excludes --rerank, --rerank-by and --multi-query: leave those out")
        if self.method:
            from reidkit.metrics.scoring import check_method

            check_method(self.method, self.metric)
            _ = self.settings

    def check_model(self, model: Encoder) -> None:
        """Refuse a model that cannot give sequences for re-scoring, before minutes are spent.

        Raises:
            UsageError: it is exported.
        """
        if self.rescore:
            from reidkit.encoder import require_torch

            require_torch(model, "re-scoring")

    def _numbers(self) -> dict[str, float | None]:
        return {"k1": self.k1, "k2": self.k2, "lambda": self.lam}

    @property
    def settings(self) -> KReciprocal | None:
        """The numbers of k-reciprocal re-ranking, those of its authors where none are given; None for other methods."""
        from reidkit.metrics.reranking.k_reciprocal import KReciprocal

        if self.method != "k-reciprocal":
            return None
        given: dict[str, Any] = {"k1": self.k1, "k2": self.k2, "lam": self.lam}
        return KReciprocal(**{name: value for name, value in given.items() if value is not None})

    @property
    def method(self) -> RerankMethod | None:
        """How ranked lists are put in another order; None if they are not."""
        return self.rerank_by or ("k-reciprocal" if self.rerank else None)


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """Scores, those after re-ranking, and what else was asked for; `seconds` by stage."""

    scores: Scores
    seconds: dict[str, float]
    method: RerankMethod | RescoreMethod | None = None
    settings: KReciprocal | None = None
    reranked: Scores | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    pairs: tuple[CameraPair, ...] = ()
    single: SingleShot | None = None
    copies: Copies | None = None
    names: Names = NO_NAMES
    trained: Mapping[str, Any] = field(default_factory=dict)
    """Beside other keys of `--json`, `warnings` of what the model was trained on."""
    merging: str = ""
    """The warning that no queries could be merged, if so."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the scores has to know."""
        own = self.copies.warnings() if self.copies else ()
        return (*self.trained.get("warnings", ()), *([self.merging] if self.merging else []), *own)


def merge_queries(query: Embeddings) -> tuple[Embeddings, str]:
    """Return one query for each id and camera, and what to say where each of them has one already."""
    from reidkit.metrics.protocols import multi_query
    from reidkit.types import JUNK

    merged = multi_query(query)
    if len(merged) < int((query.pids != JUNK).sum()):
        return merged, ""
    return merged, (
        "--multi-query merges nothing, as no id has two queries by one camera: give all images of the query ids as "
        "queries"
    )


def compute_scores(
    query: Embeddings,
    gallery: Embeddings,
    scores: Scores,
    scoring: Scoring,
    seconds: Mapping[str, float],
    sequences: Sequences | None = None,
) -> ScoreResult:
    """Compute what is asked for besides `scores`; `seconds` are those spent so far.

    `sequences` gives those of query and gallery, where re-scoring is asked for.
    """
    from reidkit.metrics import protocols
    from reidkit.metrics.intervals import bootstrap
    from reidkit.metrics.matching import find_copies

    taken = dict(seconds)
    single = None
    pairs: tuple[CameraPair, ...] = ()
    rule: Any = {"metric": scoring.metric, "cameras": scoring.cameras}
    started = time.perf_counter()
    reranked = _reordered(query, gallery, scoring, sequences)
    if reranked:
        taken["rerank"] = time.perf_counter() - started
    if scoring.by_camera:
        with progress() as tell:
            pairs = protocols.camera_pairs(query, gallery, tell=tell, **rule)
    if scoring.single_shot:
        single = protocols.single_shot(query, gallery, **rule)
    known = bootstrap(scores, query.pids) if scoring.ci else {}
    return ScoreResult(
        scores=scores,
        seconds=taken,
        method=scoring.method or scoring.rescore,
        settings=scoring.settings,
        reranked=reranked,
        intervals=known,
        pairs=pairs,
        single=single,
        copies=find_copies(query, gallery, cameras=scoring.cameras),
        names=query.names.merged_with(gallery.names),
    )


def _reordered(query: Embeddings, gallery: Embeddings, scoring: Scoring, sequences: Sequences | None) -> Scores | None:
    """Return the scores after re-ranking or re-scoring; None where neither is asked for."""
    from reidkit.metrics.reranking.sequences import RESCORE_TOP, score_rescored
    from reidkit.metrics.scoring import score_reranked

    rule: Any = {"metric": scoring.metric, "cameras": scoring.cameras}
    if scoring.rescore and sequences:
        top = scoring.rescore_top or RESCORE_TOP
        return score_rescored(query, gallery, sequences(), scoring.rescore, top=top, **rule)
    if scoring.method:
        return score_reranked(query, gallery, scoring.method, settings=scoring.settings, **rule)
    return None


def print_scores(name: str, found: ScoreResult, ap: str, *, as_json: bool) -> None:
    """Print scores as tables, or as one JSON object; warnings go to stderr as well."""
    for warning in found.warnings:
        remark(f"warning: {warning}")
    if as_json:
        print_json(_json(found))
        return
    first, second = ("map_trapezoid", "map") if ap == "trapezoid" else ("map", "map_trapezoid")
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
        rows = [_row(f"one image per id, {found.single.repeats} draws", found.single, SHORT)]
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
    """Return the settings of re-ranking for a page."""
    if not found.method:
        return {}
    numbers = (f"{name} {value:g}" for name, value in _numbers(found.settings).items())
    return {"re-ranking": ", ".join([str(found.method), *numbers])}


def _way(found: ScoreResult) -> str:
    """Return how lists were re-ranked; the numbers only where they are not the usual ones."""
    from reidkit.metrics.reranking.k_reciprocal import KReciprocal

    if found.settings in (None, KReciprocal()):
        return str(found.method)
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
        value["reranked"] = {"by": str(found.method), **_numbers(found.settings), **found.reranked.as_json()}
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


def write_queries(path: Path, query: Embeddings, found: ScoreResult) -> None:
    r"""Write one line for each query: its scores as measured and after re-ranking, empty where it has no match.

    Where ids or cameras have names, these stand in columns of their own.

    The file is UTF-8 and written whole or not at all. A byte of a path that is not UTF-8 appears as `\udcXX`.

    Raises:
        DataError: the file cannot be written.
    """
    kinds = {"": found.scores, **({"reranked_": found.reranked} if found.reranked else {})}
    values = {
        prefix + name: getattr(scores, attribute)
        for prefix, scores in kinds.items()
        for name, attribute in (("ap", "average_precision"), ("inp", "inp"), ("first_match", "first_match"))
    }
    with os_errors_as(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with os_errors_as(path), atomic_write(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
        writer = csv.writer(text)
        names = query.names
        named = ("pid_name", "camid_name") if names else ()
        writer.writerow(("query", "path", "pid", "camid", *named, *values))
        for i, (pid, camid) in enumerate(zip(query.pids.tolist(), query.camids.tolist(), strict=True)):
            numbers = ("" if math.isnan(column[i]) else f"{column[i]:g}" for column in values.values())
            called = (text_cell(names.pid(pid)), text_cell(names.camid(camid))) if names else ()
            writer.writerow((i, text_cell(query.paths[i]) if query.paths else "", pid, camid, *called, *numbers))
        text.flush()
        text.detach()  # `file` is flushed and closed by its owner
