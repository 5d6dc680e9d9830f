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
from reidkit.data.images import image_file
from reidkit.metrics.ranking import draw_queries, pair_histogram, rank
from reidkit.plots.charts import Histogram
from reidkit.plots.image_grid import RankedImage, RankedList
from reidkit.recipes import changes_of, network_words, origin_of
from reidkit.report.page import Report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reidkit.encoder import Model
    from reidkit.evaluation import Evaluation, EvaluationProtocol
    from reidkit.metrics.retrieval import Scores
    from reidkit.recipe import Recipe
    from reidkit.types import Embeddings

HARDEST, RANDOM, TOP = 12, 8, 10
"""Ranked lists of each kind, and images in a list."""

WORDS = {"training_set": "digest of the training set", "people": "training ids", "weights": "weights at the start"}
"""What the page calls the keys of `run.json`."""


def build_report(
    model: Model, data: str, settings: Mapping[str, object], command: str, *, on: str = "", given: Recipe | None = None
) -> Report:
    """A page with what was asked for and on which machine; scores and curves are added to it.

    Args:
        model: what was trained or evaluated.
        data: the data set, in a line for the head of the page.
        settings: what else the result depends on, by name.
        command: what makes the same again.
        on: the data set's name, for the title.
        given: the recipe before it was changed, where it is none of reidkit's.
    """
    recipe = model.recipe
    known = origin_of(recipe) or given
    weights = f", weights {model.fingerprint}" if model.fingerprint else ""
    return Report(
        title=f"{recipe.name} on {on}" if on else recipe.name,
        when=time.strftime("%Y-%m-%d %H:%M %Z"),
        command=command,
        data=data,
        model=f"{recipe.name}: {network_words(recipe)}{weights}",
        changed=changes_of(recipe, given) if known else None,
        recipe=recipe,
        settings={**{WORDS.get(key, key): value for key, value in settings.items()}, **machine()},
    )


def add_scores(
    report: Report,
    evaluation: Evaluation,
    protocol: EvaluationProtocol,
    reranked: Scores | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Report:
    """The page with scores, the CMC curve, ranked lists and the distances of pairs with the same and with two ids.

    `seconds` are those of all stages, where there were more than those of `evaluation`.
    """
    scores = evaluation.scores
    hardest, others = _choose(scores.average_precision)
    pairs = pair_histogram(evaluation.query, evaluation.gallery, metric=protocol.metric, cameras=protocol.cameras)
    return dataclasses.replace(
        report,
        scores={**scores.as_json(), "seconds": seconds or evaluation.seconds},
        cmc=scores.cmc,
        reranked=reranked.as_json() if reranked else None,
        cmc_reranked=reranked.cmc if reranked else (),
        hardest=ranked_lists(evaluation, protocol, hardest),
        random=ranked_lists(evaluation, protocol, others),
        distances=Histogram(pairs.edges, pairs.same, pairs.different),
    )


def machine() -> dict[str, object]:
    """The machine and the software, in words; nothing that names the machine or its owner."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": f"{os.cpu_count()} cores, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "CPU threads": torch.get_num_threads(),
        "GPU": gpu,
        "software": f"reidkit {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def _choose(average_precision: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[Any, Any]:
    """Of the others the queries with the lowest average precision; and some drawn at random, always the same ones.

    The random ones are drawn first, from all, as they would flatter the model if the hardest were not among them.
    """
    drawn = draw_queries(average_precision, RANDOM)
    scored = np.flatnonzero(~np.isnan(average_precision))
    rest = np.setdiff1d(scored, drawn)
    return rest[np.argsort(average_precision[rest], kind="stable")[:HARDEST]], drawn


def ranked_lists(evaluation: Evaluation, protocol: EvaluationProtocol, rows: Sequence[int]) -> list[RankedList]:
    """The heads of the lists of some queries, with the files to show."""
    query, gallery, scores = evaluation.query, evaluation.gallery, evaluation.scores
    found = rank(query, gallery, rows, TOP, metric=protocol.metric, cameras=protocol.cameras)
    lists = []
    for one in found:
        entries = tuple(
            RankedImage(
                image_file(gallery.paths[i]),
                int(gallery.pids[i]),
                int(gallery.camids[i]),
                bool(is_match),
                float(distance),
                *_called(gallery, i),
            )
            for i, distance, is_match in zip(one.indices, one.distances, one.is_match, strict=True)
        )
        first = scores.first_match[one.query]
        pid_name, camid_name = _called(query, one.query)
        lists.append(
            RankedList(
                query_path=image_file(query.paths[one.query]),
                pid=int(query.pids[one.query]),
                camid=int(query.camids[one.query]),
                average_precision=float(scores.average_precision[one.query]),
                first_rank=None if np.isnan(first) else int(first),
                entries=entries,
                pid_name=pid_name,
                camid_name=camid_name,
            )
        )
    return lists


def _called(images: Embeddings, row: int) -> tuple[str, str]:
    """What the id and the camera of an image are called, or "" each."""
    names = images.names
    return names.pids.get(int(images.pids[row]), ""), names.camids.get(int(images.camids[row]), "")
