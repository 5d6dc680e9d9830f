"""`reidkit score`."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reidkit.cli import options
from reidkit.cli.output import check_output
from reidkit.cli.shared_scoring import Scoring, compute_scores, merge_queries, print_scores, write_queries
from reidkit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
    query_sequences: Annotated[
        Path | None, typer.Option(help="For --rescore: S vectors of each query, [Q, S, D] in a .npy.")
    ] = None,
    gallery_sequences: Annotated[Path | None, typer.Option(help="The same of the gallery, [G, S, D].")] = None,
    as_json: options.Json = False,
) -> None:
    """Score features that any system made, by the same protocol."""
    if scoring.rescore and not (query_sequences and gallery_sequences):
        raise UsageError("--rescore needs --query-sequences and --gallery-sequences: files of S vectors an image")
    check_output("--per-query", scoring.per_query, query, gallery, query_sequences, gallery_sequences)
    from reidkit.metrics.features import holds_both, read_both, read_features
    from reidkit.metrics.matching import with_own_known
    from reidkit.metrics.reranking.sequences import read_sequences
    from reidkit.metrics.retrieval import score_features

    need = scoring.cameras == "cross"
    if gallery is None:
        queries, images = read_both(query, need_cameras=need)
    else:
        queries = read_features(query, "query", need_cameras=need)
        one = gallery.exists() and query.samefile(gallery) and not holds_both(query)
        images = queries if one else read_features(gallery, "gallery", need_cameras=need)
    queries, images = with_own_known(queries, images)
    queries, merging = merge_queries(queries) if scoring.multi_query else (queries, "")
    started = time.perf_counter()
    scores = score_features(queries, images, metric=scoring.metric, cameras=scoring.cameras)
    seconds = {"score": time.perf_counter() - started}

    def sequences() -> tuple[NDArray[Any], NDArray[Any]]:
        assert query_sequences is not None  # noqa: S101  (refused above)
        assert gallery_sequences is not None  # noqa: S101
        return read_sequences(query_sequences), read_sequences(gallery_sequences)

    found = replace(compute_scores(queries, images, scores, scoring, seconds, sequences), merging=merging)
    print_scores(f"{query.name} in {gallery.name}" if gallery else query.name, found, scoring.ap, as_json=as_json)
    if scoring.per_query:
        write_queries(scoring.per_query, queries, found)
