"""Export a trained network: write the file, check it against torch, and put it in place."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
import torch

from reidkit import recipe as recipes
from reidkit.arguments import check_whole, with_fields
from reidkit.atomic import refuse_address, write_bytes_atomic
from reidkit.encoder import InputSpec, read_images, require_torch
from reidkit.encoder.load import load_exported
from reidkit.encoder.openvino_runtime import import_openvino
from reidkit.errors import UsageError
from reidkit.export.check_images import CHECKED, CheckImages, read_check_images
from reidkit.export.graph import ExportedNetwork
from reidkit.export.in_place import put_in_place
from reidkit.export.int8 import MOST, quantise
from reidkit.export.onnx_file import graph_digest, halve_weights, require_onnx, set_metadata, to_onnx
from reidkit.export.openvino_file import save_openvino
from reidkit.export.parity import Parity, measure_parity, require_parity, require_same_pixels
from reidkit.export.presets import FRONTS, Front, Preset, check_fit, check_name, default_name, side_files, spec_of
from reidkit.metrics.calibration_file import to_json
from reidkit.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from typing import Unpack

    from numpy.typing import NDArray

    from reidkit.data.image_list import Named
    from reidkit.encoder import Encoder, Model
    from reidkit.encoder.exported import ExportedEncoder

log = logging.getLogger(__name__)

FORMAT = "reidkit/exported/1"
LICENCE = (
    "The weights belong to whoever trained them. Data sets for research, as Market-1501 and MSMT17 are, allow no "
    "commercial use of what was trained on them: ask their owners."
)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What an exported file is to be; what is None is as the preset says.

    `format`: onnx or openvino. `preset`: the program that will load the file. `input`: float32, or uint8 with colour
    order, normalisation and resizing in the graph, channels last. `colour`: in which order channels come in. `resize`:
    whether images of any size are resized in the graph. `normalise`: whether features leave with length 1. `fp16`:
    weights stored as float16. `int8`: quantised. `opset`: the version of ONNX's operators. `licence`: a note that goes
    into the file.

    Raises:
        UsageError: options that exclude each other.
    """

    format: Literal["onnx", "openvino"] = "onnx"
    preset: Preset = "plain"
    input: Literal["float32", "uint8"] | None = None
    colour: Literal["rgb", "bgr"] | None = None
    resize: bool | None = None
    normalise: bool | None = None
    fp16: bool = False
    int8: bool = False
    opset: int | None = None
    licence: str = LICENCE

    def __post_init__(self) -> None:
        for name, value, known in (
            ("format", self.format, ("onnx", "openvino")),
            ("preset", self.preset, tuple(FRONTS)),
            ("input", self.input, ("float32", "uint8", None)),
            ("colour", self.colour, ("rgb", "bgr", None)),
        ):
            if value not in known:
                words = ", ".join(str(one) for one in known if one)
                raise UsageError(f"there is no {name} {value}: choose of {words}", argument=name)
        if self.opset is not None:
            object.__setattr__(self, "opset", check_whole(self.opset, "opset", least=1))
        if self.fp16 and self.int8:
            raise UsageError("weights are stored in 16 bits or in 8: choose fp16 or int8", argument="fp16")
        check_fit(self.preset, self.front, self.format)
        if self.front.resize and (self.opset or self.front.opset or 18) < 18:
            raise UsageError(
                "operators below version 18 cannot resize as the network was trained: choose no resize, or opset 18",
                argument="resize",
            )

    @property
    def front(self) -> Front:
        """What stands before and behind the network in the graph."""
        front = FRONTS[self.preset]
        if self.input == "uint8":
            front = replace(front, values="uint8", channels_last=True, square=0, resize=self.preset == "plain")
        elif self.input == "float32" and front.values == "uint8":
            front = replace(front, values="0-255", channels_last=False)
        if self.colour is not None:
            front = replace(front, bgr=self.colour == "bgr")
        if self.resize is not None:
            front = replace(front, resize=self.resize, square=0 if self.resize else front.square)
        return front if self.normalise is None else replace(front, unit=self.normalise)

    @property
    def precision(self) -> str:
        """What the numbers are: fp32, fp16 or int8."""
        return "int8" if self.int8 else "fp16" if self.fp16 else "fp32"


@dataclass(frozen=True)
class Exported:
    """A file that was exported, and how near its features come to the network's.

    `files`: all that was written. `parity`: on images at the network's size. `resized`: on images of other sizes that
    the graph resizes, against the same resized by reidkit. `tried`: how near each calibration came, of which `method`
    was taken. `synthetic`: no images were given, and those of the check were synthetic.
    """

    path: Path
    files: tuple[Path, ...]
    input: InputSpec
    dim: int
    bytes: int
    fingerprint: str
    parity: Parity
    resized: Parity | None = None
    method: str = ""
    tried: dict[str, Parity] = field(default_factory=dict)
    synthetic: bool = False
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return {
            "file": str(self.path),
            "files": [str(file) for file in self.files],
            "bytes": self.bytes,
            "input": self.input.to_json(),
            "dim": self.dim,
            "model": self.fingerprint,
            "parity": self.parity.as_json(),
            "resized": self.resized.as_json() if self.resized else None,
            "calibration": self.method or None,
            "calibrations": {name: parity.as_json() for name, parity in self.tried.items()},
            "synthetic_images": self.synthetic,
            "seconds": round(self.seconds, 3),
        }


class ExportChanges(TypedDict, total=False):
    """The fields of `ExportOptions`, by name."""

    format: Literal["onnx", "openvino"]
    preset: Preset
    input: Literal["float32", "uint8"] | None
    colour: Literal["rgb", "bgr"] | None
    resize: bool | None
    normalise: bool | None
    fp16: bool
    int8: bool
    opset: int | None
    licence: str


def export_model(
    model: Encoder,
    out: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    *,
    calibration: Named | Iterable[Named] | None = None,
    **changes: Unpack[ExportChanges],
) -> Exported:
    """Write a trained network as an ONNX or OpenVINO file, once it gives the features that torch gives.

    Args:
        model: What `load_model` returns of a run folder or a `.safetensors`.
        out: The file, or for the preset triton the folder of the model; None: beside the model.
        options: What the file is to be; None: a plain ONNX file in float32.
        calibration: Images to check the file with, and to find the ranges of 8 bits: folders, files, lists, data sets
            or samples. None: synthetic images, with a warning; 8 bits need real ones.
        changes: Single fields of the options, by name: `format`, `preset`, `int8`, ...

    Raises:
        ParityError: the file gives other features than torch; it is not put in place.
        UsageError: an exported file as `model`, or one that takes masks; options that exclude each other; a package is
            not installed.
        WeightsError: the network cannot be expressed in the format.
        DataError: images that cannot be read; the file cannot be written.
    """
    started = time.perf_counter()
    options = with_fields(options, ExportOptions, changes)
    trained = require_torch(model, "an export")
    if trained.network.mask_channels:
        raise UsageError(
            "an exported file takes images alone, and this network takes masks, too: export one without masks"
        )
    if getattr(trained.network, "takes_cameras", False):
        log.warning(
            "an exported file is told no cameras and takes the mean of all, so that its features lie apart from those "
            "that this model gives of a data set: make query and gallery by the file"
        )
    require_onnx(openvino=options.format == "openvino")
    if options.format == "openvino":
        import_openvino()
    if options.int8 and calibration is None:
        raise UsageError(
            "8 bits need images of your cameras to find the range of each number: give 200 or more",
            argument="calibration",
        )
    path = _place(trained, out, options)
    refuse_address(path)
    check_name(options.preset, path)
    images = read_check_images(calibration, trained.input, CHECKED + (MOST if options.int8 else 0))
    job = _Job(trained, options, images)
    with tempfile.TemporaryDirectory(prefix="reidkit-export-") as folder:
        made = job.make(Path(folder))
        files = put_in_place(made, path, trained.path)
        for place, text in side_files(options.preset, path, job.spec, job.result.dim, job.front).items():
            write_bytes_atomic(place, text.encode())
            files.append(place)
    return replace(job.result, path=path, files=tuple(files), bytes=_size(path), seconds=time.perf_counter() - started)


class _Job:
    """The steps of one export; `result` is what is known of the file when `make` has returned."""

    result: Exported

    def __init__(self, model: Model, options: ExportOptions, images: CheckImages) -> None:
        self.model, self.options, self.front = model, options, options.front
        half = min(CHECKED, len(images.files) // 2)
        self.check, self.ranges = images.split(half) if options.int8 else (images, images)
        self.spec = spec_of(self.front, model.input)
        self.network = ExportedNetwork(model.network, model.input, self.front).eval()
        self._wanted = _torch_features(model, self.check)

    def make(self, folder: Path) -> Path:
        """Write the file into `folder` and check it."""
        size = (self.spec.height, self.spec.width)
        graph = to_onnx(self.network, size, self.front, self.options.opset or self.front.opset)
        if self.front.resize:
            require_same_pixels(graph, self.front, self.model.input)
        method, tried = "", {}
        if self.options.int8:
            quantised = quantise(
                graph, self._as_input(folder, graph, self.ranges), lambda made: self._near(made, folder)
            )
            graph, method, tried = quantised.model, quantised.method, quantised.tried
        if self.options.fp16 and self.options.format == "onnx":
            halve_weights(graph)
        path = folder / ("model.xml" if self.options.format == "openvino" else "model.onnx")
        self._write(graph, path, method)
        found = load_exported(path)
        parity = self._compare(found)
        require_parity(parity, "square" if self.front.square else self.options.precision)
        resized = self._resized(found) if self.front.resize else None
        if resized:
            require_parity(resized, "resize", parity)
        self.result = Exported(
            path, (), found.input, found.dim, 0, found.fingerprint, parity, resized, method, tried, self.check.synthetic
        )
        return path

    def _write(self, graph: Any, path: Path, method: str = "") -> None:
        metadata = self._metadata(method)
        if self.options.format == "openvino":
            save_openvino(graph, path, metadata, half=self.options.fp16)
            return
        if not self.options.int8:
            metadata["reidkit.digest"] = graph_digest(graph)
        set_metadata(graph, metadata)
        path.write_bytes(graph.SerializeToString())

    def _metadata(self, method: str) -> dict[str, str]:
        model, options = self.model, self.options
        facts = {
            "format": FORMAT,
            "version": __version__,
            "recipe": json.dumps(recipes.to_json(model.recipe)),
            "fingerprint": model.fingerprint,
            "input": json.dumps(self.spec.to_json()),
            "preset": options.preset,
            "precision": f"int8, {method}" if options.int8 else options.precision,
            "licence": options.licence,
        }
        known = model.calibration
        if known and not options.int8:  # at 8 bits the same threshold accepts other pairs
            facts["threshold"] = repr(known.threshold())
            facts["calibration"] = json.dumps(to_json(known))
        return {f"reidkit.{key}": value for key, value in facts.items()}

    def _near(self, graph: Any, folder: Path) -> Parity:
        """Return how near a quantised model comes to float32."""
        import onnx

        made = onnx.ModelProto()
        made.CopyFrom(graph)
        set_metadata(made, self._metadata("tried"))
        path = folder / "tried.onnx"
        path.write_bytes(made.SerializeToString())
        return self._compare(load_exported(path))

    def _compare(self, found: ExportedEncoder) -> Parity:
        """Compare with torch: the first image by itself, so that a batch that is built in would show."""
        pixels = _at_size(self.check, found.input, self.model.input)
        features = np.concatenate([found.encode(pixels[:1]), found.encode(pixels[1:])])
        return measure_parity(self._wanted, features, [str(file) for file in self.check.files])

    def _resized(self, found: ExportedEncoder) -> Parity:
        """Compare features of images of other sizes, resized in the graph, with those of the same by reidkit's filter.

        Both are by the file: how near it is to torch at the network's size is known already.
        """
        images = self.check.in_other_sizes()
        wanted = [found.encode(pixels) for pixels in read_images(images.values(), self.model.input)]
        features = [found.encode_whole(image[None]) for image in images.values()]
        return measure_parity(np.concatenate(wanted), np.concatenate(features), list(images))

    def _as_input(self, folder: Path, graph: Any, images: CheckImages) -> NDArray[Any]:
        """Return images as the file takes them."""
        path = folder / "float.onnx"
        set_metadata(graph, self._metadata(""))
        path.write_bytes(graph.SerializeToString())
        encoder = load_exported(path)
        return encoder.prepare(_at_size(images, encoder.input, self.model.input)[:MOST])


def _torch_features(model: Model, images: CheckImages) -> NDArray[np.float32]:
    """Features float32 [N, D] by torch, in float32."""
    before = next((one.device for one in model.network.parameters()), torch.device("cpu"))
    features: NDArray[np.float32] = model.embed(list(images.pixels), device="cpu", precision="fp32", batch=32)
    model.network.to(before)
    return features


def _at_size(images: CheckImages, spec: InputSpec, own: InputSpec) -> NDArray[np.uint8]:
    """Return images at the size of the file, where that is not the network's."""
    if (spec.height, spec.width) == (own.height, own.width):
        return images.pixels
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(images.pixels).permute(0, 3, 1, 2).float(),
        size=(spec.height, spec.width),
        mode="bilinear",
        antialias=True,
    )
    pixels: NDArray[np.uint8] = resized.round().clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()
    return pixels


def _place(model: Model, out: str | os.PathLike[str] | None, options: ExportOptions) -> Path:
    """Return the path of the file.

    Raises:
        UsageError: the name has another ending than the format, or nothing says where.
    """
    ending = ".xml" if options.format == "openvino" else ".onnx"
    if options.preset == "triton":
        folder = Path(out) if out is not None else _folder_of(model) / "triton"
        return folder / "1" / "model.onnx"
    if out is None:
        folder = _folder_of(model)
        ending = ending if options.precision == "fp32" else f"-{options.precision}{ending}"
        stem = folder.name if options.preset == "boxmot" else "model"
        return folder / default_name(options.preset, stem, model.recipe.network.backbone, ending)
    path = Path(out)
    if path.suffix.lower() != ending:
        raise UsageError(
            f"{path} does not end in {ending}, as a file of the format {options.format} has to: name it so, or choose "
            "another format",
            argument="out",
        )
    return path


def _folder_of(model: Model) -> Path:
    if model.path is None:
        raise UsageError("the model is in no file, so that nothing says where it goes: pass out", argument="out")
    return model.path if model.path.is_dir() else model.path.parent


def _size(path: Path) -> int:
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)
