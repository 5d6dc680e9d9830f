"""What exports cost and gain: images a second of one core beside plain torch, and mAP of each file.

    OMP_NUM_THREADS=1 python -m benchmarks.export speed --model runs/strong
    python -m benchmarks.export accuracy --model runs/strong --data Market-1501-v15.09.15

`speed` measures a ResNet-50 with last stride 1 at 256x128, unless a model is given: eager torch, reidkit's own path in
torch, and the exported files, in turns within one run and by CPU seconds of this process with one thread, so that a
loaded machine slows all alike. The share of the peak is that of 2 flops a lane and cycle of the widest instructions,
measured by a product of matrices in the same turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reidkit.encoder import InferenceOptions, Model, load_model, require_torch
from reidkit.encoder.exported import ExportedEncoder
from reidkit.evaluation import evaluate
from reidkit.export import Parity, export_model
from reidkit.export.int8 import quantise
from reidkit.export.onnx_file import set_metadata
from reidkit.model.network import build_network
from reidkit.model.weights import fingerprint
from reidkit.recipes import get_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

EXPORTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ONNX Runtime fp32": ("fp32.onnx", {}),
    "ONNX Runtime fp16 weights": ("fp16.onnx", {"fp16": True}),
    "ONNX Runtime int8": ("int8.onnx", {"int8": True}),
    "OpenVINO fp32": ("fp32.xml", {"format": "openvino"}),
    "OpenVINO int8": ("int8.xml", {"format": "openvino", "int8": True}),
}
GFLOPS = {(256, 128): 4.06 * 2}
"""Billions of operations of a ResNet-50 with last stride 1 for an image, two for each multiply-add."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "accuracy"))
    parser.add_argument("--model", type=Path, help="a run folder; speed takes untrained weights without one")
    parser.add_argument("--data", type=Path, help="a data set to evaluate on")
    parser.add_argument(
        "--calibration", type=Path, help="images to find the ranges of 8 bits with; else all of the data"
    )
    parser.add_argument("--out", type=Path, help="where exported files are kept, and used again")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    asked = parser.parse_args()
    if asked.what == "accuracy" and not (asked.model and asked.data):
        parser.error("accuracy is that of a trained model on a data set: give --model and --data")
    torch.set_num_threads(1)
    model = require_torch(load_model(asked.model)) if asked.model else untrained()
    with tempfile.TemporaryDirectory() as folder:
        out = asked.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        if asked.what == "speed":
            print_speed(model, for_speed(model, out), asked.turns, asked.batch)
        else:
            print_accuracy(model, exported(model, out, asked.calibration or asked.data), asked.data)


def untrained() -> Model:
    """A ResNet-50 whose weights are drawn."""
    recipe = get_recipe("strong-baseline")
    torch.manual_seed(0)
    network = build_network(recipe.network).eval()
    return Model(network, recipe, fingerprint(network.state_dict()))


def exported(model: Model, folder: Path, calibration: Path | None) -> dict[str, Path]:
    """The exported files by name; those that are there already are used again."""
    files = {}
    for name, (file, how) in EXPORTS.items():
        path = folder / file
        if not path.exists():
            start = time.process_time()
            made = export_model(model, path, calibration=calibration, **how)
            seconds = time.process_time() - start
            print(
                f"{name}: {made.bytes:,} bytes, 1 - cos {made.parity.mean:.2g} in the mean, "
                f"{made.parity.largest:.2g} at most {made.method}, {seconds:.0f} CPU s",
                flush=True,
            )
        files[name] = path
    return files


def for_speed(model: Model, folder: Path) -> dict[str, Path]:
    """Files to time: of 8 bits by one calibration on noise, as neither changes what is computed."""
    import onnx
    import openvino

    plain, eight = folder / "fp32.onnx", folder / "noise8.onnx"
    noise: NDArray[np.uint8] = np.random.default_rng(0).integers(
        0, 256, (16, model.input.height, model.input.width, 3), dtype=np.uint8
    )
    if not plain.exists():
        export_model(model, plain)
    if not eight.exists():
        encoder = load_model(plain)
        assert isinstance(encoder, ExportedEncoder)  # noqa: S101
        far = Parity(0, 0.0, 0.0, "")
        made = quantise(onnx.load(plain), encoder.prepare(noise), lambda _: far, methods=("MinMax",)).model
        set_metadata(made, {"reidkit.input": encoder.metadata["reidkit.input"]})
        eight.write_bytes(made.SerializeToString())
    files = {"ONNX Runtime fp32": plain, "ONNX Runtime int8": eight}
    for name, source in (("OpenVINO fp32", plain), ("OpenVINO int8", eight)):
        target = source.with_suffix(".xml")
        if not target.exists():
            converted = openvino.convert_model(source)
            converted.set_rt_info(json.dumps(model.input.to_json()), ["reidkit", "input"])
            openvino.save_model(converted, target, compress_to_fp16=False)
        files[name] = target
    return files


def print_speed(model: Model, files: Mapping[str, Path], turns: int, batch: int) -> None:
    spec = model.input
    images: NDArray[np.uint8] = (
        np.random.default_rng(0).integers(0, 256, (batch, spec.height, spec.width, 3)).astype(np.uint8)
    )
    ways: dict[str, Callable[[], object]] = {
        "torch, eager": eager(model, images),
        "torch, reidkit": ours(model, images),
    }
    for name, path in files.items():
        ways[name] = partial(load_model(path).encode, images)
    ways["peak"] = product()
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            start = time.process_time()
            way()
            seconds[name].append(time.process_time() - start)
    best = {name: min(found) for name, found in seconds.items()}
    peak = 2 * SIDE**3 / best.pop("peak") / 1e9
    base = batch / best["torch, eager"]
    operations = GFLOPS.get((spec.height, spec.width), 0)
    print(f"peak by a float32 product of matrices: {peak:.0f} GFLOP/s")
    for name, one in best.items():
        rate = batch / one
        share = f"{100 * rate * operations / peak:.0f} % of the peak" if operations else ""
        print(f"{name:28} {rate:7.1f} images/s  {rate / base:5.2f} x eager  {share}", flush=True)


SIDE = 1024


def product() -> Callable[[], object]:
    left, right = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    return lambda: left @ right


@torch.inference_mode()
def eager(model: Model, images: NDArray[np.uint8]) -> Callable[[], object]:
    """The network as it was trained, in evaluation mode, on a batch that is normalised in torch."""
    mean = torch.tensor(model.input.mean).view(1, 3, 1, 1)
    std = torch.tensor(model.input.std).view(1, 3, 1, 1)
    network = model.network.eval()

    def run() -> object:
        with torch.inference_mode():
            batch = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
            return network(batch.contiguous()).f_i

    return run


def ours(model: Model, images: NDArray[np.uint8]) -> Callable[[], object]:
    ready = model.made_ready()
    return lambda: ready.embed(list(images), batch=len(images), device="cpu", precision="auto")


def print_accuracy(model: Model, files: Mapping[str, Path], data: Path) -> None:
    options = InferenceOptions(device="cpu", precision="fp32", batch=32)
    before = evaluate(model, data, options=options).scores
    print(f"{'torch fp32':28} rank-1 {100 * before.rank1:.2f} mAP {100 * before.map:.2f}", flush=True)
    for name, path in files.items():
        after = evaluate(load_model(path), data, options=options).scores
        change = 100 * (after.map - before.map)
        print(f"{name:28} rank-1 {100 * after.rank1:.2f} mAP {100 * after.map:.2f} ({change:+.2f})", flush=True)


if __name__ == "__main__":
    main()
