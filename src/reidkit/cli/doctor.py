"""`reidkit doctor`: what this installation has, and whether it works."""

from __future__ import annotations

import platform
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidkit.cli import options
from reidkit.cli.output import print_json, print_line, remark
from reidkit.errors import DataError
from reidkit.extras import EXTRAS, install
from reidkit.recipe import override
from reidkit.recipes import get_recipe
from reidkit.version import __version__

if TYPE_CHECKING:
    from reidkit.data.cache import Cached

TRIAL = (
    "optim.epochs=1",
    "optim.drops=[]",
    "optim.warmup_epochs=0",
    "network.width=0.125",
    "images.height=64",
    "images.width=32",
    "batch.ids=4",
)


def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Say what there is, without trying it.")] = False,
    cache: options.CacheDir = None,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="Delete the decoded images, and do nothing else.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Say what this installation has, and try it: draw, train, evaluate and re-rank a few images.

    The trial also compiles the loops that are compiled once for each installation, which takes half a minute.
    """
    if clear_cache:
        _clear_cache(cache, as_json=as_json)
        return

    import importlib.metadata
    import importlib.util

    import torch

    from reidkit.hardware import choose_device, choose_precision

    device = choose_device("auto")
    facts: dict[str, object] = {
        "reidkit": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("torch", "numpy", "numba", "pillow", "simplejpeg")},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": str(choose_precision("auto", device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    missing = {name: install(name) for name in EXTRAS if importlib.util.find_spec(name) is None}
    if not quick:
        remark("trying it out: draw, train, evaluate and re-rank a few images")
        facts["trial"] = f"passed in {_trial():.1f} s"
    cached = _cached(cache)
    if as_json:
        print_json({**facts, "cache": cached and _as_json(cached), "missing": missing})
        return
    facts["cache"] = f"{_words(cached)} (reidkit doctor --clear-cache)" if cached else "none: there is no home folder"
    for key, value in facts.items():
        print_line(f"{key:12}{value}")
    for name, remedy in missing.items():
        print_line(f"{name:12}not installed: {remedy}")


def _cached(cache: Path | None) -> Cached | None:
    """Return what the image caches take; None where there is no folder for them."""
    from reidkit.data.cache import cache_usage

    try:
        return cache_usage(options.cache_folder(cache))
    except DataError:
        if cache is not None:
            raise
        return None


def _clear_cache(cache: Path | None, *, as_json: bool) -> None:
    from reidkit.data.cache import clear_cache

    cleared = clear_cache(options.cache_folder(cache))
    if as_json:
        print_json({"cleared": _as_json(cleared)})
        return
    print_line(f"cleared     {_words(cleared)}")


def _as_json(cached: Cached) -> dict[str, object]:
    return {"folder": str(cached.folder), "files": cached.files, "bytes": cached.bytes}


def _words(cached: Cached) -> str:
    return f"{cached.folder}: {cached.files} {'file' if cached.files == 1 else 'files'}, {cached.bytes / 1e9:.2f} GB"


def _trial() -> float:
    """Run everything once on a set of eight ids and return the seconds it took; errors are those a user would see."""
    from reidkit.metrics.reranking.k_reciprocal import k_reciprocal
    from reidkit.synth import synthesize
    from reidkit.train.inputs import TrainOptions
    from reidkit.train.run import train

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="reidkit-doctor-") as folder:
        root = Path(folder)
        synthesize(root / "people", 8, 3, 0, workers=1)
        recipe = override(get_recipe("small-strong-baseline"), list(TRIAL))
        run = train(recipe, root / "people", out=root / "run", options=TrainOptions(cache_dir=root / "cache"))
        if run.evaluation is not None:
            k_reciprocal(run.evaluation.query.vectors, run.evaluation.gallery.vectors)
    return time.perf_counter() - started
