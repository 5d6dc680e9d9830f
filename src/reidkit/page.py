"""The page of a run or of an evaluation: what was measured, put together for `reidkit.report`."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reidkit import __version__
from reidkit.data.shards.find import image_file
from reidkit.evaluate.ranking import pair_histogram, ranked
from reidkit.report.charts import Histogram
from reidkit.report.html import Report
from reidkit.report.lists import RankedImage, RankedList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reidkit.evaluate.metrics import Scores
    from reidkit.judge import Judgement, Protocol
    from reidkit.recipe import Recipe

HARDEST, RANDOM, TOP = 12, 8, 10
"""Ranked lists of each kind, and images in a list."""


def report_of(title: str, recipe: Recipe, settings: Mapping[str, object], command: str) -> Report:
    """A page with what was asked for and on which machine; scores and curves are added to it."""
    when = time.strftime("%Y-%m-%d %H:%M %Z")
    return Report(title=title, when=when, command=command, recipe=recipe, settings={**settings, **machine()})


def add_scores(report: Report, judgement: Judgement, protocol: Protocol, reranked: Scores | None = None) -> Report:
    """The page with scores, the CMC curve, ranked lists and the distances of the same and of different people."""
    scores = judgement.scores
    hardest, others = _choose(scores.average_precision)
    pairs = pair_histogram(judgement.query, judgement.gallery, metric=protocol.metric, cameras=protocol.cameras)
    return dataclasses.replace(
        report,
        scores={**scores.as_json(), "seconds": judgement.seconds},
        cmc=scores.cmc,
        reranked=reranked.as_json() if reranked else None,
        cmc_reranked=reranked.cmc if reranked else (),
        hardest=ranked_lists(judgement, protocol, hardest),
        random=ranked_lists(judgement, protocol, others),
        distances=Histogram(pairs.edges, pairs.same, pairs.different),
    )


def machine() -> dict[str, object]:
    """The machine and the software, in words; nothing that names the machine or its owner."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": f"{os.cpu_count()} cores, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "GPU": gpu,
        "software": f"reidkit {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def _choose(average_precision: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[Any, Any]:
    """The queries with the lowest average precision, and some others drawn at random (always the same ones)."""
    scored = np.flatnonzero(~np.isnan(average_precision))
    hardest = scored[np.argsort(average_precision[scored], kind="stable")[:HARDEST]]
    rest = np.setdiff1d(scored, hardest)
    return hardest, np.random.default_rng(0).permutation(rest)[:RANDOM]


def ranked_lists(judgement: Judgement, protocol: Protocol, rows: Sequence[int]) -> list[RankedList]:
    """The heads of the lists of some queries, with the files to show."""
    query, gallery, scores = judgement.query, judgement.gallery, judgement.scores
    found = ranked(query, gallery, rows, TOP, metric=protocol.metric, cameras=protocol.cameras)
    lists = []
    for one in found:
        entries = tuple(
            RankedImage(
                image_file(gallery.paths[i]), int(gallery.pids[i]), int(gallery.camids[i]), bool(right), float(distance)
            )
            for i, distance, right in zip(one.indices, one.distances, one.right, strict=True)
        )
        first = scores.first_match[one.query]
        lists.append(
            RankedList(
                query_path=image_file(query.paths[one.query]),
                pid=int(query.pids[one.query]),
                camid=int(query.camids[one.query]),
                average_precision=float(scores.average_precision[one.query]),
                first_rank=None if np.isnan(first) else int(first),
                entries=entries,
            )
        )
    return lists
