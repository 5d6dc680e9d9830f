"""Collect the plain data of a page: scores, ranked lists, attention maps and features."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reidkit.data.images import image_file
from reidkit.encoder import InferenceOptions, Model, embed_samples
from reidkit.errors import DataError, UsageError
from reidkit.evaluation import EvaluationProtocol
from reidkit.metrics.ranking import draw_queries, pair_histogram, rank
from reidkit.plots.charts import Histogram
from reidkit.plots.image_grid import RankedImage, RankedList
from reidkit.plots.projection import Panel, pca, points_figure, tsne
from reidkit.plots.style import figure_uri
from reidkit.recipes import changes_of, network_words, origin_of
from reidkit.report.attention import matched_pairs, sample_of
from reidkit.report.page import Report
from reidkit.types import SampleTable
from reidkit.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from reidkit.encoder import ImageEncoder
    from reidkit.evaluation import Evaluation
    from reidkit.metrics.retrieval import Scores
    from reidkit.recipe import Recipe
    from reidkit.types import Embeddings, Samples

HARDEST, RANDOM, TOP = 12, 8, 10
"""Ranked lists of each kind, and images in a list."""
MAPS, IDS, EACH = 6, 12, 40
"""Queries with attention maps on a page; ids in its map of features, and images of each of them."""

WORDS = {
    "training_set": "digest of the training set",
    "training_cameras": "digest of its cameras",
    "people": "training ids",
    "weights": "weights at the start",
}
"""What the page calls the keys of `run.json`."""


def build_report(
    model: ImageEncoder,
    data: str,
    settings: Mapping[str, object],
    command: str,
    *,
    on: str = "",
    given: Recipe | None = None,
) -> Report:
    """Begin a page: what was asked for, and on which machine.

    Args:
        model: The model that was trained or evaluated.
        data: The data set, in a line for the head of the page.
        settings: What else the result depends on, by name.
        command: The command that gives the same result.
        on: The name of the data set, for the title.
        given: The recipe before it was changed, where it is none of reidkit's.
    """
    recipe = model.recipe if isinstance(model, Model) else None
    known = recipe and (origin_of(recipe) or given)
    weights = f", weights {model.fingerprint}" if model.fingerprint else ""
    return Report(
        title=f"{model.name} on {on}" if on else model.name,
        when=time.strftime("%Y-%m-%d %H:%M %Z"),
        command=command,
        data=data,
        model=f"{model.name}: {network_words(recipe) if recipe else model.input}{weights}",
        changed=changes_of(recipe, given) if recipe and known else None,
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
    """Add scores, the CMC curve, ranked lists, and the distances of pairs with the same id and with different ids.

    `seconds` are those of all stages, where there were more than the stages of `evaluation`.
    """
    scores = evaluation.scores
    hardest, others = _choose(scores.average_precision)
    pairs = pair_histogram(evaluation.query, evaluation.gallery, **protocol.comparing)
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
    """Describe the machine and the software in words, without anything that names the machine or its owner."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": f"{os.cpu_count()} cores, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "CPU threads": torch.get_num_threads(),
        "GPU": gpu,
        "software": f"reidkit {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def _choose(average_precision: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[Any, Any]:
    """Return the hardest queries, and some sampled at random, always the same ones.

    The random ones are sampled first, from all: without the hardest among them they would flatter the model.
    """
    sampled = draw_queries(average_precision, RANDOM)
    scored = np.flatnonzero(~np.isnan(average_precision))
    rest = np.setdiff1d(scored, sampled)
    return rest[np.argsort(average_precision[rest], kind="stable")[:HARDEST]], sampled


def ranked_lists(evaluation: Evaluation, protocol: EvaluationProtocol, rows: Sequence[int]) -> list[RankedList]:
    """Return the first images of the ranked lists of some queries, with the files to show."""
    query, gallery, scores = evaluation.query, evaluation.gallery, evaluation.scores
    found = rank(query, gallery, rows, TOP, **protocol.comparing)
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
    """Return the names of an image's id and camera, or "" each."""
    names = images.names
    return names.pids.get(int(images.pids[row]), ""), names.camids.get(int(images.camids[row]), "")


def add_pictures(
    report: Report,
    model: ImageEncoder,
    evaluation: Evaluation,
    device: torch.device,
    protocol: EvaluationProtocol | None = None,
) -> Report:
    """Add what makes some queries like their true matches, and the features of some ids of the gallery.

    Either is left out where an image cannot be read, where the model is an exported file, whose inside is not seen, or
    takes masks, or where there is nothing to show.
    """
    rows = draw_queries(evaluation.scores.average_precision, MAPS).tolist()
    with contextlib.suppress(DataError, UsageError):
        pairs = matched_pairs(model, evaluation, protocol or EvaluationProtocol(), rows, device)
        report = dataclasses.replace(report, attention=pairs)
    with contextlib.suppress(DataError, UsageError):
        report = dataclasses.replace(report, embedding=_features_uri(model, evaluation.gallery, device))
    return report


def _features_uri(model: ImageEncoder, gallery: Embeddings, device: torch.device) -> str:
    """f_t and f_i of the ids with the most gallery images, by principal components, as the address of a figure."""
    ids = _most_frequent(gallery.pids, IDS, "the gallery")
    rows = np.concatenate([np.flatnonzero(gallery.pids == pid)[:EACH] for pid in ids]).tolist()
    samples = [sample_of(gallery, row) for row in rows]
    panels, pids = embedding_panels(model, SampleTable(samples), InferenceOptions(device=device), "pca")
    return figure_uri(points_figure(panels, pids, f"{len(samples)} gallery images with {len(ids)} ids"))


def with_most_images(samples: Samples, ids: int, where: str) -> Samples:
    """Return the images of the `ids` ids that have the most of them, without junk and unknown ids (pid 0 or below).

    Raises:
        DataError: there are none; `where` names the images.
    """
    return samples.take(np.flatnonzero(np.isin(samples.pids, _most_frequent(samples.pids, ids, where))))


def _most_frequent(pids_n: NDArray[np.int64], ids: int, where: str) -> list[int]:
    pids, counts = np.unique(pids_n[pids_n > 0], return_counts=True)
    if not len(pids):
        raise DataError(f"{where} has no images of known ids: choose another part or data set", argument="part")
    return [int(pid) for pid in pids[np.argsort(-counts, kind="stable")[:ids]]]


def embedding_panels(
    model: ImageEncoder, samples: Samples, options: InferenceOptions, method: str, perplexity: float = 30.0
) -> tuple[list[Panel], NDArray[np.int64]]:
    """Place f_t and f_i of images in the plane by `pca` or `tsne`; also return the ids [N] of the images.

    Where there is no neck, both are the one feature f, and there is one panel. f_i is normalised first, as the cosine
    distance does.

    Raises:
        DataError: an image cannot be read, or there are too few.
    """
    if not isinstance(model, Model):  # an exported file gives one feature
        only = embed_samples(model, samples, "images", options)
        return [_panel("f, as the file gives it", only.vectors, method, perplexity)], only.pids
    before = embed_samples(model, samples, "before the neck", options, feature="f_t")
    if model.recipe.network.neck == "none":
        return [_panel("f", before.vectors, method, perplexity)], before.pids
    after = embed_samples(model, samples, "after the neck", options).vectors
    unit = after / np.maximum(np.linalg.norm(after, axis=1, keepdims=True), 1e-12)
    first = _panel("fₜ, before the neck", before.vectors, method, perplexity)
    return [first, _panel("fᵢ, after the neck, normalised", unit, method, perplexity)], before.pids


def _panel(title: str, vectors: NDArray[np.float32], method: str, perplexity: float) -> Panel:
    if method == "tsne":
        return Panel(f"{title}: t-SNE", tsne(vectors, perplexity), "", "")
    points, variance = pca(vectors)
    words = (f"{100 * fraction:.0f} % of the variance" for fraction in variance)
    return Panel(f"{title}: PCA", points, next(words), next(words))
