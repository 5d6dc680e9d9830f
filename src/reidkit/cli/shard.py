"""`reidkit shard`: a data set in few large files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reidkit.cli import options
from reidkit.cli.output import print_json, print_line, progress, tell_passed_over


def shard(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A data set of any format.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder for the shards.")],
    kind: Annotated[
        Literal["webdataset", "parquet"], typer.Option("--format", help="Tars with KEY.jpg and KEY.json, or tables.")
    ] = "webdataset",
    images_per_shard: Annotated[int, typer.Option(min=1, help="Images in a shard, at most.")] = 10_000,
    read_as: Annotated[
        str | None, typer.Option("--from", help="The format of DIR, if its layout does not tell.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a data set into shards, which --data reads from a disk or a URL.

    The images of an id are put side by side. A call that was interrupted goes on where it stopped.
    """
    from reidkit.data.formats.detect import load_dataset
    from reidkit.data.shards.writer import convert

    dataset = load_dataset(folder, read_as)
    tell_passed_over(dataset)
    with progress() as tell:
        counts = convert(dataset, out, kind, images_per_shard, lambda done, total: tell("writing", done, total))
    if as_json:
        print_json({"folder": str(out), "format": kind, **counts})
        return
    kept = f", {counts['kept']} of them there before" if counts["kept"] else ""
    print_line(f"{out}: {counts['images']} images of {dataset.name} in {counts['shards']} shards{kept}")
