"""`reidkit evaluate` and `reidkit score`."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reidkit.cli import options
from reidkit.cli.show import percent, print_json, print_line, print_table, progress, shown_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reidkit.evaluate.intervals import Interval
    from reidkit.evaluate.metrics import Scores
    from reidkit.types import Embeddings


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A run's folder, or a model.safetensors.")],
    data: Annotated[Path, typer.Option(help="A data set with queries and a gallery.")],
    rerank: options.Rerank = False,
    flip: Annotated[bool, typer.Option("--flip", help="Average the features of an image and its mirror.")] = False,
    feature: options.FeatureOption = options.Feature.AFTER,
    metric: options.MetricOption = options.Metric.COSINE,
    ap: options.ApOption = options.Ap.MEAN,
    cameras: options.CamerasOption = options.Cameras.CROSS,
    ci: options.Ci = False,
    report: options.Report = None,
    format_: options.Format = None,
    batch: Annotated[int, typer.Option(min=0, help="Images at a time; 0: what fills the device.")] = 0,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    cache: options.CacheDir = None,
    no_cache: options.NoCache = False,
    skip_broken: options.SkipBroken = False,
    as_json: options.Json = False,
) -> None:
    """Search a data set's gallery for its queries with a trained model, by the official protocol."""
    from reidkit import page
    from reidkit.data.detect import open_benchmark
    from reidkit.embed import choose_device, choose_precision
    from reidkit.judge import Protocol, Reading, judge
    from reidkit.model.weights import load_model
    from reidkit.pictures import add_attention
    from reidkit.report.html import write_report

    loaded = load_model(model)
    benchmark = open_benchmark(data, format_)
    chosen = choose_device(device)
    protocol = Protocol(feature=feature.value, metric=metric.value, cameras=cameras.value, flip=flip)
    with progress() as tell:
        reading = Reading(
            cache_dir=options.cache_dir(cache, no_cache),
            skip_broken=skip_broken,
            device=chosen,
            precision=choose_precision(precision.value, chosen),
            batch=batch,
            tell=tell,
        )
        judgement = judge(loaded, benchmark, protocol, reading)
    seconds = dict(judgement.seconds)
    reranked = (
        _rerank(judgement.query, judgement.gallery, protocol.metric, protocol.cameras, seconds) if rerank else None
    )
    known = _intervals(judgement.scores, judgement.query) if ci else {}
    _print(_Found(benchmark.name, judgement.scores, reranked, known, seconds), ap, as_json=as_json)
    if report:
        settings = {"data": benchmark.name, "model": loaded.fingerprint, **dataclasses.asdict(protocol)}
        title = f"{loaded.recipe.name} on {benchmark.name}"
        made = page.report_of(title, loaded.recipe, settings, shown_command())
        made = page.add_scores(made, judgement, protocol, reranked)
        write_report(report, add_attention(made, loaded, chosen))
        if not as_json:
            print_line(f"report in {report}")


def score(
    query: Annotated[Path, typer.Argument(metavar="QUERY.npz", help="vectors [N, D], pids [N], camids [N].")],
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY.npz", help="The same for the gallery; pid -1 is junk.")],
    rerank: options.Rerank = False,
    metric: options.MetricOption = options.Metric.COSINE,
    ap: options.ApOption = options.Ap.MEAN,
    cameras: options.CamerasOption = options.Cameras.CROSS,
    ci: options.Ci = False,
    as_json: options.Json = False,
) -> None:
    """Score features that any system made, by the same protocol."""
    from reidkit.evaluate import metrics
    from reidkit.evaluate.features import read_features

    queries, images = read_features(query), read_features(gallery)
    started = time.perf_counter()
    scores = metrics.score(queries, images, metric=metric.value, cameras=cameras.value)
    seconds = {"score": time.perf_counter() - started}
    reranked = _rerank(queries, images, metric.value, cameras.value, seconds) if rerank else None
    known = _intervals(scores, queries) if ci else {}
    _print(_Found(f"{query.name} in {gallery.name}", scores, reranked, known, seconds), ap, as_json=as_json)


@dataclass(frozen=True)
class _Found:
    """What is printed: scores, those after re-ranking, intervals by the name of the score, seconds by stage."""

    name: str
    scores: Scores
    reranked: Scores | None
    intervals: Mapping[str, Interval]
    seconds: Mapping[str, float]


def _intervals(scores: Scores, query: Embeddings) -> Mapping[str, Interval]:
    from reidkit.evaluate.intervals import intervals

    return intervals(scores, query.pids)


def _rerank(query: Embeddings, gallery: Embeddings, metric: Any, cameras: Any, seconds: dict[str, float]) -> Scores:
    """Scores after re-ranking; their seconds go into `seconds`."""
    from reidkit.evaluate import metrics, rerank

    started = time.perf_counter()
    dist_qg = rerank.k_reciprocal(query.vectors, gallery.vectors, metric=metric)
    scores = metrics.score_distances(dist_qg, query, gallery, cameras=cameras)
    seconds["rerank"] = time.perf_counter() - started
    return scores


def _print(found: _Found, ap: options.Ap, *, as_json: bool) -> None:
    scores, seconds = found.scores, found.seconds
    if as_json:
        more: dict[str, Any] = {"reranked": found.reranked.as_json()} if found.reranked else {}
        if found.intervals:
            more["ci"] = {name: [interval.low, interval.high] for name, interval in found.intervals.items()}
        print_json({**scores.as_json(), **more, "seconds": {key: round(value, 3) for key, value in seconds.items()}})
        return
    first, second = ("map_trapezoid", "map") if ap is options.Ap.TRAPEZOID else ("map", "map_trapezoid")
    keys = ("rank1", "rank5", "rank10", "rank20", first, second, "minp")
    words = {"map": "mAP", "map_trapezoid": "mAP (trapezoid)", "minp": "mINP"}
    head = tuple(words.get(key, key.replace("rank", "rank-")) for key in keys)
    lists = [(found.name, scores), *([("re-ranked", found.reranked)] if found.reranked else [])]
    rows = [(title, *(percent(float(one.as_json()[key])) for key in keys)) for title, one in lists]
    if found.intervals:
        known = (found.intervals.get(key) for key in keys)
        rows.insert(1, ("95 % interval", *(f"{percent(i.low)}-{percent(i.high)}" if i else "-" for i in known)))
    print_table(("", *head), rows)
    skipped = f", {scores.queries_skipped} without a match left out" if scores.queries_skipped else ""
    took = ", ".join(f"{key} {value:.1f} s" for key, value in seconds.items())
    print_line(f"{scores.queries} queries{skipped}; gallery {scores.gallery}; {took}")
