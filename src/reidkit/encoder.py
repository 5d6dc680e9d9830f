"""Images to features: what every encoder has, and the one that runs a network in torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast, overload

import numpy as np
import torch

from reidkit.data.decode import decode
from reidkit.data.images import open_images
from reidkit.data.loaders import eval_batches
from reidkit.data.sources import fit, pool
from reidkit.data.transforms import MEAN, STD
from reidkit.distributed import ALONE
from reidkit.errors import DataError, DivergedError, MissingFileError, UsageError, WeightsError
from reidkit.hardware import choose_batch, choose_device, choose_precision
from reidkit.metrics.calibration_file import Calibration, calibration_path, load_calibration
from reidkit.model.fuse import fuse_batch_norms
from reidkit.model.weights import load_network
from reidkit.types import Embeddings, Sample, Samples, SampleTable, as_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import PIL.Image
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from reidkit.data.decode import Filter
    from reidkit.data.sources import ImageSource
    from reidkit.distributed import Group
    from reidkit.model.network import Network
    from reidkit.model.own import OwnModule
    from reidkit.recipe import Recipe

    Image: TypeAlias = str | os.PathLike[str] | PIL.Image.Image | NDArray[np.uint8]
    """A path, an image of Pillow, or RGB pixels uint8 [H, W, 3]."""

    OnProgress: TypeAlias = Callable[[str, int, int], None]
    """Called as `progress(what, done, total)`, with numbers of images."""

Feature: TypeAlias = Literal["f_i", "f_t"]
"""Which feature is compared: f_i after the neck, or f_t before it."""

FEATURES: dict[str, Feature] = {"f_i": "f_i", "f_t": "f_t", "after": "f_i", "before": "f_t"}
"""The features by their names, and by the words of commands and files: after or before the neck."""

CHUNK = 2**27
"""Bytes of features that are copied from the device at a time: 16,384 of 2,048 numbers."""

TOGETHER = 64
"""Images of a list that are decoded in one call, at most."""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What an encoder takes: images of `height` x `width` pixels, as (pixel / scale - mean) / std in each channel.

    Other sizes are resized by the filter `resize`.
    """

    height: int
    width: int
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    colour: Literal["rgb", "bgr"] = "rgb"
    scale: float = 255.0
    resize: Filter = "bilinear"


class Encoder(Protocol):
    """Whatever turns images into features: a network in torch, or an exported one in another runtime."""

    @property
    def input(self) -> InputSpec:
        """The size, the colours and the normalisation of its images."""

    @property
    def dim(self) -> int:
        """The length D of a feature."""

    @property
    def fingerprint(self) -> str:
        """Sixteen digits that name its weights; features of two encoders cannot be compared."""

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features float32 [N, D] of RGB pixels uint8 [N, H, W, 3] of the size of `input`, not yet normalised."""


@dataclass(frozen=True, init=False)
class InferenceOptions:
    """How images are read and run; none of it changes a score by more than rounding.

    `device` is "auto" (the GPU where there is one), "cpu", "cuda" or a torch device. `precision` is "auto" (bf16 where
    the device computes with it), "fp32", "bf16" or a torch type. `batch` images are run at a time; 0: what fills the
    device. Decoded images are kept in `cache_dir`; None: no cache. `progress` is called as
    `progress(what, done, total)`. `group` are the processes that share the embedding; each gets all features.

    Raises:
        UsageError: a device that this machine does not have, or no such precision.
    """

    device: torch.device
    precision: torch.dtype
    batch: int
    cache_dir: Path | None
    skip_unreadable: bool
    progress: OnProgress | None
    group: Group

    def __init__(  # noqa: PLR0913
        self,
        *,
        device: str | torch.device = "auto",
        precision: str | torch.dtype = "auto",
        batch: int = 0,
        cache_dir: str | os.PathLike[str] | None = None,
        skip_unreadable: bool = False,
        progress: OnProgress | None = None,
        group: Group = ALONE,
    ) -> None:
        if batch < 0:
            raise UsageError(f"a batch of {batch} images: pass 1 or more, or 0 for what fills the device")
        chosen = device if isinstance(device, torch.device) else choose_device(device)
        values = {
            "device": chosen,
            "precision": precision if isinstance(precision, torch.dtype) else choose_precision(precision, chosen),
            "batch": batch,
            "cache_dir": None if cache_dir is None else Path(cache_dir),
            "skip_unreadable": skip_unreadable,
            "progress": progress,
            "group": group,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)


class Model:
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

    def __repr__(self) -> str:
        return f"Model({self.recipe.name}, {self.fingerprint or 'in training'}, dim={self.dim})"

    @property
    def input(self) -> InputSpec:
        """The size of the images and how they are resized."""
        images = self.recipe.images
        return InputSpec(height=images.height, width=images.width, resize=images.resize)

    @property
    def dim(self) -> int:
        """The length D of a feature."""
        return _length(self.network)

    @property
    def calibration(self) -> Calibration | None:
        """The thresholds and probabilities in the `calibration.json` beside the model; None where there is none.

        Raises:
            DataError: the file is damaged, or another model's.
        """
        path = self.path and calibration_path(self.path)
        return load_calibration(path, self.fingerprint) if path and path.is_file() else None

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features f_i float32 [N, D] of RGB pixels uint8 [N, H, W, 3] of the network's size.

        Raises:
            UsageError: the pixels have another size or type.
            DivergedError: the network gives features that are NaN or infinite.
        """
        spec = self.input
        if images.dtype != np.uint8 or images.shape[1:] != (spec.height, spec.width, 3):
            raise UsageError(
                f"images {images.dtype} {list(images.shape)} are not uint8 [N, {spec.height}, {spec.width}, 3]: "
                "model.embed resizes images of any size"
            )
        features: NDArray[np.float32] = self.embed(list(images))
        return features

    @overload
    def embed(
        self,
        images: Sequence[Image] | NDArray[np.uint8],
        *,
        flip: bool = ...,
        feature: str = ...,
        batch: int = ...,
        device: str | torch.device = ...,
        precision: str | torch.dtype = ...,
        progress: OnProgress | None = ...,
    ) -> NDArray[np.float32]: ...

    @overload
    def embed(
        self,
        images: Samples | Sequence[Sample],
        *,
        flip: bool = ...,
        feature: str = ...,
        batch: int = ...,
        device: str | torch.device = ...,
        precision: str | torch.dtype = ...,
        progress: OnProgress | None = ...,
    ) -> Embeddings: ...

    def embed(  # noqa: PLR0913
        self,
        images: Samples | Sequence[Sample] | Sequence[Image] | NDArray[np.uint8],
        *,
        flip: bool = False,
        feature: str = "f_i",
        batch: int = 0,
        device: str | torch.device = "auto",
        precision: str | torch.dtype = "auto",
        progress: OnProgress | None = None,
    ) -> Embeddings | NDArray[np.float32]:
        """Return the features of images: with their labels where these have labels.

        Args:
            images: The samples of a data set, as `dataset.query`; or paths, images of Pillow and RGB pixels
                uint8 [H, W, 3] of any size, in any mixture.
            flip: Take the mean of the features of each image and of its mirror image.
            feature: `f_i` after the neck, or `f_t` before it.
            batch: Images that are run at a time; 0: what fills the device.
            device: `auto` (the GPU where there is one), `cpu` or `cuda`.
            precision: `auto` (bf16 where the device computes with it), `fp32` or `bf16`.
            progress: Called as `progress("images", done, total)`.

        Returns:
            `Embeddings` of samples; float32 [N, D] of other images.

        Raises:
            DataError: an image cannot be read.
            DivergedError: the network gives features that are NaN or infinite.
            UsageError: something that is no list of images; an option that this machine does not have.
        """
        options = InferenceOptions(device=device, precision=precision, batch=batch, progress=progress)
        if isinstance(images, str | os.PathLike):
            raise UsageError(f"{images} is one image, or a folder: pass a list of images, [{str(images)!r}]")
        if not isinstance(images, Sequence | np.ndarray):
            raise UsageError(f"images are a {type(images).__name__}: pass a list of images", argument="images")
        if isinstance(images, Samples) or (len(images) and isinstance(images[0], Sample)):
            samples = as_samples(cast("Sequence[Sample]", images))
            return embed_samples(self, samples, "images", options, feature=feature, flip=flip)
        source = _GivenImages(cast("Sequence[Image]", images), self.input)
        return _embed_source(self, source, "images", options, feature=feature, flip=flip)


def load_model(path: str | os.PathLike[str], *, network: OwnModule | None = None) -> Model:
    """Load a model, in evaluation mode.

    Args:
        path: A run folder, or a `.safetensors` that reidkit wrote.
        network: For a model whose network is your own, and not its recipe's: that network, or what makes one.

    Raises:
        MissingFileError: there is nothing at `path`.
        WeightsError: no model there, one of something else, one whose bytes do not match its fingerprint, or one
            that holds values that are not finite.
        UsageError: the model's network is your own, and `network` is missing.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise MissingFileError(f"{path} is not there: give a run folder or a .safetensors file of weights")
    if path.suffix.lower() in {".onnx", ".xml"}:
        raise WeightsError(f"{path} is an exported model, which runs elsewhere: give the run folder it was made of")
    loaded = load_network(path, network)
    return Model(loaded.network, loaded.recipe, loaded.fingerprint, path)


def embed_samples(
    model: Model,
    samples: Sequence[Sample],
    name: str,
    options: InferenceOptions,
    *,
    feature: str = "f_i",
    flip: bool = False,
) -> Embeddings:
    """Return the features of `samples`, those left out that cannot be read where `options` allow it.

    `name` is what `options.progress` calls them.

    Raises:
        DataError: an image cannot be read.
        DivergedError: the network gives features that are NaN or infinite.
    """
    images = model.recipe.images
    source = open_images(
        samples,
        images.size,
        resize=images.resize,
        cache_dir=options.cache_dir,
        skip_unreadable=options.skip_unreadable,
    )
    vectors = _embed_source(model, source, name, options, feature=feature, flip=flip)
    table = source.samples
    return Embeddings(vectors, table.pids, table.camids, model.fingerprint, table.paths)


def _embed_source(
    model: Model, source: ImageSource, name: str, options: InferenceOptions, *, feature: str, flip: bool
) -> NDArray[np.float32]:
    """Features float32 [M, D] of all images of a source, in the processes of `options.group` together."""
    model.network.to(options.device)
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        if options.progress:
            options.progress(name, done, part.stop - part.start)

    part = options.group.slice_of(len(source))
    batches = eval_batches(source, options.batch or choose_batch(options.device), options.device, part=part)
    # Images without labels come from no camera that the network could know.
    labelled = len(source.samples) == len(source) and getattr(model.network, "takes_cameras", False)
    camids = source.samples.camids[part].astype(np.int64) if labelled else None
    vectors = embed(
        model.network, batches, options.precision, feature=feature, flip=flip, progress=progress, camids=camids
    )
    vectors = options.group.gather_rows(torch.from_numpy(vectors)).numpy()
    refuse_diverged(vectors)
    return vectors


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
) -> NDArray[np.float32]:
    """Features float32 [N, D] of batches of normalised images [B, 3, H, W], in their order.

    `feature`: `f_i` after the neck, `f_t` before it. With `flip` a feature is the mean of those of the image and of
    its mirror image. `camids` int64 [N] are the cameras of the images, for a network that takes them. What is run is a
    copy in evaluation mode; `network` itself is left as it is.

    The features stay on the device until there are `CHUNK` bytes of them, for each copy waits for all work before it;
    `progress` is called with the number of images that are handed to the device, a few batches before they are done.
    """
    side = feature_name(feature)
    fused = fuse_batch_norms(network)
    copied: list[NDArray[np.float32]] = []
    waiting: list[Tensor] = []
    done = 0
    for images in batches:
        inputs: tuple[Tensor, ...] = (images,)
        if camids is not None:
            inputs = (images, torch.from_numpy(camids[done : done + len(images)]).to(images.device))
        done += len(images)
        with torch.autocast(images.device.type, dtype=precision, enabled=precision != torch.float32):
            features = _run(fused, inputs, side)
            if flip:
                features = (features + _run(fused, (images.flip(3), *inputs[1:]), side)) / 2
        waiting.append(features)
        if sum(some.nbytes for some in waiting) >= CHUNK:
            copied.append(torch.cat(waiting).cpu().numpy())
            waiting = []
        if progress:
            progress(len(images))
    if waiting:
        copied.append(torch.cat(waiting).cpu().numpy())
    return np.concatenate(copied) if copied else np.zeros((0, _length(network)), dtype=np.float32)


def feature_name(word: str) -> Feature:
    """Return `f_i` or `f_t`, for `after` and `before` the neck too.

    Raises:
        UsageError: it is none of them.
    """
    if word not in FEATURES:
        raise UsageError(f"there is no feature {word}: choose f_i, after the neck, or f_t, before it")
    return FEATURES[word]


def read_images(images: Iterable[Image], spec: InputSpec) -> Iterator[NDArray[np.uint8]]:
    """Read images in order, as RGB pixels uint8 [B, H, W, 3] of an encoder's size, a few dozen at a time.

    Raises:
        DataError: an image cannot be read.
        UsageError: something that is no image.
    """
    source = _GivenImages(list(images), spec)
    for first in range(0, len(source), TOGETHER):
        yield source.rows(np.arange(first, min(first + TOGETHER, len(source))))[0]


class _GivenImages:
    """Images as a caller has them, an `ImageSource` that reads them when they are asked for."""

    def __init__(self, images: Sequence[Image], spec: InputSpec) -> None:
        self.samples: Samples = SampleTable()
        self.kept = np.arange(len(images), dtype=np.int64)
        self.size = (spec.height, spec.width)
        self._images, self._spec = images, spec

    def __len__(self) -> int:
        return len(self._images)

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Read these images.

        Raises:
            DataError: one cannot be read.
        """
        pixels = np.empty((len(indices), *self.size, 3), dtype=np.uint8)

        def read(row: int) -> None:
            index = int(indices[row])
            fit(_pixels(self._images[index], index), pixels[row], self._spec.resize)

        with pool() as threads:
            list(threads.map(read, range(len(indices))))
        pixels.flags.writeable = False
        return pixels, np.arange(len(indices), dtype=np.int64)


def _pixels(image: Image, index: int) -> NDArray[np.uint8]:
    """Return the pixels of one image, RGB uint8 [H, W, 3]; `index` says which in an error."""
    if isinstance(image, str | os.PathLike):
        return decode(Path(image))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise UsageError(f"image {index} is {image.dtype} {list(image.shape)}: pass RGB pixels uint8 [H, W, 3]")
        return image
    if hasattr(image, "convert"):
        from PIL import ImageOps

        try:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:  # a file that Pillow has opened and not yet decoded
            raise DataError(f"image {index} cannot be read: {error}") from None
    raise UsageError(f"image {index} is of type {type(image).__name__}: pass a path, a PIL image or uint8 [H, W, 3]")


def refuse_diverged(vectors: NDArray[np.float32]) -> None:
    """Say of features that are NaN or infinite where they come from: from the weights.

    Raises:
        DivergedError: a feature of `vectors` [N, D] holds a NaN or an infinity.
    """
    bad = int(np.count_nonzero(~np.isfinite(vectors).all(axis=1)))
    if bad:
        raise DivergedError(
            f"the network gives features with NaN or infinity for {bad} of {len(vectors)} images: its training has "
            "diverged; take another model, or train again with a lower optim.lr",
            argument="optim.lr",
        )


def _run(network: nn.Module, inputs: tuple[Tensor, ...], feature: Feature) -> Tensor:
    f_t, f_i = network(*inputs)
    chosen: Tensor = f_i if feature == "f_i" else f_t
    return chosen.float()


def _length(network: nn.Module) -> int:
    """Return the length D of the features of a network."""
    length: int = cast("Any", network).channels
    return length
