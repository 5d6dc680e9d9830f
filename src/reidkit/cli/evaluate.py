"""`reidkit evaluate` and `reidkit score`."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidkit.cli import options
from reidkit.cli.inference import make_inference_options
from reidkit.cli.launcher import as_child, run_as, shared
from reidkit.cli.output import command, print_line, progress, shown_command, tell_passed_over
from reidkit.cli.per_query import write_queries
from reidkit.cli.scores import ScoreOptions, compute_scores, print_found, rerank_words

if TYPE_CHECKING:
    from reidkit.evaluation import Evaluation, EvaluationProtocol


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A run's folder, or a model.safetensors.")],
    data: Annotated[Path, typer.Option(help="A data set with queries and a gallery.")],
    rerank: options.Rerank = False,
    rerank_by: options.RerankBy = None,
    k1: options.K1 = None,
    k2: options.K2 = None,
    lam: options.Lambda = None,
    flip: Annotated[bool, typer.Option("--flip", help="Average the features of an image and its mirror.")] = False,
    feature: options.FeatureOption = options.Feature.AFTER,
    metric: options.MetricOption = options.Metric.COSINE,
    ap: options.ApOption = options.Ap.MEAN,
    cameras: options.CamerasOption = options.Cameras.CROSS,
    ci: options.Ci = False,
    by_camera: options.ByCamera = False,
    single_shot: options.SingleShot = False,
    multi_query: options.MultiQuery = False,
    per_query: options.PerQuery = None,
    report: options.Report = None,
    format_: options.Format = None,
    batch: Annotated[int, typer.Option(min=0, help="Images at a time; 0: what fills the device.")] = 0,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    cache: options.CacheDir = None,
    no_cache: options.NoCache = False,
    skip_unreadable: options.SkipBroken = False,
    processes: options.Processes = 1,
    as_json: options.Json = False,
) -> int:
    """Search a data set's gallery for its queries with a trained model, by the official protocol."""
    if shared(processes):
        return run_as(processes, command())

    from reidkit.data.formats.detect import load_dataset
    from reidkit.data.overlap import compare_with_model
    from reidkit.distributed import joined
    from reidkit.encoder import load_model
    from reidkit.evaluation import EvaluationProtocol, evaluate
    from reidkit.report import build
    from reidkit.report.page import write_report
    from reidkit.report.pictures import add_pictures

    protocol = EvaluationProtocol(feature=feature.value, metric=metric.value, cameras=cameras.value, flip=flip)
    asked = ScoreOptions(
        metric=metric.value,
        cameras=cameras.value,
        rerank=rerank,
        rerank_by=rerank_by,
        ci=ci,
        by_camera=by_camera,
        single_shot=single_shot,
        k1=k1,
        k2=k2,
        lam=lam,
    )
    loaded = load_model(model)
    benchmark = load_dataset(data, format_)
    as_child()
    with joined() as group, progress(group.first) as tell:
        if group.first:
            tell_passed_over(benchmark)
        reading = make_inference_options(device, precision, batch, (cache, no_cache), skip_unreadable, tell)
        reading = dataclasses.replace(reading, group=group)
        evaluation = evaluate(loaded, benchmark, protocol, reading)
    if not group.first:  # all have the features, and one is enough to re-rank and print
        return 0
    if multi_query:
        evaluation = _merged(evaluation, protocol)
    found = compute_scores(evaluation.query, evaluation.gallery, evaluation.scores, asked, evaluation.seconds)
    found = dataclasses.replace(found, trained=compare_with_model(model, benchmark))
    print_found(benchmark.name, found, ap, as_json=as_json)
    if per_query:
        write_queries(per_query, evaluation.query, found)
    if report:
        settings = {
            "data": benchmark.name,
            "model": loaded.fingerprint,
            **dataclasses.asdict(protocol),
            **rerank_words(found),
        }
        counts = f"{len(evaluation.query.pids):,} queries, {len(evaluation.gallery.pids):,} gallery images"
        made = build.build_report(loaded, f"{benchmark.name}: {counts}", settings, shown_command(), on=benchmark.name)
        made = build.add_scores(made, evaluation, protocol, found.reranked, found.seconds)
        write_report(report, add_pictures(made, loaded, evaluation, reading.device, protocol))
        if not as_json:
            print_line(f"report in {report}")
    return 0


def score(
    query: Annotated[
        Path,
        typer.Argument(metavar="QUERY", help="vectors [N, D], pids [N], camids [N]: .npz, .npy, .mat or .parquet."),
    ],
    gallery: Annotated[
        Path | None,
        typer.Argument(metavar="GALLERY", help="The same for the gallery; pid -1 is junk. Not where QUERY holds both."),
    ] = None,
    rerank: options.Rerank = False,
    rerank_by: options.RerankBy = None,
    k1: options.K1 = None,
    k2: options.K2 = None,
    lam: options.Lambda = None,
    metric: options.MetricOption = options.Metric.COSINE,
    ap: options.ApOption = options.Ap.MEAN,
    cameras: options.CamerasOption = options.Cameras.CROSS,
    ci: options.Ci = False,
    by_camera: options.ByCamera = False,
    single_shot: options.SingleShot = False,
    multi_query: options.MultiQuery = False,
    per_query: options.PerQuery = None,
    as_json: options.Json = False,
) -> None:
    """Score features that any system made, by the same protocol."""
    from reidkit.metrics import protocols as protocol
    from reidkit.metrics import retrieval
    from reidkit.metrics.features import holds_both, read_both, read_features
    from reidkit.metrics.matching import with_own_known

    asked = ScoreOptions(
        metric=metric.value,
        cameras=cameras.value,
        rerank=rerank,
        rerank_by=rerank_by,
        ci=ci,
        by_camera=by_camera,
        single_shot=single_shot,
        k1=k1,
        k2=k2,
        lam=lam,
    )
    need = cameras is options.Cameras.CROSS
    if gallery is None:
        queries, images = read_both(query, need_cameras=need)
    else:
        queries = read_features(query, "query", need_cameras=need)
        one = gallery.exists() and query.samefile(gallery) and not holds_both(query)
        images = queries if one else read_features(gallery, "gallery", need_cameras=need)
    queries, images = with_own_known(queries, images)
    if multi_query:
        queries = protocol.multi_query(queries)
    started = time.perf_counter()
    scores = retrieval.score(queries, images, metric=metric.value, cameras=cameras.value)
    found = compute_scores(queries, images, scores, asked, {"score": time.perf_counter() - started})
    print_found(f"{query.name} in {gallery.name}" if gallery else query.name, found, ap, as_json=as_json)
    if per_query:
        write_queries(per_query, queries, found)


def _merged(evaluation: Evaluation, protocol: EvaluationProtocol) -> Evaluation:
    """The same with one query for each person and camera."""
    from reidkit.metrics.protocols import multi_query
    from reidkit.metrics.retrieval import score as score_features

    query = multi_query(evaluation.query)
    scores = score_features(query, evaluation.gallery, metric=protocol.metric, cameras=protocol.cameras)
    return dataclasses.replace(evaluation, query=query, scores=scores)
