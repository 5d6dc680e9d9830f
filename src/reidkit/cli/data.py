"""`reidkit data` and `reidkit synth`: what there is to learn from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidkit.cli import options
from reidkit.cli.show import print_json, print_line, print_table, progress, remark
from reidkit.types import DataError

if TYPE_CHECKING:
    from reidkit.data.check import Broken, Description
    from reidkit.synth import Size

SHOWN = 20
"""Broken images that are named one by one; --json has all of them."""


def data(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The data set's folder, or a .csv.")],
    format_: options.Format = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw a contact sheet there (.png).")] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Decode every image, to find broken ones.")] = True,
    as_json: options.Json = False,
) -> None:
    """Describe a data set, and find images that cannot be read (exit status 1 where there are any).

    Formats: market1501, dukemtmc, msmt17, cuhk03, veri776, folder (train|query|gallery/PID/IMAGE, the camera from
    c<N> in the name), csv (path,pid,camid,split), webdataset and parquet (shards, also at a URL: s3://bucket/people).
    They are told by their layout.
    """
    from reidkit.data.check import describe, find_broken
    from reidkit.data.detect import all_samples, open_benchmark

    benchmark = open_benchmark(folder, format_)
    samples = all_samples(benchmark)
    broken: tuple[Broken, ...] = ()
    if check:
        with progress() as tell:
            broken = find_broken(samples, lambda done, total: tell("reading images", done, total))
    if sheet:
        from reidkit.data.sheet import write_sheet

        write_sheet(benchmark, sheet)
    if as_json:
        names = [{"path": str(item.path), "reason": item.reason} for item in broken]
        print_json({**dataclasses.asdict(describe(benchmark)), "checked": check, "unreadable": names})
    else:
        _print(describe(benchmark))
        print_line(f"unreadable   {len(broken)}" if check else "unreadable   not checked")
        if sheet:
            print_line(f"contact sheet in {sheet}")
    if broken:
        for item in broken[:SHOWN]:
            remark(f"  {item.path}: {item.reason}")
        raise DataError(
            f"{len(broken)} of {len(samples)} images cannot be read: mend them, or train with --skip-broken"
        )


def synth(
    out: Annotated[Path, typer.Argument(help="The folder to draw into.")],
    ids: Annotated[int, typer.Option(help="People; half are for training, half for the test.")] = 200,
    cameras: Annotated[int, typer.Option(help="Cameras, each with its own colours, light and view.")] = 6,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    images_per_camera: Annotated[int, typer.Option(help="Images of a person by a camera.")] = 4,
    height: Annotated[int, typer.Option(help="Pixels.")] = 128,
    width: Annotated[int, typer.Option(help="Pixels.")] = 64,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that draw.  [default: one per core]")] = None,
    shards: Annotated[int, typer.Option(min=0, help="Write tars of so many images instead; 0: loose files.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Draw a synthetic multi-camera data set, in the layout of Market-1501. Nobody in it exists."""
    from reidkit.synth import Size, draw_dataset

    size = Size(height=height, width=width, images_per_camera=images_per_camera)
    if shards:
        _draw_shards(out, (ids, cameras, seed), size, shards, workers, as_json=as_json)
        return
    with progress() as tell:
        counts = draw_dataset(
            out,
            ids,
            cameras,
            seed,
            workers=workers,
            progress=lambda done, total: tell("drawing", done, total),
            **size,
        )
    if as_json:
        print_json({"folder": str(out), **counts})
        return
    print_line(
        f"{out}: {counts['train']} training images of {counts['train_ids']} people; {counts['query']} queries and "
        f"{counts['gallery']} gallery images of {counts['test_ids']} others, distractors included; synthetic"
    )


def _draw_shards(
    out: Path, numbers: tuple[int, int, int], size: Size, shards: int, workers: int | None, *, as_json: bool
) -> None:
    from reidkit.data.shards.convert import finish
    from reidkit.data.shards.write import write_tar
    from reidkit.synth import Plan
    from reidkit.synth.shards import Shards, draw_shards

    ids, cameras, seed = numbers
    with progress() as tell:
        counts = draw_shards(
            out,
            Plan(ids=ids, cameras=cameras, seed=seed, **size),
            Shards(images=shards, write=write_tar, finish=lambda folder: finish(folder, "webdataset")),
            workers=workers,
            progress=lambda done, total: tell("drawing", done, total),
        )
    if as_json:
        print_json({"folder": str(out), **counts})
        return
    print_line(
        f"{out}: {counts['shards']} shards; {counts['train']} training images, {counts['query']} queries and "
        f"{counts['gallery']} gallery images, junk included; synthetic"
    )


def _print(description: Description) -> None:
    rows = []
    for name in ("train", "query", "gallery"):
        split = getattr(description, name)
        spread = f"{split.fewest} / {split.median:g} / {split.most}"
        rows.append((name, str(split.images), str(split.ids), str(split.cameras), spread if split.images else "-"))
    print_line(description.name)
    print_table(("", "images", "ids", "cameras", "images per id: fewest / median / most"), rows)
    print_line(f"distractors  {description.distractors} (gallery images of people in no query)")
    print_line(f"junk         {description.junk} (left out, as the data set's rule says)")
