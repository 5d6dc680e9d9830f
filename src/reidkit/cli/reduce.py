"""`reidkit reduce`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidkit.cli import options
from reidkit.cli.output import print_json, print_line, print_table, progress
from reidkit.model_files import EXPORTED
from reidkit.terminal import percent

if TYPE_CHECKING:
    from reidkit.metrics.retrieval import Scores
    from reidkit.train.feature_reduction import Reduction


def reduce(
    model: options.ModelPath,
    data: Annotated[list[Path], typer.Option(help="A data set, or a folder of images; ids are never read.")],
    inference: options.InferenceWithoutMasks,
    dim: Annotated[int, typer.Option(min=1, help="The length of the new features.")] = 128,
    power: Annotated[
        float, typer.Option(min=0, max=0.5, help="How far large variances are scaled down; 0.5 whitens.")
    ] = 0.0,
    val_data: Annotated[Path | None, typer.Option(help="Evaluate on this data set instead.")] = None,
    cameras: options.CamerasOption = "cross",
    format_: options.Format = None,
    out: Annotated[Path | None, typer.Option(help="The folder or file of the new model.  [default: MODEL-DIM]")] = None,
    as_json: options.Json = False,
) -> None:
    """Shorten a model's features by PCA on images without labels; evaluate it before and after."""
    from reidkit.data.formats.detect import load_dataset
    from reidkit.train.feature_reduction import reduce as run_reduction

    loaded = inference.load_model(model)
    place = out or _default_place(model, dim)
    began = time.perf_counter()
    with progress() as tell:
        found = run_reduction(
            loaded,
            data,
            dim=dim,
            power=power,
            out=place,
            evaluate_on=load_dataset(val_data) if val_data else None,
            options=inference.for_library(tell),
            format=format_,
            cameras=cameras,
        )
    if as_json:
        print_json(
            {
                "model": found.model.fingerprint,
                "out": str(place),
                "dim": dim,
                "power": power,
                "images": found.images,
                "variance": found.variance,
                "before": found.before.as_json() if found.before else None,
                "after": found.after.as_json() if found.after else None,
                "seconds": time.perf_counter() - began,
            }
        )
        return
    _print(found, loaded.dim, place)


def _print(found: Reduction, length: int, place: Path) -> None:
    print_line(
        f"{length} to {found.model.dim} numbers by {found.images:,} images, with {percent(found.variance)} % of the "
        "variance"
    )
    if found.before and found.after:
        head = ("features", "length", "rank-1", "rank-5", "mAP", "mINP")
        rows = [
            ("before", str(length), *_scores(found.before)),
            ("after", str(found.model.dim), *_scores(found.after)),
        ]
        print_table(head, rows)
    written = place if place.suffix.lower() in EXPORTED else place / "model.safetensors"
    print_line(f"{written}  {found.model.fingerprint}")


def _default_place(model: Path, dim: int) -> Path:
    """Return the folder of the new model, or its file where the model is exported: beside the model, with its dim."""
    ending = model.suffix if model.suffix.lower() in EXPORTED else ""
    return model.with_name(f"{model.stem if model.is_file() else model.name}-{dim}{ending}")


def _scores(scores: Scores) -> tuple[str, ...]:
    return tuple(percent(value) for value in (scores.rank1, scores.rank5, scores.map, scores.minp))
