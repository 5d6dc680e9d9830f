"""A network in torch as an encoder: the only one whose inside can be seen (f_t, attention maps)."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch

from reidkit.arguments import check_choice
from reidkit.data.loaders import eval_batches
from reidkit.data.masks import masks_of
from reidkit.encoder.base import ImageEncoder, check_pixels, open_source, refuse_diverged
from reidkit.encoder.inference import InferenceOptions, feature_name
from reidkit.encoder.input_spec import InputSpec
from reidkit.errors import UsageError
from reidkit.hardware import choose_batch
from reidkit.metrics.products import full_precision
from reidkit.model.fuse import fuse_batch_norms
from reidkit.model.masked import mirror
from reidkit.model.network import Network
from reidkit.types import JUNK, NO_CAMERA, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from reidkit.data.masks import Masks
    from reidkit.data.sources import ImageSource
    from reidkit.encoder.given_images import Image
    from reidkit.encoder.inference import Feature
    from reidkit.recipe import Recipe

LOGGER = logging.getLogger("reidkit.encoder")

Part = Literal["rows", "places"]
"""What a sequence is made of: the mean of each row of the map, from top to bottom, or each place of it, row by row."""

CHUNK = 2**27
"""Bytes of features that are copied from the device at a time: 16,384 of 2,048 numbers."""


class Model(ImageEncoder):
    """A trained network with the recipe that made it: an `Encoder` in torch.

    Attributes:
        network: The module: images float32 [B, 3, H, W], normalised, to `Features`.
        recipe: How it was trained; its `images` say what the network takes.
        fingerprint: Names the weights; "" where they are still being trained.
        path: The run folder or the file that it was loaded from; None for a network that was not.
    """

    network: Network

    def __init__(self, network: nn.Module, recipe: Recipe, fingerprint: str = "", path: Path | None = None) -> None:
        self.network = cast("Network", network)
        self.recipe, self.fingerprint, self.path = recipe, fingerprint, path
        self._is_ready = False
        _follow_forks()

    def __repr__(self) -> str:
        return f"Model({self.recipe.name}, {self.fingerprint or 'in training'}, dim={self.dim})"

    @property
    def name(self) -> str:
        """The name of the recipe."""
        return self.recipe.name

    @property
    def input(self) -> InputSpec:
        """The size of the images and how they are resized."""
        images = self.recipe.images
        return InputSpec(height=images.height, width=images.width, resize=images.resize)

    @property
    def dim(self) -> int:
        """The length D of a feature."""
        return _length(self.network)

    def made_ready(self) -> Model:
        """Return this model for many small calls: see `ImageEncoder.made_ready`."""
        made = Model(fuse_batch_norms(self.network), self.recipe, self.fingerprint, self.path)
        made._is_ready = True
        return made

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features f_i float32 [N, D] of RGB pixels uint8 [N, H, W, 3] of the network's size.

        Raises:
            UsageError: the pixels have another size or type.
            DivergedError: the network gives features that are NaN or infinite.
        """
        check_pixels(images, self.input)
        features: NDArray[np.float32] = self.embed(list(images))
        return features

    def features(
        self,
        source: ImageSource,
        options: InferenceOptions,
        tell: Callable[[int], None],
        *,
        feature: str = "f_i",
        flip: bool = False,
    ) -> NDArray[np.float32]:
        """Features float32 [S, D] of the images of a source: see `ImageEncoder.features`."""
        self.network.to(options.device)
        part = options.group.slice_of(len(source))
        masks = self.masks_of(source, options)
        size = options.batch or choose_batch(options.device)
        batches = eval_batches(source, size, options.device, part=part, masks=masks)
        # Images without labels come from no camera that the network could know.
        labelled = len(source.samples) == len(source) and getattr(self.network, "takes_cameras", False)
        camids = source.samples.camids[part].astype(np.int64) if labelled else None
        return embed(
            self.network,
            batches,
            options.precision,
            feature=feature,
            flip=flip,
            progress=tell,
            camids=camids,
            fused=self._is_ready,
        )

    def masks_of(self, source: ImageSource, options: InferenceOptions) -> Masks | None:
        """Open the masks of a source's images where the network takes them: those that `options` name.

        Raises:
            DataError: masks are missing or cannot be read.
            UsageError: there are none, or some for a network that takes none; images without names.
        """
        recipe, paths = self.recipe, getattr(source, "paths", None)
        samples = source.samples if paths is None else [Sample(Path(path), JUNK, NO_CAMERA) for path in paths]
        if len(samples) != len(source) and recipe.network.masks != "none" and options.masks is not None:
            raise UsageError(
                "the network takes a mask beside each image, found by the name of its file: give paths, or samples",
                argument="images",
            )
        how: Any = {"missing": options.missing_masks, "progress": options.progress}
        masks = masks_of(options.masks, samples, recipe.images, recipe.network, **how)
        if masks is not None and masks.missing:
            LOGGER.warning(
                "%d of %d images have no mask: all ones are taken for it", masks.missing, len(masks),
                extra={"argument": "missing_masks"},
            )  # fmt: skip
        return masks

    def sequences(
        self, images: Sequence[Sample] | Sequence[Image], *, part: Part = "rows", **options: Any
    ) -> NDArray[np.float16]:
        """Return several vectors of each image, for re-scoring: the rows, or all places, of the network's last map.

        Args:
            images: As for `embed`.
            part: `rows`, the mean of each row from top to bottom, or `places`.
            options: Those of `InferenceOptions`: `device`, `precision`, `batch`, `progress` and others.

        Returns:
            float16 [N, S, C], in the order of the images; directions are what is compared.

        Raises:
            DataError: an image cannot be read.
            UsageError: your own network, or an option that this machine does not have.
        """
        return map_sequences(self, images, InferenceOptions(**options), part=part)


@cache
def _follow_forks() -> None:
    """Let torch use one thread in processes that are forked from this one, from now on.

    Its other threads do not go along into a new process, which would wait for them for ever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def map_sequences(
    model: Model,
    images: Sequence[Sample] | Sequence[Image],
    options: InferenceOptions,
    *,
    part: Part = "rows",
    name: str = "images",
) -> NDArray[np.float16]:
    """Return S vectors of each image by the last map [C, h, w] of a network: float16 [N, S, C], in the order of images.

    They are kept in half precision, as there are many: 64 kB an image of a ResNet-50 with 16 rows.

    Args:
        model: A network with a backbone that gives a map.
        images: Samples, of which those that cannot be read are left out where `options` allow it; or other images.
        options: How images are read and run.
        part: `rows`, S = h, or `places`, S = h w; the rows of a map that has but one are its places.
        name: What `options.progress` calls them.

    Raises:
        DataError: an image cannot be read.
        DivergedError: the network gives values that are NaN or infinite.
        UsageError: the network is a user's own; there is no such part.
    """
    check_choice(part, Part, "part")
    if not isinstance(model.network, Network):
        raise UsageError("re-scoring needs a backbone that gives a map, which your own network hides", argument="model")
    source = open_source(images, model.input, options)
    if model.network.mask_channels:
        raise UsageError("re-scoring takes no network with masks: leave out rescore", argument="rescore")
    backbone: Any = fuse_batch_norms(model.network).to(options.device).backbone
    if hasattr(backbone, "sequence"):
        backbone.sequence = False  # the patches of a vision transformer in their rows, without the class token
    mine = options.group.slice_of(len(source))
    found: list[Tensor] = []
    for batch in eval_batches(source, options.batch or choose_batch(options.device), options.device, part=mine):
        found.append(_sequence(backbone, batch, part, options.precision))
        if options.progress:
            options.progress(name, sum(map(len, found)), mine.stop - mine.start)
    vectors: NDArray[np.float16] = options.group.gather_rows(torch.cat(found)).numpy()
    refuse_diverged(vectors.reshape(len(vectors), -1))  # type: ignore[arg-type]
    return vectors


@contextmanager
def computing(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """Compute in `precision`. On a GPU float32 is meant: torch's default for convolutions there, TF32, has 10 bits."""
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32))
        if precision == torch.float32 and device.type == "cuda":
            for switch in (getattr(torch.backends.cudnn, "conv", torch.backends.cudnn), torch.backends.cuda.matmul):
                stack.enter_context(full_precision(switch))
        yield


@torch.inference_mode()
def _sequence(backbone: nn.Module, images: Tensor, part: Part, precision: torch.dtype) -> Tensor:
    """Map normalised images [B, 3, H, W] to sequences [B, S, C] in half precision on the host, scaled to fit."""
    with computing(images.device, precision):
        map_bchw: Tensor = backbone(images).float()
    several = part == "rows" and map_bchw.shape[2] > 1
    vectors = map_bchw.mean(dim=3) if several else map_bchw.flatten(2)
    # Only directions are compared: the largest value of an image is put at 1.
    largest = vectors.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return (vectors / largest).transpose(1, 2).contiguous().half().cpu()


@torch.inference_mode()
def embed(  # noqa: PLR0913
    network: nn.Module,
    batches: Iterable[Tensor],
    precision: torch.dtype = torch.float32,
    *,
    feature: str = "f_i",
    flip: bool = False,
    progress: Callable[[int], None] | None = None,
    camids: NDArray[np.int64] | None = None,
    fused: bool = False,
) -> NDArray[np.float32]:
    """Features float32 [N, D] of batches of normalised images [B, 3, H, W], in their order.

    `feature`: `f_i` after the neck, `f_t` before it. With `flip` a feature is the mean of those of the image and of
    its mirror image. `camids` int64 [N] are the cameras of the images, for a network that takes them. What is run is a
    copy in evaluation mode, `network` itself is left as it is; unless it is what `fuse_batch_norms` gave (`fused`).

    The features stay on the device until there are `CHUNK` bytes of them, for each copy waits for all work before it;
    `progress` is called with the number of images that are handed to the device, a few batches before they are done.
    """
    side = feature_name(feature)
    running = network if fused else fuse_batch_norms(network)
    copied: list[NDArray[np.float32]] = []
    waiting: list[Tensor] = []
    done = 0
    for images in batches:
        inputs: tuple[Tensor, ...] = (images,)
        if camids is not None:
            inputs = (images, torch.from_numpy(camids[done : done + len(images)]).to(images.device))
        done += len(images)
        with computing(images.device, precision):
            features = _run(running, inputs, side)
            if flip:
                mirrored = mirror(images, getattr(network, "mirrored", ()))
                features = (features + _run(running, (mirrored, *inputs[1:]), side)) / 2
        waiting.append(features)
        if sum(some.nbytes for some in waiting) >= CHUNK:
            copied.append(torch.cat(waiting).cpu().numpy())
            waiting = []
        if progress:
            progress(len(images))
    if waiting:
        copied.append(torch.cat(waiting).cpu().numpy())
    return np.concatenate(copied) if copied else np.zeros((0, _length(network)), dtype=np.float32)


def _run(network: nn.Module, inputs: tuple[Tensor, ...], feature: Feature) -> Tensor:
    features = network(*inputs)
    chosen: Tensor = features.f_i if feature == "f_i" else features.f_t
    return chosen.float()


def _length(network: nn.Module) -> int:
    """Return the length D of the features of a network."""
    length: int = cast("Any", network).channels
    return length
