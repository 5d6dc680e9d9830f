"""`reidkit data`, `reidkit split` and `reidkit synth`: data sets."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reidkit.cli import options
from reidkit.cli.output import (
    check_output,
    print_json,
    print_line,
    print_table,
    print_text,
    progress,
    remark,
    tell_passed_over,
)
from reidkit.errors import DataError, UsageError
from reidkit.terminal import counted
from reidkit.types import SPLITS, Cameras

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from reidkit.data.check import Description, Unreadable
    from reidkit.synth import Plan, Shards
    from reidkit.types import Dataset, ImageFile, Sample


SHOWN = 20
"""Unreadable images that are named one by one; --json has all of them."""


def _figure_name(path: Path | None) -> Path | None:
    """Refuse a name that no figure can have before the images are read."""
    from reidkit.plots.style import figure_format

    if path:
        figure_format(path)
    return path


def data(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The data set's folder, or a .csv.")],
    format_: options.Format = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Draw a contact sheet there (.png, .svg or .pdf).", callback=_figure_name)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Decode every image, to find unreadable ones.")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Describe a data set, and find images that cannot be read (exit status 1 where there are any).

    Formats: market1501, dukemtmc, msmt17, cuhk03, veri776, mars, ltcc, celeb-reid, prid, occluded-reid,
    occluded-duke, vehicleid, veri-wild, folder (train|query|gallery/ID/IMAGE or ID/IMAGE, the camera from c<N> in the
    name or a folder cam<N>), csv (path,pid,camid,split), webdataset and parquet (shards, also at a URL:
    s3://bucket/people). They are recognised by their layout.
    """
    from reidkit.data.check import describe, inspect
    from reidkit.data.formats.detect import all_samples, load_dataset
    from reidkit.data.overlap import find_overlap
    from reidkit.plots.image_grid import contact_sheet
    from reidkit.plots.style import write_figure

    dataset = load_dataset(folder, format_)
    samples = all_samples(dataset)
    check_output("--sheet", sheet, *_named_as(sheet, samples))
    unreadable: tuple[Unreadable, ...] = ()
    plain: tuple[ImageFile, ...] = ()
    if check:
        with progress() as tell:
            found = inspect(samples, lambda done, total: tell("reading images", done, total))
            unreadable, plain = found.unreadable, found.plain
    if sheet:
        write_figure(contact_sheet(dataset), sheet)
    shared = find_overlap(dataset, everything=check)
    for warning in (*shared.warnings(), *_without_scores(dataset)):
        remark(f"warning: {warning}")
    if as_json:
        names = [{"path": str(item.path), "reason": item.reason} for item in unreadable]
        print_json(
            {
                **asdict(describe(dataset)),
                "shared": shared.as_json(),
                "checked": check,
                "unreadable": names,
                "single_valued": [str(path) for path in plain],
            }
        )
    else:
        _print(describe(dataset), folder)
        print_line(f"shared       {shared.words} (of training, and of query or gallery)")
        print_line(f"unreadable   {len(unreadable)}" if check else "unreadable   not checked")
        _print_plain(plain)
        if sheet:
            print_line(f"contact sheet in {sheet}")
    if unreadable:
        for item in unreadable[:SHOWN]:
            remark(f"  {item.path}: {item.reason}")
        raise DataError(
            f"{len(unreadable)} of {len(samples)} images cannot be read: mend them, or train with --skip-unreadable"
        )


def _named_as(sheet: Path | None, samples: Iterable[Sample]) -> Iterator[Path]:
    """Yield the image files that the sheet might replace."""
    for sample in samples if sheet else ():
        if sheet and isinstance(sample.path, Path) and sample.path.name == sheet.name:
            yield sample.path


def _without_scores(dataset: Dataset) -> Iterator[str]:
    """Yield a sentence where there are a query and a gallery of which no score would come."""
    from reidkit.metrics.matching import require_evaluable

    if dataset.query and dataset.gallery:
        try:
            require_evaluable(dataset, "cross")
        except DataError as error:
            option = " (evaluate --cameras any)" if error.argument == "cameras" else ""
            yield f"no scores from this data: {error}{option}"


def _print_plain(plain: Sequence[ImageFile]) -> None:
    if plain:
        print_line(f"single value {len(plain)} (images whose pixels all have one value: they show nothing)")
        for path in plain[:SHOWN]:
            remark(f"  {path}: all of its pixels have one value")


def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make; a synthetic set in it is replaced.")],
    ids: Annotated[
        int | None,
        typer.Option(help="Ids; half are for training, half for the test.  [default: 200, and 12 in videos]"),
    ] = None,
    cameras: Annotated[
        int | None, typer.Option(help="Cameras, each with its own colours, light and view.  [default: 6]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other ids.")] = 0,
    images_per_camera: Annotated[int | None, typer.Option(help="Images of an id by a camera.  [default: 4]")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels.  [default: 128, and 270 of a video]")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels.  [default: 64, and 480 of a video]")] = None,
    videos: Annotated[
        int, typer.Option(min=0, help="Make so many videos instead: people who walk past a camera each.")
    ] = 0,
    seconds: Annotated[float | None, typer.Option(help="How long each video is.  [default: 30]")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that draw.  [default: one per core]")] = None,
    shards: Annotated[int, typer.Option(min=0, help="Write tars of so many images instead; 0: loose files.")] = 0,
    masks: Annotated[
        bool, typer.Option("--masks", help="Write masks, label images and keypoints too, in OUT/masks.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Make a synthetic multi-camera data set, in the layout of Market-1501. Nobody in it exists.

    With --videos OUT holds videos instead, with the truth about who is where in the format of MOTChallenge, and a photo
    of somebody to look for.
    """
    from reidkit.synth import Plan, draw_shards

    if masks and (shards or videos):
        raise UsageError("shards and videos hold no masks: leave out --masks, or these")
    given = _given(ids=ids, height=height, width=width)
    of_images = _given(cameras=cameras, images_per_camera=images_per_camera)
    if videos:
        for name in {**of_images, **_given(shards=shards or None)}:
            raise UsageError(
                f"--{name.replace('_', '-')} is for images, and --videos makes none: leave out one of them"
            )
        _draw_videos(out, videos, seed, given | _given(seconds=seconds), as_json)
        return
    if seconds is not None:
        raise UsageError("--seconds is how long a video is: ask for some by --videos")
    plan = Plan(seed=seed, **{"ids": 200, "cameras": 6, **given, **of_images})
    with progress() as tell:
        how: Any = {"workers": workers, "progress": partial(tell, "drawing")}
        counts = draw_shards(out, plan, _tars(shards), **how) if shards else _images(out, plan, masks, how)
    if as_json:
        print_json({"folder": str(out), **counts, **({"masks": str(out / "masks")} if masks else {})})
    elif shards:
        print_line(
            f"{out}: {counted(counts['shards'], 'shard')}; {counts['train']} training images, {counts['query']} "
            f"queries and {counts['gallery']} gallery images, junk included; synthetic"
        )
    else:
        print_line(
            f"{out}: {counts['train']} training images of {counts['train_ids']} ids; {counts['query']} queries and "
            f"{counts['gallery']} gallery images of {counts['test_ids']} others, distractors included; synthetic"
        )
        if masks:
            print_line(f"{out / 'masks'}: their masks (grey, labels) and keypoints.json")


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that were given, whose defaults depend on what is drawn."""
    return {name: value for name, value in options.items() if value is not None}


def _images(out: Path, plan: Plan, masks: bool, how: dict[str, Any]) -> dict[str, int]:
    from reidkit.synth import synthesize

    return synthesize(out, **asdict(plan), **how, masks=masks)


def _draw_videos(out: Path, videos: int, seed: int, settings: dict[str, Any], as_json: bool) -> None:
    from reidkit.video.synthetic import draw_videos

    with progress() as tell:
        counts = draw_videos(out, videos, seed, progress=lambda done, total: tell("drawing", done, total), **settings)
    if as_json:
        print_json({"folder": str(out), **counts})
        return
    print_line(
        f"{out}: {counted(counts['videos'], 'video')}, {counted(counts['frames'], 'frame')} and "
        f"{counted(counts['boxes'], 'box', 'boxes')} of {counted(counts['ids'], 'id')}, {counts['across']} of them in "
        f"several videos; photo.png is id {counts['photo']}; synthetic"
    )


def _tars(images: int) -> Shards:
    """Return tars of so many images as the way of writing shards."""
    from reidkit.data.shards.writer import finish, write_tar
    from reidkit.synth import Shards

    return Shards(images=images, write=write_tar, finish=partial(finish, kind="webdataset"))


def split(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A data set without a query and a gallery.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new folder.")],
    share: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="The fraction of the ids to hold out.  [default: 0.5]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other ids and queries.")] = 0,
    cameras: Annotated[
        Cameras, typer.Option("--cameras", help="any: a query needs no image by another camera.")
    ] = "cross",
    how: Annotated[
        Literal["table", "copy", "link"],
        typer.Option("--as", help="A table of the images where they lie, copies, or symbolic links."),
    ] = "table",
    format_: options.Format = None,
    as_json: options.Json = False,
) -> None:
    """Hold out ids of a data set to test with, and make a query and a gallery of their images.

    Where DIR has a train and a test split already, or a gallery alone beside train, the ids to test with are those of
    that split. By default OUT holds one table, split.csv, and no image is copied or moved.
    """
    from reidkit.data.formats.detect import open_to_split
    from reidkit.data.overlap import find_overlap
    from reidkit.data.split import make_split, write_split
    from reidkit.types import NO_CAMERA

    train, test, names, distractors = open_to_split(folder, format_)
    if test and share is not None:
        raise UsageError(f"{folder} says itself which ids to test with, so that --share changes nothing: leave it out")
    share = 0.5 if share is None else share
    made = make_split(train, test, names, distractors, share=share, seed=seed, cameras=cameras)
    write_split(made, out, how)
    for warning in find_overlap(made).warnings():
        remark(f"warning: {warning}")
    counts = {name: len(getattr(made, name)) for name in (*SPLITS, "junk")}
    ids = {"train_ids": len({s.pid for s in made.train}), "test_ids": len({s.pid for s in made.query})}
    known = any(sample.camid != NO_CAMERA for sample in made.query)
    if as_json:
        facts = {"folder": str(out), "as": how, "seed": seed, "cameras": cameras, "cameras_known": known}
        print_json({**facts, **counts, **ids})
        return
    print_line(
        f"{out}: {counts['train']} training images of {counted(ids['train_ids'], 'id')}; "
        f"{counted(counts['query'], 'query', 'queries')} of {counted(ids['test_ids'], 'id')} to test with, and "
        f"{counted(counts['gallery'], 'gallery image')}"
    )
    if not known or cameras == "any":
        print_line(f"evaluate with --cameras any: {'it was split so' if known else 'the cameras are not known'}")


def _print(description: Description, folder: Path) -> None:
    from reidkit.data.formats.scan import as_text

    rows = []
    for name in SPLITS:
        split = getattr(description, name)
        spread = f"{split.fewest} / {split.median:g} / {split.most}"
        rows.append((name, str(split.images), str(split.ids), str(split.cameras), spread if split.images else "-"))
    print_line(description.name)
    print_table(("", "images", "ids", "cameras", "images per id: fewest / median / most"), rows)
    print_line(f"distractors  {description.distractors} (gallery images of ids in no query)")
    print_line(f"junk         {description.junk} (left out, as the data set's rule says)")
    cameras = ", ".join(description.cameras[:SHOWN])
    print_line(f"cameras      {cameras or 'not known'}{', ...' if len(description.cameras) > SHOWN else ''}")
    for example in description.first:
        path = example.path.removeprefix(f"{folder}/")
        print_line(f"read         {path}: id {example.id}, camera {example.camera or 'not known'}")
    for note in description.notes:
        print_text(f"note         {note}")
    for kind, count in description.passed_over.items():
        print_line(f"passed over  {as_text({kind: count})}")


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
    print_line(
        f"{out}: {counted(counts['images'], 'image')} of {dataset.name} in {counted(counts['shards'], 'shard')}{kept}"
    )
