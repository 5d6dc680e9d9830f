"""Where a network looks: its last feature map over the image, and which places make two images alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from reidkit.data.images import open_images
from reidkit.data.loaders import eval_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.encoder import Model
    from reidkit.model.network import Network
    from reidkit.types import Sample

    Maps = NDArray[np.float32]


class Attended(NamedTuple):
    """Of N images: `activation` [N, h, w], f_i `search` [N, D], and the last feature map `places` [N, C, h, w]."""

    activation: Maps
    search: NDArray[np.float32]
    places: Tensor


@torch.inference_mode()
def attend(model: Model, samples: Sequence[Sample], device: torch.device) -> Attended:
    """Run a few images through the network; their last feature maps are all kept in memory.

    Raises:
        DataError: there is no image, or one cannot be read.
    """
    network = model.network.to(device).eval()
    source = open_images(samples, model.recipe.images.size, resize=model.recipe.images.resize)
    places = torch.cat([network.backbone(images).float().cpu() for images in eval_batches(source, 32, device)])
    search = network.head(places.to(device)).f_i.float().cpu()
    return Attended(activation(places).numpy(), search.numpy(), places)


def activation(map_bchw: Tensor) -> Tensor:
    """The length of the feature at each place: a map [B, C, h, w] to [B, h, w]."""
    return map_bchw.square().sum(dim=1).sqrt()


@torch.inference_mode()
def similarity(network: Network, query_d: NDArray[np.float32], map_bchw: Tensor) -> Maps:
    """How much each place of B images contributes to their cosine similarity with f_i of a query, [B, h, w].

    A place is described as if the whole image looked like it: s(x, y) = q . f_i(x, y) / (|q| |f_i|). Where pooling is
    the mean, and embedding and neck are linear (no neck, BNNeck), the mean of the map is the cosine similarity itself.
    """
    device = next(network.parameters()).device
    maps = map_bchw.to(device)
    count, _, height, width = maps.shape
    whole = network.head(maps).f_i.float()
    local = network.head(maps.permute(0, 2, 3, 1).reshape(count * height * width, -1, 1, 1)).f_i.float()
    query = torch.from_numpy(np.asarray(query_d, np.float32)).to(device)
    along = local @ (query / query.norm().clamp_min(1e-12))
    found: Maps = (along.view(count, height, width) / whole.norm(dim=1).clamp_min(1e-12)[:, None, None]).cpu().numpy()
    return found
