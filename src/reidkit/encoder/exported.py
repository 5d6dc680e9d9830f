"""Encoders of exported files, whatever runtime they use: their input spec, and images in the batches they take."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from reidkit.encoder.base import ImageEncoder, check_pixels, refuse_diverged
from reidkit.encoder.input_spec import (
    HOW,
    InputSpec,
    parse_input_spec,
    refuse_other_size,
    spec_from_json,
)
from reidkit.errors import MissingFileError, UsageError, WeightsError
from reidkit.metrics.calibration_file import Calibration, read_calibration
from reidkit.terminal import first_few

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.encoder.inference import InferenceOptions

    Shape = tuple[int | None, ...]

LONGEST = 65_536
"""Numbers of a feature, at most: what is longer is no feature."""

BY_NAME = ("osnet", "lmbn", "mlfn", "hacnn", "youtureid")
"""Parts of the names of files that torchreid, BoxMOT and OpenCV's zoo publish, all with the input of torchreid."""


@dataclass(frozen=True)
class Graph:
    """What a file says of itself: one input of images, its outputs, and its metadata.

    Sides that may have any length are None.
    """

    input_name: str
    shape: Shape
    dtype: np.dtype[Any]
    outputs: Mapping[str, Shape]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def channels_last(self) -> bool:
        """Whether images are [N, H, W, 3], and not [N, 3, H, W]."""
        return self.shape[1] != 3 and self.shape[3] == 3

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width."""
        return self.shape[1:3] if self.channels_last else self.shape[2:4]  # type: ignore[return-value]

    @property
    def batch(self) -> int | None:
        """How many images have to be run at a time; None: any number."""
        return self.shape[0]


class Runtime(Protocol):
    """What runs a file."""

    graph: Graph

    def run(self, images: NDArray[Any], output: str, options: InferenceOptions | None) -> NDArray[Any]:
        """Return the output of this name for a batch, as the graph takes it."""

    def graph_digest(self) -> str:
        """Return a digest of the network without its metadata; "" where the runtime has none."""


class ExportedEncoder(ImageEncoder):
    """A network in an exported file, run by ONNX Runtime or OpenVINO.

    Attributes:
        path: The file.
        output: The name of the output that is the feature.
        origin: Where its input spec is from: `given`, `metadata`, or the name by which it was recognised.
        metadata: What the file says of itself, as text by key; that of reidkit's exports begins with `reidkit.`.
    """

    path: Path

    def __init__(self, path: Path, runtime: Runtime, digest: str, input_spec: InputSpec | str | None = None) -> None:
        self.path, self._runtime = path, runtime
        self.metadata = dict(runtime.graph.metadata)
        self._spec, self.origin = choose_spec(path, runtime.graph, input_spec)
        self.output = _choose_output(path, runtime.graph, self._spec.output)
        told = self.metadata.get("reidkit.digest")
        own = bool(told) and self.origin == "metadata" and told == runtime.graph_digest()
        # A file that reidkit has checked against the network it was made of has its fingerprint: a gallery and a
        # calibration of the one are those of the other.
        self.fingerprint = self.metadata["reidkit.fingerprint"] if own else self._spec.digest_over(digest)
        self._dim = self._find_dim()
        # What prepares a pixel, by channel of the file: pixel * gain + shift.
        spec = self._spec
        self._gain = [np.float32(1 / (spec.scale * std)) for std in spec.std]
        self._shift = [np.float32(-mean / std) for mean, std in zip(spec.mean, spec.std, strict=True)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {self.fingerprint}, dim={self.dim})"

    @property
    def name(self) -> str:
        """The name of the file, without its ending."""
        return self.path.stem

    @property
    def input(self) -> InputSpec:
        """The size, the colours and the normalisation of its images."""
        return self._spec

    @property
    def dim(self) -> int:
        """The length D of a feature."""
        return self._dim

    @property
    def calibration(self) -> Calibration | None:
        """The thresholds and probabilities beside the file, or those that its export has written into it.

        Raises:
            DataError: the file beside it is damaged, or another model's.
        """
        text = self.metadata.get("reidkit.calibration", "")
        if (beside := super().calibration) or not text or self.fingerprint != self.metadata.get("reidkit.fingerprint"):
            return beside
        return read_calibration(text.encode(), f"the calibration in {self.path}", self.fingerprint)

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features float32 [N, D] of RGB pixels uint8 [N, H, W, 3] of the size of `input`, as the file gives them.

        Raises:
            UsageError: the pixels have another size or type.
            DivergedError: the network gives features that are NaN or infinite.
            WeightsError: the file cannot be run.
        """
        check_pixels(images, self.input)
        features = self._encode(images, None)
        refuse_diverged(features)
        return features

    def encode_whole(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of RGB pixels uint8 [N, H, W, 3] of any size, by a file that resizes images itself.

        Raises:
            WeightsError: the file takes images of one size.
        """
        return self._encode(images, None)

    def _encode(self, images: NDArray[np.uint8], options: InferenceOptions | None) -> NDArray[np.float32]:
        fixed = self._runtime.graph.batch
        step = fixed or len(images)
        parts = [np.zeros((0, self.dim), np.float32)]
        for first in range(0, len(images), max(step, 1)):
            chosen = images[first : first + step]
            missing = (fixed or len(chosen)) - len(chosen)
            if missing:  # a batch of a fixed size is filled up, and what that adds is cut off
                chosen = np.concatenate([chosen, np.repeat(chosen[-1:], missing, axis=0)])
            parts.append(self._run(self.prepare(chosen), options)[: len(chosen) - missing])
        return np.concatenate(parts)

    def _run(self, batch: NDArray[Any], options: InferenceOptions | None) -> NDArray[np.float32]:
        """Return float32 [B, D] of a batch as the file takes it.

        Raises:
            WeightsError: it cannot be run, or gives something else than one vector for each image.
        """
        found = self._runtime.run(batch, self.output, options)
        if found.ndim == 4 and found.shape[2:] == (1, 1):
            found = found[:, :, 0, 0]
        if found.ndim != 2 or len(found) != len(batch) or found.shape[1] != getattr(self, "_dim", found.shape[1]):
            raise WeightsError(
                f"{self.path} gives {list(found.shape)} for {len(batch)} images and not one vector for each: give a "
                "network that makes features, or name another output in the input spec (output=NAME)"
            )
        return found.astype(np.float32, copy=False)

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Return RGB pixels uint8 [B, H, W, 3] as the file takes them: colours, range, normalisation, layout, type."""
        graph, spec = self._runtime.graph, self._spec
        order = (0, 1, 2) if spec.colour == "rgb" else (2, 1, 0)
        if graph.dtype == np.uint8:
            turned = images if spec.colour == "rgb" else images[..., ::-1]
            return np.ascontiguousarray(turned if graph.channels_last else turned.transpose(0, 3, 1, 2))
        out = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
        for channel, source in enumerate(order):
            np.multiply(images[..., source], self._gain[channel], out=out[:, channel])
            out[:, channel] += self._shift[channel]
        turned_out = np.ascontiguousarray(out.transpose(0, 2, 3, 1)) if graph.channels_last else out
        return turned_out.astype(graph.dtype, copy=False)

    def _find_dim(self) -> int:
        """Return D: as the file says, or by running blank images where it does not."""
        told = self._runtime.graph.outputs[self.output][1:]
        if told and all(side is not None for side in told):
            length = int(np.prod([side or 0 for side in told]))
        else:
            graph, spec = self._runtime.graph, self._spec
            shape = (3, spec.height, spec.width) if not graph.channels_last else (spec.height, spec.width, 3)
            length = self._run(np.zeros((graph.batch or 1, *shape), graph.dtype), None).shape[1]
        if not 1 <= length <= LONGEST:
            raise WeightsError(f"{self.path} gives {length:,} numbers for an image, which is no feature")
        return length


def choose_spec(path: Path, graph: Graph, given: InputSpec | str | None) -> tuple[InputSpec, str]:
    """Return the input spec of a file, and where it is from: given, the file's metadata, or a known name.

    Raises:
        UsageError: nothing says how its images are made, or what is given does not fit the file.
    """
    known = (graph.size[0], graph.size[1])
    size = (known[0], known[1]) if known[0] and known[1] else None
    if isinstance(given, InputSpec):
        spec, origin = given, "given"
    elif given == "auto":
        raise UsageError(
            "the input spec 'auto' tries the known ones on a data set: use `reidkit evaluate MODEL --data DIR "
            "--input-spec auto`, or rk.find_input_spec, and then give the one that fits",
            argument="input_spec",
        )
    elif given is not None:
        spec, origin = parse_input_spec(given, size), "given"
    elif text := graph.metadata.get("reidkit.input"):
        spec, origin = spec_from_json(text), "metadata"
    elif preset := _recognise(path, graph):
        spec, origin = parse_input_spec(preset, size), preset
    else:
        raise UsageError(
            f"nothing in {path} says how its images are made, and a wrong guess scores low without an error: give the "
            f"input spec ({HOW}), or try the known ones on your data with `reidkit evaluate MODEL --data DIR "
            "--input-spec auto`",
            argument="input_spec",
        )
    refuse_other_size(spec, known)
    return spec, origin


def _recognise(path: Path, graph: Graph) -> str:
    """Return the preset of a file that is known by the names of its input and output, or by its own; "" for others."""
    if graph.input_name == "data" and "reid_embedding" in graph.outputs:
        return "openvino-retail"
    if graph.input_name == "input" and "fc_pred" in graph.outputs:
        return "deepstream"
    return "torchreid" if any(name in path.name.lower() for name in BY_NAME) else ""


def _choose_output(path: Path, graph: Graph, wanted: str) -> str:
    """Return the name of the output that is the feature.

    Raises:
        UsageError: there is no output of this name.
        WeightsError: no output can be a feature.
    """
    if wanted:
        if wanted not in graph.outputs:
            raise UsageError(f"{path} has no output {wanted!a}: it has {_names(graph.outputs)}", argument="input_spec")
        return wanted
    for name, shape in graph.outputs.items():
        if len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1)) or not shape:
            return name
    raise WeightsError(f"{path} has no output of one vector for each image, but {_names(graph.outputs)}")


def check_input(path: Path, inputs: Sequence[tuple[str, Shape, np.dtype[Any] | None]]) -> None:
    """Refuse what is no network of images.

    `inputs`: name, shape and type of each; None where the type is no number.

    Raises:
        WeightsError: there is not one input, or it is not one of images.
    """
    if len(inputs) != 1:
        names = _names(name for name, _, _ in inputs)
        raise WeightsError(f"{path} has {len(inputs)} inputs ({names}) and not one of images: give a ReID network")
    name, shape, dtype = inputs[0]
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or any(side is not None and side < 1 for side in shape):
        sides = ", ".join("?" if side is None else str(side) for side in shape)
        raise WeightsError(f"{path} takes [{sides}] and not images [N, 3, H, W] or [N, H, W, 3]: give a ReID network")
    if dtype is None or dtype not in (np.uint8, np.float16, np.float32, np.float64):
        raise WeightsError(f"{path} takes {dtype or 'no numbers'} at {name!a}: give one of float32 or uint8")


def require_file(path: Path) -> None:
    """Refuse what is no file, before a library opens it.

    Raises:
        MissingFileError: there is nothing.
        WeightsError: a folder, a device, a pipe, or an empty file.
    """
    try:
        found = path.stat()
    except OSError as error:
        if os.path.lexists(path) and not isinstance(error, PermissionError):
            raise WeightsError(f"{path} is a link that leads nowhere: give the file itself") from None
        raise MissingFileError(f"{path} cannot be read ({error.strerror}): give a file") from None
    if not stat.S_ISREG(found.st_mode):
        raise WeightsError(f"{path} is no file, but a folder, a pipe or a device: give the file itself")
    if not found.st_size:
        raise WeightsError(f"{path} is empty: copy it again")


def digest_of_files(paths: Iterable[Path]) -> str:
    """Return the SHA-256 over the bytes of files, one after the other.

    Raises:
        WeightsError: one cannot be read.
    """
    total = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while piece := file.read(1 << 22):
                    total.update(piece)
        except OSError as error:
            raise WeightsError(
                f"{path} cannot be read ({error.strerror}): see that it is there and may be read"
            ) from None
    return total.hexdigest()


def _names(names: Iterable[str]) -> str:
    return first_few(map(ascii, names), 5) or "none"
