"""Pictures to features, a batch at a time: the network of a model, made ready once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from reidkit.data.sources import fit
from reidkit.encoder import Model, feature_name, refuse_diverged
from reidkit.gallery.base_gallery import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from reidkit.encoder import Encoder, InputSpec

    Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Embedder:
    """Features as a gallery compares them: of one side of the neck, and with `flip` of an image and its mirror image.

    `Model.embed` does the same for many images at once. It copies and fuses the network at each call, which here is
    done once.
    """

    def __init__(self, model: Encoder, *, feature: str = "f_i", flip: bool = False, device: str = "auto") -> None:
        """Make the network ready.

        Raises:
            UsageError: a device that this machine does not have.
        """
        self.spec: InputSpec = model.input
        self.dim = model.dim
        if isinstance(model, Model):
            self._run = _in_torch(model, feature, flip, device)
        else:
            self._run = partial(encode, model, flip=flip)

    def fitted(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return RGB pixels uint8 [h, w, 3] at the size of the network [H, W, 3]."""
        out = np.empty((self.spec.height, self.spec.width, 3), np.uint8)
        fit(pixels, out, self.spec.resize)
        return out

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the features float32 [N, D] of images uint8 [H, W, 3] of the network's size.

        Raises:
            DivergedError: a feature is NaN or infinite.
        """
        vectors = self._run(np.stack(images))
        refuse_diverged(vectors)
        return vectors


def _in_torch(model: Model, feature: str, flip: bool, device_name: str) -> Run:
    """Return how the network of a model runs on a device: its batch norms folded, in the precision that suits it."""
    import torch

    from reidkit.data.transforms import normalise
    from reidkit.encoder.torch_model import computing
    from reidkit.hardware import choose_device, choose_precision
    from reidkit.model.fuse import fuse_batch_norms

    side, device = feature_name(feature), choose_device(device_name)
    precision = choose_precision("auto", device)
    network = fuse_batch_norms(model.network).to(device)

    @torch.inference_mode()
    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        images = normalise(torch.from_numpy(pixels).to(device))
        with computing(device, precision):
            features = getattr(network(images), side).float()
            if flip:
                features = (features + getattr(network(images.flip(3)), side).float()) / 2
        found: NDArray[np.float32] = features.cpu().numpy()
        return found

    return run
