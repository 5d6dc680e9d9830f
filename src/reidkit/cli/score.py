"""`reidkit score`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from reidkit.cli import options
from reidkit.cli.scores import Scoring, compute_scores, print_scores, write_queries


def score(
    query: Annotated[
        Path,
        typer.Argument(metavar="QUERY", help="vectors [N, D], pids [N], camids [N]: .npz, .npy, .mat or .parquet."),
    ],
    scoring: Scoring,
    gallery: Annotated[
        Path | None,
        typer.Argument(metavar="GALLERY", help="The same for the gallery; pid -1 is junk. Not where QUERY holds both."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Score features that any system made, by the same protocol."""
    from reidkit.metrics import protocols, retrieval
    from reidkit.metrics.features import holds_both, read_both, read_features
    from reidkit.metrics.matching import with_own_known

    need = scoring.cameras == "cross"
    if gallery is None:
        queries, images = read_both(query, need_cameras=need)
    else:
        queries = read_features(query, "query", need_cameras=need)
        one = gallery.exists() and query.samefile(gallery) and not holds_both(query)
        images = queries if one else read_features(gallery, "gallery", need_cameras=need)
    queries, images = with_own_known(queries, images)
    if scoring.multi_query:
        queries = protocols.multi_query(queries)
    started = time.perf_counter()
    scores = retrieval.score(queries, images, metric=scoring.metric, cameras=scoring.cameras)
    found = compute_scores(queries, images, scores, scoring, {"score": time.perf_counter() - started})
    print_scores(f"{query.name} in {gallery.name}" if gallery else query.name, found, scoring.ap, as_json=as_json)
    if scoring.per_query:
        write_queries(scoring.per_query, queries, found)
