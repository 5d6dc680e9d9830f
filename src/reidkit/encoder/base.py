"""The contract of encoders, and features by them: of lists of images and of the samples of a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, cast, overload

import numpy as np
import torch

from reidkit.data.images import open_images
from reidkit.encoder.given_images import GivenImages, refuse_no_list
from reidkit.encoder.inference import InferenceOptions, feature_name
from reidkit.encoder.input_spec import InputSpec
from reidkit.errors import DivergedError, UsageError
from reidkit.hardware import choose_batch
from reidkit.interrupts import interrupts_heard
from reidkit.metrics.calibration_file import Calibration, calibration_path, load_calibration
from reidkit.types import Embeddings, Sample, Samples, as_samples

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.data.sources import ImageSource
    from reidkit.encoder.given_images import Image
    from reidkit.encoder.inference import OnProgress
    from reidkit.types import Missing


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
        """Features float32 [N, D] of RGB pixels uint8 [N, H, W, 3] of the size of `input`, not yet normalised.

        The pixels are RGB whatever `input` says: an encoder that wants them in another order turns them itself.
        """


class ImageEncoder(ABC):
    """An `Encoder` of a file, which also embeds images of any size and the samples of data sets.

    Attributes:
        fingerprint: Names the weights; "" where they are still being trained.
        path: The run folder or the file that it was loaded from; None for one that was not.
    """

    fingerprint: str
    path: Path | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in titles: its recipe, or its file."""

    @property
    @abstractmethod
    def input(self) -> InputSpec:
        """The size, the colours and the normalisation of its images."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """The length D of a feature."""

    @property
    def calibration(self) -> Calibration | None:
        """The thresholds and probabilities that are stored beside the model; None where there are none.

        Raises:
            DataError: the file is damaged, or another model's.
        """
        path = self.path and calibration_path(self.path)
        return load_calibration(path, self.fingerprint) if path and path.is_file() else None

    @abstractmethod
    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features f_i float32 [N, D] of RGB pixels uint8 [N, H, W, 3] of the size of `input`.

        Raises:
            UsageError: the pixels have another size or type.
            DivergedError: the network gives features that are NaN or infinite.
        """

    def made_ready(self) -> ImageEncoder:
        """Return this encoder for many small calls: what each call would do to its network is done once.

        Later changes of the network do not reach it. Features are the same, bit for bit.
        """
        return self

    def features(
        self,
        source: ImageSource,
        options: InferenceOptions,
        tell: Callable[[int], None],
        *,
        feature: str = "f_i",
        flip: bool = False,
    ) -> NDArray[np.float32]:
        """Features float32 [S, D] of the images of a source, of those that are this process's part of the work.

        `tell` is called with the number of images that were run.

        Raises:
            UsageError: this encoder has no such feature.
        """
        if feature_name(feature) != "f_i":
            raise UsageError(
                f"{self.name} gives one feature, that after the neck: f_t is inside the network, which only the run "
                "folder or the .safetensors of a model has",
                argument="feature",
            )
        if options.masks is not None:
            raise UsageError(f"{self.name} takes no masks: leave them out", argument="masks")
        size = options.batch or choose_batch(options.device)
        rows = np.arange(len(source))[options.group.slice_of(len(source))]
        parts = [np.zeros((0, self.dim), np.float32)]
        for first in range(0, len(rows), size):
            pixels, where = source.rows(rows[first : first + size])
            images = np.take(pixels, where, axis=0)
            features = self._encode(images, options)
            if flip:
                mirrored = self._encode(np.ascontiguousarray(images[:, :, ::-1]), options)
                features = (features + mirrored) * np.float32(0.5)
            parts.append(features)
            tell(len(images))
        return np.concatenate(parts)

    def _encode(self, images: NDArray[np.uint8], options: InferenceOptions) -> NDArray[np.float32]:
        """Encode on the device and in the precision of `options`, where the encoder has a choice."""
        del options
        return self.encode(images)

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
        masks: str | os.PathLike[str] | None = ...,
        missing_masks: Missing = ...,
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
        masks: str | os.PathLike[str] | None = ...,
        missing_masks: Missing = ...,
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
        masks: str | os.PathLike[str] | None = None,
        missing_masks: Missing = "refuse",
    ) -> Embeddings | NDArray[np.float32]:
        """Return the features of images: with their labels where these have labels.

        Args:
            images: The samples of a data set, as `dataset.query`; or paths, images of Pillow and RGB pixels
                uint8 [H, W, 3] of any size, in any mixture.
            flip: Take the mean of the features of each image and of its mirror image.
            feature: `f_i` after the neck, or `f_t` before it, which only a network in torch has.
            batch: Images that are run at a time; 0: what fills the device.
            device: `auto` (the GPU where there is one), `cpu` or `cuda`.
            precision: `auto` (bf16 where the device computes with it), `fp32` or `bf16`. What an exported file
                computes in is in the file; OpenVINO alone can be told, and takes fp32 otherwise.
            progress: Called as `progress("images", done, total)`.
            masks: The folder of masks of images given as paths or samples, for a network that takes them.
            missing_masks: Whether images without a mask are refused (`refuse`), or have all `ones`.

        Returns:
            `Embeddings` of samples; float32 [N, D] of other images.

        Raises:
            DataError: an image cannot be read.
            DivergedError: the network gives features that are NaN or infinite.
            UsageError: something that is no list of images; an option that this machine does not have.
        """
        how: dict[str, Any] = {"masks": masks, "missing_masks": missing_masks}
        options = InferenceOptions(device=device, precision=precision, batch=batch, progress=progress, **how)
        refuse_no_list(images)
        if are_samples(images):
            return embed_samples(self, images, "images", options, feature=feature, flip=flip)
        source = open_source(images, self.input, options)
        return embed_source(self, source, "images", options, feature=feature, flip=flip)


class _OwnEncoder(ImageEncoder):
    """A user's own `Encoder`, which only encodes."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.fingerprint = encoder.fingerprint

    @property
    def name(self) -> str:
        return type(self._encoder).__name__

    @property
    def input(self) -> InputSpec:
        return self._encoder.input

    @property
    def dim(self) -> int:
        return self._encoder.dim

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        features = self._encoder.encode(images)
        if np.shape(features) != (len(images), self.dim):
            raise UsageError(
                f"{self.name}.encode gives features {list(np.shape(features))} of {len(images)} images, and its dim is "
                f"{self.dim}: let it give [{len(images)}, {self.dim}]",
                argument="model",
            )
        return features


def as_image_encoder(encoder: Encoder) -> ImageEncoder:
    """Return an encoder that embeds images and samples: the one that it is already, or one around a user's own.

    Raises:
        UsageError: it is no encoder.
    """
    if isinstance(encoder, ImageEncoder):
        return encoder
    if not all(hasattr(encoder, name) for name in ("input", "dim", "fingerprint", "encode")):
        raise UsageError(f"the model is a {type(encoder).__name__}: pass what load_model returns", argument="model")
    if not isinstance(encoder.input, InputSpec):
        raise UsageError(
            f"the input of {type(encoder).__name__} is a {type(encoder.input).__name__}: make it an "
            "InputSpec(height=256, width=128)",
            argument="model",
        )
    return _OwnEncoder(encoder)


def are_samples(
    images: Samples | Sequence[Sample] | Sequence[Image] | NDArray[np.uint8],
) -> TypeGuard[Sequence[Sample]]:
    """Whether these are samples of a data set, and not images as a caller has them."""
    return isinstance(images, Samples) or bool(len(images) and isinstance(images[0], Sample))


def open_source(
    images: Samples | Sequence[Sample] | Sequence[Image] | NDArray[np.uint8], spec: InputSpec, options: InferenceOptions
) -> ImageSource:
    """Open samples, or images as a caller has them, at the size of an encoder.

    Of samples, those that cannot be read are left out where `options` allow it.

    Raises:
        DataError: an image cannot be read.
    """
    if not are_samples(images):
        return GivenImages(cast("Sequence[Image]", images), spec)
    return open_images(
        as_samples(images),
        (spec.height, spec.width),
        resize=spec.resize,
        cache_dir=options.cache_dir,
        skip_unreadable=options.skip_unreadable,
    )


@interrupts_heard()
def embed_samples(
    model: Encoder,
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
    source = open_source(as_samples(samples), model.input, options)
    vectors = embed_source(model, source, name, options, feature=feature, flip=flip)
    table = source.samples
    return Embeddings(vectors, table.pids, table.camids, model.fingerprint, table.paths)


def embed_source(
    model: Encoder,
    source: ImageSource,
    name: str,
    options: InferenceOptions,
    *,
    feature: str = "f_i",
    flip: bool = False,
) -> NDArray[np.float32]:
    """Features float32 [M, D] of all images of a source, in the processes of `options.group` together.

    Raises:
        DataError: an image cannot be read.
        DivergedError: the network gives features that are NaN or infinite.
    """
    part = options.group.slice_of(len(source))
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if options.progress:
            options.progress(name, done, part.stop - part.start)

    vectors = as_image_encoder(model).features(source, options, tell, feature=feature, flip=flip)
    vectors = options.group.gather_rows(torch.from_numpy(vectors)).numpy()
    refuse_diverged(vectors)
    return vectors


def refuse_diverged(vectors: NDArray[np.float32]) -> None:
    """Refuse features that are NaN or infinite: the weights have diverged.

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


def check_pixels(images: NDArray[np.uint8], spec: InputSpec) -> None:
    """Refuse what is not pixels of an encoder's size.

    Raises:
        UsageError: the pixels have another size or type.
    """
    if images.dtype != np.uint8 or images.shape[1:] != (spec.height, spec.width, 3):
        raise UsageError(
            f"images {images.dtype} {list(images.shape)} are not uint8 [N, {spec.height}, {spec.width}, 3]: "
            "model.embed resizes images of any size"
        )
