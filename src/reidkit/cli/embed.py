"""`reidkit embed`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidkit.cli import options
from reidkit.cli.output import command, join, print_json, print_line, progress, remark
from reidkit.errors import UsageError
from reidkit.terminal import counted
from reidkit.types import Split
from reidkit.workers import as_child, run_as, shared

if TYPE_CHECKING:
    from reidkit.data.image_list import ImageList
    from reidkit.embedding_file import Embedded

STDIN = Path("-")

SHOWN = 20
"""Unreadable images that are listed."""


def embed(
    model: options.ModelPath,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="Images, folders, lists, tables, shards; - reads a list.")
    ],
    out: Annotated[Path, typer.Option(help="The features: .npz or .parquet.")],
    inference: options.Inference,
    flip: Annotated[bool, typer.Option("--flip", help="Average the features of an image and its mirror.")] = False,
    format_: options.Format = None,
    split: Annotated[
        Split | None, typer.Option(metavar="train|query|gallery", help="The images of one split of data sets.")
    ] = None,
    processes: options.Processes = 1,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="Have it done by a Ray cluster: host:6379, auto, or local."),
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Write the features of images into a file; the same command goes on after a kill."""
    if ray and shared(processes):
        raise UsageError("a cluster has its own processes: leave out --processes, or --ray")
    if images == [STDIN]:
        _refuse_several(processes)
    if shared(processes):
        return run_as(processes, command())

    from reidkit.embedding import embed_images

    if ray:
        found = _listed(images, format_, split)
        _tell(found)
        return _print(_on_ray(model, found, out, inference, flip=flip, address=ray), as_json=as_json)
    loaded = inference.load_model(model)
    found = _listed(images, format_, split)
    as_child()
    with join() as group, progress(group.first) as tell:
        if group.first:
            _tell(found)
        made = embed_images(loaded, found, out, flip=flip, options=inference.for_library(tell, group))
    return _print(made, as_json=as_json) if group.first else 0


def _refuse_several(processes: int) -> None:
    """Refuse a list on standard input, of which each of several processes would read a part, and not the whole.

    Raises:
        UsageError: there are several.
    """
    from reidkit.distributed import invited

    if shared(processes) or invited():
        raise UsageError("several processes cannot share standard input: name a file (.txt) that holds the list")


def _on_ray(
    model: Path, found: ImageList, out: Path, inference: options.Inference, *, flip: bool, address: str
) -> Embedded:
    from reidkit.ray_embedding import embed_images_on_ray

    load = partial(options.open_model, model, inference.network, inference.input_spec)
    with progress() as tell:
        how = inference.for_library(tell)
        return embed_images_on_ray(load, found, out, address=address, flip=flip, options=how)


def _print(made: Embedded, *, as_json: bool) -> int:
    """Print what was made; the exit status."""
    for path, why in made.unreadable[:SHOWN]:
        remark(f"left out: {why if path in why else f'{path}: {why}'}")
    if len(made.unreadable) > SHOWN:
        remark(f"left out: {len(made.unreadable) - SHOWN} more")
    if as_json:
        print_json(made.as_json())
    else:
        again = f", {made.reused} of them in the run before" if made.reused else ""
        left = f"; {len(made.unreadable)} unreadable" if made.unreadable else ""
        ids = f"of {counted(made.ids, 'id')}" if made.ids else "without ids"
        features = f"{counted(made.features, 'feature')} [{made.dim}] {ids}{again}"
        print_line(f"{made.path}: {features}, {made.seconds:.1f} s{left}")
    return 1 if made.unreadable else 0


def _tell(found: ImageList) -> None:
    for line in found.notes:
        remark(line)


def _listed(images: list[Path], format_: str | None, split: Split | None) -> ImageList:
    """Return the images that are named; `-` reads their paths from standard input."""
    from reidkit.data.image_list import ImageList, list_images, listed

    if images == [STDIN]:
        if split is not None:
            raise UsageError("a list of paths has no splits: leave out --split")
        return ImageList(listed(sys.stdin, Path(), "standard input"))
    return list_images(images, format_, split)
