"""Import a file of each family, embed images, export the model to ONNX, and embed them again: how far apart they are.

python -m benchmarks.imports FOLDER_OF_IMAGES
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tests.model.convert.families import CASES

from reidkit.encoder import load_model
from reidkit.export import export_model
from reidkit.train.foreign_models import import_weights

SMALL = {"images.height": 96, "images.width": 48}
"""The size of images, but of transformers, whose table of positions says theirs."""


def main() -> None:
    """Print a line for each family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="a folder of images")
    images = sorted(parser.parse_args().images.rglob("*.jpg"))[:16]
    write(f"{'family':24} {'backbone':20} {'D':>5}  {'import':>8}  {'ONNX to torch':>14}")
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            write(row(name, images, Path(folder)))


def row(name: str, images: list[Path], folder: Path) -> str:
    """Return the line of one family: the seconds of its import, and |onnx - torch| / |torch| over all features."""
    case = CASES[name]()
    torch.save(case.state, folder / "theirs.pth")
    began = time.perf_counter()
    import_weights(
        folder / "theirs.pth", settings={} if "vit" in name or "trans" in name else SMALL, out=folder / "run"
    )
    seconds = time.perf_counter() - began
    model = load_model(folder / "run")
    again = load_model(export_model(model, folder / "net.onnx", calibration=images).path)
    ours, theirs = (
        each.embed([str(path) for path in images], device="cpu", precision="fp32") for each in (model, again)
    )
    apart = np.linalg.norm(ours - theirs) / np.linalg.norm(ours)
    return f"{name:24} {model.recipe.network.backbone:20} {model.dim:5}  {seconds:6.2f} s  {apart:14.1e}"  # type: ignore[attr-defined]


def write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
