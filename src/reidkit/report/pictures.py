"""What a model sees, put together for `reidkit.report`: attention beside ranked lists, features in the plane."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.data.images import image_file
from reidkit.encoder import InferenceOptions, embed_samples
from reidkit.errors import DataError
from reidkit.evaluation import EvaluationProtocol
from reidkit.metrics.ranking import draw_queries, rank
from reidkit.plots.image_grid import Comparison, Overlay
from reidkit.plots.projection import Panel, pca, points_figure, tsne
from reidkit.plots.style import figure_uri
from reidkit.report.attention import attend, similarity
from reidkit.types import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from reidkit.encoder import Model
    from reidkit.evaluation import Evaluation
    from reidkit.report.page import Report
    from reidkit.types import Embeddings

MAPS, PEOPLE, EACH = 6, 12, 40
"""Queries with maps on a page; people in its map of features, and images of each of them."""


def compare_attention(
    model: Model,
    evaluation: Evaluation,
    protocol: EvaluationProtocol,
    rows: Sequence[int],
    answers: int,
    device: torch.device,
) -> list[Comparison]:
    """For the queries `rows`: what makes each like its nearest true match, and its first `answers` images like it.

    The maps of the gallery images of one query share one scale, from nothing to the largest.
    """
    found = []
    rule: dict[str, Any] = {"metric": protocol.metric, "cameras": protocol.cameras}
    for one in rank(evaluation.query, evaluation.gallery, rows, answers, **rule):
        match, gallery = true_match(evaluation, protocol, one.query), one.indices.tolist()
        images = [_sample(evaluation.gallery, i) for i in gallery]
        # The last one is what the query itself is compared with: often one of those that are shown.
        last = _sample(evaluation.gallery, match) if match is not None else _sample(evaluation.query, one.query)
        seen = attend(model, [_sample(evaluation.query, one.query), *images, last], device)
        own = similarity(model.network, seen.search[-1], seen.places[:1])[0]
        alike = similarity(model.network, seen.search[0], seen.places[1:])[:-1]
        top = float(alike.max(initial=0.0))
        shown = tuple(
            (Overlay(sample.path, places, 0.0, top), bool(right), _cosine(seen.search[0], vector))
            for sample, places, right, vector in zip(images, alike, one.is_match, seen.search[1:-1], strict=True)
        )
        found.append(Comparison(Overlay(image_file(evaluation.query.paths[one.query]), own, 0.0), shown))
    return found


def true_match(evaluation: Evaluation, protocol: EvaluationProtocol, row: int) -> int | None:
    """The gallery row of the nearest true match of a query; None where it has none."""
    first = evaluation.scores.first_match[row]
    if np.isnan(first):
        return None
    rule: dict[str, Any] = {"metric": protocol.metric, "cameras": protocol.cameras}
    (found,) = rank(evaluation.query, evaluation.gallery, [row], int(first), **rule)
    return int(found.indices[int(first) - 1])


def alike_pairs(
    model: Model, evaluation: Evaluation, protocol: EvaluationProtocol, rows: Sequence[int], device: torch.device
) -> list[tuple[Overlay, Overlay]]:
    """Queries and their nearest true matches, and in each of the two what makes it like the other."""
    matches = {row: true_match(evaluation, protocol, row) for row in rows}
    pairs = []
    for row, match in matches.items():
        if match is None:
            continue
        query, image = _sample(evaluation.query, row), _sample(evaluation.gallery, match)
        seen = attend(model, [query, image], device)
        first = similarity(model.network, seen.search[1], seen.places[:1])[0]
        second = similarity(model.network, seen.search[0], seen.places[1:])[0]
        pairs.append((Overlay(query.path, first, 0.0), Overlay(image.path, second, 0.0)))
    return pairs


def add_pictures(
    report: Report,
    model: Model,
    evaluation: Evaluation,
    device: torch.device,
    protocol: EvaluationProtocol | None = None,
) -> Report:
    """The page with what makes some queries like their true matches, and the features of some ids of the gallery.

    Either is left out where an image cannot be read, or where there is nothing to show.
    """
    rows = draw_queries(evaluation.scores.average_precision, MAPS).tolist()
    with contextlib.suppress(DataError):
        pairs = alike_pairs(model, evaluation, protocol or EvaluationProtocol(), rows, device)
        report = dataclasses.replace(report, attention=pairs)
    with contextlib.suppress(DataError):
        report = dataclasses.replace(report, embedding=_features_uri(model, evaluation.gallery, device))
    return report


def _features_uri(model: Model, gallery: Embeddings, device: torch.device) -> str:
    """f_t and f_i of those whom the gallery shows most, by their principal components, as an address of a picture."""
    people = _most_shown(gallery.pids, PEOPLE, "the gallery")
    rows = np.concatenate([np.flatnonzero(gallery.pids == pid)[:EACH] for pid in people])
    samples = tuple(_sample(gallery, row) for row in rows.tolist())
    panels, pids = embedding_panels(
        model, samples, InferenceOptions(device=device, precision="fp32"), "pca", perplexity=0.0
    )
    return figure_uri(points_figure(panels, pids, f"{len(samples)} gallery images with {len(people)} ids"))


def choose_people(samples: Sequence[Sample], people: int, where: str) -> tuple[Sample, ...]:
    """The images of the `people` that have the most of them; who is known by no number (pid 0 or junk) is left out.

    Raises:
        DataError: there is nobody.
    """
    chosen = set(_most_shown(np.array([sample.pid for sample in samples], np.int64), people, where))
    return tuple(sample for sample in samples if sample.pid in chosen)


def _most_shown(pids_n: NDArray[np.int64], people: int, where: str) -> list[int]:
    pids, counts = np.unique(pids_n[pids_n > 0], return_counts=True)
    if not len(pids):
        raise DataError(f"{where} shows nobody who is known: choose another part, or another data set", argument="part")
    return [int(pid) for pid in pids[np.argsort(-counts, kind="stable")[:people]]]


def embedding_panels(
    model: Model, samples: tuple[Sample, ...], reading: InferenceOptions, method: str, perplexity: float
) -> tuple[list[Panel], NDArray[np.int64]]:
    """f_t and f_i of the images in the plane, by `pca` or `tsne`, and whose images they are.

    Where there is no neck, both are the one feature f, and there is one panel. f_i is normalised first, as the cosine
    distance has it.
    """
    before = embed_samples(model, samples, "before the neck", reading, feature="f_t")
    if model.recipe.network.neck == "none":
        return [_panel("f", before.vectors, method, perplexity)], before.pids
    after = embed_samples(model, samples, "after the neck", reading).vectors
    unit = after / np.maximum(np.linalg.norm(after, axis=1, keepdims=True), 1e-12)
    first = _panel("fₜ, before the neck", before.vectors, method, perplexity)
    return [first, _panel("fᵢ, after the neck, normalised", unit, method, perplexity)], before.pids


def _panel(title: str, vectors: NDArray[np.float32], method: str, perplexity: float) -> Panel:
    if method == "tsne":
        return Panel(f"{title}: t-SNE", tsne(vectors, perplexity), "", "")
    points, shares = pca(vectors)
    words = (f"{100 * share:.0f} % of the variance" for share in shares)
    return Panel(f"{title}: PCA", points, next(words), next(words))


def _sample(images: Embeddings, number: int) -> Sample:
    return Sample(image_file(images.paths[number]), int(images.pids[number]), int(images.camids[number]))


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
