"""What makes two images alike: the last feature map of each, weighted by the feature of the other.

A map of B images is [B, h, w], one value for each cell (x, y) of the network's last feature map [B, C, h, w].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from reidkit.data.images import image_file, open_images
from reidkit.data.loaders import eval_batches
from reidkit.encoder import require_torch
from reidkit.errors import DataError
from reidkit.metrics.ranking import rank
from reidkit.model.heads.single import Single
from reidkit.model.network import Network
from reidkit.plots.image_grid import AttentionRow, Overlay
from reidkit.types import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.encoder import Encoder
    from reidkit.evaluation import Evaluation, EvaluationProtocol
    from reidkit.types import Embeddings

    Vectors = NDArray[np.float32]


class Attended(NamedTuple):
    """Features `f_i` [N, D] of N images and their last feature maps `maps` [N, C, h, w]."""

    f_i: Vectors
    maps: Tensor


@torch.inference_mode()
def attend(model: Encoder, samples: Sequence[Sample], device: torch.device) -> Attended:
    """Run a few images through the network; their last feature maps are all kept in memory.

    Raises:
        DataError: there is no image, or one cannot be read; or the network is none of a backbone and a single head.
        UsageError: the model is an exported file.
    """
    model = require_torch(model, "attention")
    network = model.network.to(device).eval()
    if not isinstance(network, Network) or not isinstance(network.head, Single) or network.mask_channels:
        raise DataError("attention maps need a network of a backbone and a head of one branch, which this one is not")
    source = open_images(samples, model.recipe.images.size, resize=model.recipe.images.resize)
    maps = torch.cat([network.backbone(images).float().cpu() for images in eval_batches(source, 32, device)])
    return Attended(network.head(maps.to(device)).f_i.float().cpu().numpy(), maps)


@torch.inference_mode()
def similarity(network: Network, query_d: Vectors, map_bchw: Tensor) -> Vectors:
    """Return how much each cell of B images contributes to their cosine similarity with f_i of a query, [B, h, w].

    A cell is described as if the whole image looked like it: s(x, y) = q . f_i(x, y) / (|q| |f_i|). Where pooling is
    the mean, and embedding and neck are linear (no neck, BNNeck), the mean of the map is the cosine similarity itself.
    """
    device = next(network.parameters()).device
    maps = map_bchw.to(device)
    count, _, height, width = maps.shape
    whole = network.head(maps).f_i.float()
    # Every cell becomes an image of one cell: [B * h * w, C, 1, 1].
    cells = network.head(maps.permute(0, 2, 3, 1).reshape(count * height * width, -1, 1, 1)).f_i.float()
    query = torch.from_numpy(np.asarray(query_d, np.float32)).to(device)
    along = (cells @ (query / query.norm().clamp_min(1e-12))).view(count, height, width)
    found: Vectors = (along / whole.norm(dim=1).clamp_min(1e-12)[:, None, None]).cpu().numpy()
    return found


def compare_attention(
    model: Encoder,
    evaluation: Evaluation,
    protocol: EvaluationProtocol,
    rows: Sequence[int],
    answers: int,
    device: torch.device,
) -> list[AttentionRow]:
    """Map what makes the queries `rows` like their nearest true match, and their first `answers` images like them.

    The maps of the gallery images of one query share one scale, from 0 to their largest value.

    Raises:
        DataError: an image cannot be read.
        UsageError: the model is an exported file.
    """
    network = require_torch(model, "attention").network
    found = []
    for one in rank(evaluation.query, evaluation.gallery, rows, answers, **protocol.comparing):
        query = sample_of(evaluation.query, one.query)
        images = [sample_of(evaluation.gallery, i) for i in one.indices.tolist()]
        # The last image is what the query's own map is by; a query without a true match is compared with itself.
        match = true_match(evaluation, protocol, one.query)
        last = query if match is None else sample_of(evaluation.gallery, match)
        seen = attend(model, [query, *images, last], device)
        own = similarity(network, seen.f_i[-1], seen.maps[:1])[0]
        others = similarity(network, seen.f_i[0], seen.maps[1:])[:-1]
        top = float(others.max(initial=0.0))
        shown = tuple(
            (Overlay(sample.path, cells, 0.0, top), bool(is_match), _cosine(seen.f_i[0], vector))
            for sample, cells, is_match, vector in zip(images, others, one.is_match, seen.f_i[1:-1], strict=True)
        )
        found.append(AttentionRow(Overlay(query.path, own, 0.0), shown))
    return found


def matched_pairs(
    model: Encoder, evaluation: Evaluation, protocol: EvaluationProtocol, rows: Sequence[int], device: torch.device
) -> list[tuple[Overlay, Overlay]]:
    """Map, in queries and in their nearest true matches, what makes each of the two like the other.

    Raises:
        DataError: an image cannot be read.
        UsageError: the model is an exported file.
    """
    network = require_torch(model, "attention").network
    pairs = []
    for row in rows:
        match = true_match(evaluation, protocol, row)
        if match is None:
            continue
        query, image = sample_of(evaluation.query, row), sample_of(evaluation.gallery, match)
        seen = attend(model, [query, image], device)
        first = similarity(network, seen.f_i[1], seen.maps[:1])[0]
        second = similarity(network, seen.f_i[0], seen.maps[1:])[0]
        pairs.append((Overlay(query.path, first, 0.0), Overlay(image.path, second, 0.0)))
    return pairs


def true_match(evaluation: Evaluation, protocol: EvaluationProtocol, row: int) -> int | None:
    """Return the gallery row of the nearest true match of a query, or None where it has none."""
    first = evaluation.scores.first_match[row]
    if np.isnan(first):
        return None
    (found,) = rank(evaluation.query, evaluation.gallery, [row], int(first), **protocol.comparing)
    return int(found.indices[int(first) - 1])


def sample_of(images: Embeddings, row: int) -> Sample:
    """Return the image of a row, with its id and its camera."""
    return Sample(image_file(images.paths[row]), int(images.pids[row]), int(images.camids[row]))


def _cosine(a: Vectors, b: Vectors) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
