"""How other programs want a network: what its input and output are, what its file is called, what lies beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from reidkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.encoder.input_spec import InputSpec

Preset = Literal["plain", "boxmot", "deepstream", "ultralytics", "opencv", "openvino", "triton"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
Values = Literal["normalised", "0-1", "0-255", "uint8"]
"""What a pixel is when it comes in: normalised outside, or 0 to 1, or 0 to 255, as float32 or as bytes."""


@dataclass(frozen=True, kw_only=True)
class Front:
    """What stands before and behind the network in an exported graph.

    `values`: what pixels come in; anything but normalised is normalised in the graph. `bgr`: blue comes first.
    `channels_last`: images are [N, H, W, 3]. `resize`: images of any size are resized in the graph. `square`: they come
    as squares of that many pixels and are squeezed to the network's size. `unit`: features leave with length 1.
    """

    values: Values = "normalised"
    bgr: bool = False
    channels_last: bool = False
    resize: bool = False
    square: int = 0
    unit: bool = False
    input_name: str = "images"
    output_name: str = "embedding"
    opset: int | None = None


FRONTS: dict[Preset, Front] = {
    "plain": Front(),
    "boxmot": Front(),
    "opencv": Front(),
    "deepstream": Front(values="0-255", unit=True, opset=17),
    "ultralytics": Front(values="0-1", square=256, unit=True),
    "openvino": Front(values="0-255", bgr=True, input_name="data", output_name="reid_embedding"),
    "triton": Front(values="uint8", channels_last=True, unit=True),
}

CONFUSED = ("veri", "vehicleid", "clip", "lmbn", "hacnn")
"""Words in a file's name that BoxMOT takes for another network, with other images."""

BOXMOT = ("resnet50", "resnet101", "mobilenetv2_x1_0", "mobilenetv2_x1_4", "osnet_x1_0", "osnet_x0_75", "osnet_x0_5")
BOXMOT_NAMES = (*BOXMOT, "osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x1_0", "mlfn")
"""Names that BoxMOT looks for in a file's name; it opens no file in whose name it finds none."""


def default_name(preset: Preset, stem: str, backbone: str, ending: str) -> str:
    """Return what the file of a preset is called: none replaces another's. For BoxMOT `stem` is the run's name."""
    if preset == "boxmot":
        return f"{boxmot_name(backbone)}_{stem}{ending}"
    return f"{stem}{ending}" if preset == "plain" else f"{stem}-{preset}{ending}"


def boxmot_name(backbone: str) -> str:
    """Return the name that BoxMOT knows a recipe's backbone by; of others it only matters that there is one."""
    theirs = backbone.replace("-", "_")
    return theirs if theirs in BOXMOT_NAMES else "resnet50"


def check_name(preset: Preset, path: Path) -> None:
    """Refuse a name by which the other program would take the file for something else.

    Raises:
        UsageError: BoxMOT would not open it, or with another size and other colours.
    """
    if preset != "boxmot":
        return
    name = path.name.lower()
    if word := next((word for word in CONFUSED if word in name), None):
        raise UsageError(
            f"BoxMOT takes a file with {word!r} in its name for another network, with other images: name it otherwise",
            argument="out",
        )
    if not any(known in name for known in BOXMOT_NAMES):
        raise UsageError(
            f"BoxMOT opens no file in whose name it finds no network that it knows: call it resnet50_{path.name}",
            argument="out",
        )


def check_fit(preset: Preset, front: Front, file_format: str) -> None:
    """Refuse a file that the other program does not read, and images that it does not give and cannot be told to give.

    Raises:
        UsageError: an OpenVINO file for DeepStream or Triton; bytes or BGR where floats or RGB come in all the same.
    """
    if preset in ("deepstream", "triton") and file_format == "openvino":
        raise UsageError(f"the preset {preset} is for an ONNX file: leave out format", argument="format")
    if preset in ("boxmot", "deepstream", "ultralytics") and front.values == "uint8":
        raise UsageError(f"the program of the preset {preset} gives floats: leave out input", argument="input")
    if preset in ("boxmot", "ultralytics") and front.bgr:
        raise UsageError(f"the program of the preset {preset} gives RGB: leave out colour", argument="colour")


def side_files(preset: Preset, path: Path, spec: InputSpec, dim: int, front: Front) -> dict[Path, str]:
    """Return the files that belong beside an exported one, with their text."""
    if preset == "boxmot":
        return {path.with_name(f"{path.name}.metadata.json"): _boxmot(path, spec)}
    if preset == "deepstream":
        return {
            path.with_suffix(".nvtracker.yml"): _nvtracker(path, spec, dim, front),
            path.with_suffix(".nvinfer.txt"): _nvinfer(path, spec, front),
        }
    if preset == "triton":
        return {path.parent.parent / "config.pbtxt": _triton(path, spec, dim, front)}
    return {}


def _boxmot(path: Path, spec: InputSpec) -> str:
    name = next((known for known in BOXMOT_NAMES if known in path.name.lower()), "resnet50")
    facts = {
        "schema_version": 1,
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "model_name": name,
        "num_classes": 1,
        "preprocess": "resize",
        "model_kwargs": {},
        "img_size": [spec.height, spec.width],
    }
    return f"{json.dumps(facts, indent=2)}\n"


def _nvtracker(path: Path, spec: InputSpec, dim: int, front: Front) -> str:
    """The section of nvtracker's configuration: the graph itself normalises, and the features where it is to."""
    return f"""# DeepStream's nvtracker: put this section into the tracker's configuration.
ReID:
  reidType: 2                     # re-association; 1: DeepSORT, 3: both
  batchSize: 100
  workspaceSize: 1000
  reidFeatureSize: {dim}
  reidHistorySize: 100
  inferDims: [3, {spec.height}, {spec.width}]
  networkMode: 1                  # fp16; 0: fp32
  inputOrder: 0                   # NCHW
  colorFormat: {int(front.bgr)}                  # 0: RGB, 1: BGR
  offsets: [0.0, 0.0, 0.0]        # mean and deviation are in the file
  netScaleFactor: 1.0
  keepAspc: 0                     # the network was trained on images that were resized without a border
  useVPICropScaler: 1
  addFeatureNormalization: {int(not front.unit)}      # 0: the file gives features of length 1
  onnxFile: "{path.name}"
  modelEngineFile: "{path.name}_b100_gpu0_fp16.engine"
"""


def _nvinfer(path: Path, spec: InputSpec, front: Front) -> str:
    return f"""# The same file as a secondary nvinfer element.
[property]
onnx-file={path.name}
infer-dims=3;{spec.height};{spec.width}
batch-size=16
net-scale-factor=1.0
offsets=0;0;0
model-color-format={int(front.bgr)}
maintain-aspect-ratio=0
network-mode=2
network-type=100
process-mode=2
output-tensor-meta=1
"""


def _triton(path: Path, spec: InputSpec, dim: int, front: Front) -> str:
    kind = "TYPE_UINT8" if front.values == "uint8" else "TYPE_FP32"
    size = [-1, -1] if front.resize else [spec.height, spec.width]
    dims = [*size, 3] if front.channels_last else [3, *size]
    return f"""name: "{path.parent.parent.name}"
backend: "onnxruntime"
max_batch_size: 128
input [ {{ name: "{front.input_name}" data_type: {kind} dims: {dims} }} ]
output [ {{ name: "{front.output_name}" data_type: TYPE_FP32 dims: [{dim}] }} ]
dynamic_batching {{ preferred_batch_size: [16, 64] max_queue_delay_microseconds: 2000 }}
"""


def spec_of(front: Front, spec: InputSpec) -> InputSpec:
    """Return what the exported file takes, where the network itself takes `spec`."""
    changed = replace(
        spec,
        height=front.square or spec.height,
        width=front.square or spec.width,
        colour="bgr" if front.bgr else "rgb",
    )
    if front.values == "normalised":  # mean and deviation are in the order of the colours
        return replace(changed, mean=spec.mean[::-1], std=spec.std[::-1]) if front.bgr else changed
    scale = 255.0 if front.values == "0-1" else 1.0
    return replace(changed, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), scale=scale)
