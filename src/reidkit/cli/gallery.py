"""`reidkit gallery`: make, fill, search and look after galleries."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reidkit.cli import options
from reidkit.cli.command import Command, commands
from reidkit.cli.gallery_audit import write_audit, write_search
from reidkit.cli.gallery_options import ModelOption, Uri, Which, parse_attributes, parse_radius, parse_time
from reidkit.cli.gallery_output import print_filled, print_hits, print_info
from reidkit.cli.output import check_output, print_json, print_line, progress, remark
from reidkit.errors import DataError, GalleryError, UsageError
from reidkit.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from reidkit.encoder import ImageEncoder
    from reidkit.gallery import Gallery, Hits, Query
    from reidkit.gallery.fill import FeatureRows, Filled
    from reidkit.gallery.protocol import OnConflict

gallery = commands(
    "Galleries: images of people by key, searched for the person of another image.",
    """
    reidkit gallery create people.db --model runs/small
    reidkit gallery add people.db crops.csv --model runs/small
    reidkit gallery search people.db who.jpg --model runs/small
    """,
)


@gallery.command(cls=Command, epilog="reidkit gallery create people.db --model runs/small")
@options.spread
def create(
    uri: Uri,
    model: ModelOption = None,
    network: options.NetworkOption = None,
    input_spec: options.InputSpecOption = None,
    fingerprint: Annotated[str, typer.Option(help="Without --model: the fingerprint of the features' model.")] = "",
    dim: Annotated[int, typer.Option(min=0, help="Without --model: the length of a feature.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Make an empty gallery for the features of a model."""
    from reidkit.gallery import create_gallery

    if model is None and not dim:
        raise UsageError("a gallery is for the features of one model: name it by --model, or give --dim")
    encoder = options.open_model(model, network, input_spec) if model else None
    with create_gallery(uri, encoder, fingerprint=fingerprint, dim=dim) as made:
        print_info(made, as_json=as_json)


@gallery.command(cls=Command, epilog="reidkit gallery add people.db crops --model runs/small --camera door")
@options.spread
def add(
    uri: Uri,
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES",
            help="Images, folders, lists (.txt), tables (.csv), data sets, shards, features (.npz).",
        ),
    ],
    model: ModelOption = None,
    network: options.NetworkOption = None,
    input_spec: options.InputSpecOption = None,
    camera: Annotated[str | None, typer.Option(help="The camera of all images of which it is not known.")] = None,
    track: Annotated[str | None, typer.Option(help="The track of all images of which it is not known.")] = None,
    time: Annotated[str | None, typer.Option(help="The time of all images of which it is not known.")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", metavar="NAME=VALUE", help="An attribute of all images.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which images of a data set: train, query, gallery or all.  [default: gallery, or all without one]"
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace rows of the same keys.")] = False,
    thumbnails: Annotated[bool, typer.Option("--thumbnails", help="Keep small pictures, to be shown later.")] = False,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Take features of which a file does not say whose they are.")
    ] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images that are embedded and stored together.")] = 64,
    format_: options.Format = None,
    as_json: options.Json = False,
) -> int:
    """Add images or features; what is there already is passed over, so that a stopped command goes on when repeated.

    A table has a column path, and any of key, pid, camera, track, time, image; other columns are attributes. An image
    that cannot be read is named and left out, and the exit status is then 1.
    """
    from reidkit.gallery import open_gallery
    from reidkit.gallery.fill import (
        Filled,
        fill,
        fill_from_features,
        find_images,
        holds_features,
        read_feature_rows,
    )

    known = {
        "camera": camera,
        "track": track,
        "time": parse_time(time) if time else None,
        "attributes": parse_attributes(attribute or []),
    }
    total, notes = Filled(), list[str]()
    how: OnConflict = "replace" if replace else "skip"
    features = [source for source in sources if holds_features(source)]
    images = [
        each
        for source in sources
        if source not in features
        for each in find_images(source, format=format_, split=split, unreadable=total.unreadable, notes=notes, **known)
    ]
    for line in notes:
        remark(line)
    if images and model is None:
        raise UsageError("images need the gallery's model to be embedded: name it by --model")
    if features and not images:
        given = {"--camera": camera, "--track": track, "--time": time, "--attribute": attribute, "--split": split}
        _refuse_for_features(features[0], {**given, "--thumbnails": thumbnails})
    encoder = _encoder(uri, model, network, input_spec)
    waiting: list[Path | FeatureRows] = list(features)
    if features and encoder:  # before a gallery is made for nothing
        waiting[0] = read_feature_rows(features[0], encoder.fingerprint, any_model=any_model)
    with open_gallery(uri, encoder) as opened, progress() as tell:
        while waiting:
            _sum(total, fill_from_features(opened, waiting.pop(0), on_conflict=how, any_model=any_model))
        if images:
            done = 0

            def count(number: int) -> None:
                nonlocal done
                done += number
                tell("images", done, len(images))

            found = fill(opened, images, on_conflict=how, thumbnails=thumbnails, batch=batch, progress=count)
            _sum(total, found)
        rows = opened.count()
    return print_filled(total, rows, as_json=as_json)


def _refuse_for_features(path: Path, given: Mapping[str, object]) -> None:
    """Refuse options of images where there are features alone."""
    for option in [name for name, value in given.items() if value]:
        raise UsageError(f"{option} is for images, and {path} holds features: leave it out")


def _refuse_absent(opened: Gallery, keys: Collection[str]) -> int:
    """Return how many rows these keys are.

    Raises:
        DataError: one of them is not in the gallery.
    """
    from reidkit.gallery import Filter

    wanted = set(keys)
    there = {row.key for row in opened.rows(Filter(keys=wanted), limit=len(wanted)).rows}
    if absent := sorted(wanted - there):
        more = f" and {len(absent) - 1} more are" if len(absent) > 1 else " is"
        raise DataError(f"{absent[0]}{more} not in the gallery: none is removed; leave out what is not there")
    return len(wanted)


@gallery.command(cls=Command, epilog="reidkit gallery remove people.db --older-than 72h --camera door")
@options.spread
def remove(
    uri: Uri,
    which: Which,
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEYS", help="Keys of rows.")] = None,
    expect: Annotated[int | None, typer.Option(min=0, help="Remove nothing if there are not so many.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the rows, and remove none.")] = False,
    compact: Annotated[
        bool, typer.Option("--compact", help="Write the file anew, without the room they took.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Remove rows by key, or those that meet all conditions. What is removed is overwritten in the file.

    Retention: run it every hour with --older-than. Rows without a time are as old as they are in the gallery. --compact
    alone removes none.
    """
    from reidkit.gallery import Filter, open_gallery

    matching = which.filter()
    with open_gallery(uri) as opened:
        if compact and not keys and not matching and not expect:
            matching = Filter(keys=[])
        all_of_them = bool(keys) and not matching and expect is None
        if keys:
            matching = dataclasses.replace(matching, keys=keys)
        if all_of_them:  # a key that is not there is a mistake
            expect = _refuse_absent(opened, matching.keys or ())
        count = opened.remove_matching(matching, expect=expect, dry_run=True)
        write_audit(uri, "remove", filter=matching.conditions(), removed=0 if dry_run else count)
        if not dry_run:
            count = opened.remove_matching(matching, expect=expect)
        if compact and not dry_run:
            _compact(opened, uri, count)
        left = opened.count()
    if as_json:
        print_json({"removed": 0 if dry_run else count, "matching": count, "rows": left})
    else:
        words = "would be removed" if dry_run else "removed"
        print_line(f"{counted(count, 'row')} {words}, {left:,} are in the gallery")


def _compact(opened: Gallery, uri: str, removed: int) -> None:
    """Give the room of removed rows back.

    Raises:
        GalleryError: it cannot be done now, which says what is done already, as that cannot be repeated.
    """
    from reidkit.gallery.milvus_address import shown

    try:
        opened.compact()
    except GalleryError as error:
        raise GalleryError(
            f"{counted(removed, 'row')} removed, but their room is not given back: {error} "
            f"(`reidkit gallery remove {quote(shown(uri))} --compact`)"
        ) from None


@gallery.command(cls=Command, epilog="reidkit gallery search people.db who.jpg --model runs/small")
@options.spread
def search(
    uri: Uri,
    which: Which,
    images: Annotated[list[Path] | None, typer.Argument(metavar="IMAGES", help="Images of one person.")] = None,
    model: ModelOption = None,
    network: options.NetworkOption = None,
    input_spec: options.InputSpecOption = None,
    key: Annotated[list[str] | None, typer.Option("--key", help="Search for the person of this row.")] = None,
    right: Annotated[list[str] | None, typer.Option("--right", metavar="KEY", help="A true match.")] = None,
    wrong: Annotated[list[str] | None, typer.Option("--wrong", metavar="KEY", help="A false match.")] = None,
    best: Annotated[bool, typer.Option("--best", help="Of several images, compare the most similar one.")] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="How many hits, or groups of hits.")] = 10,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Hits, or groups, to pass over first.")] = 0,
    radius: Annotated[str | None, typer.Option(help="The least similarity: a number, or calibrated.")] = None,
    from_camera: Annotated[str | None, typer.Option("--from-camera", help="Where the images were taken.")] = None,
    other_cameras: Annotated[bool, typer.Option("--other-cameras", help="Not the camera of the query.")] = False,
    group_by: Annotated[
        Literal["person", "track", "camera"] | None,
        typer.Option(help="Show the best of each; rows without one stand alone."),
    ] = None,
    group_size: Annotated[int, typer.Option(min=1, help="Hits of each group.")] = 1,
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-rank the nearest by k-reciprocal neighbours.")] = False,
    expand: Annotated[int, typer.Option(min=0, help="Search again, moved towards so many nearest hits.")] = 0,
    sheet: Annotated[Path | None, typer.Option(help="Draw the hits there (.png, .svg or .pdf).")] = None,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="For --sheet: the folder in which the images lie.")
    ] = None,
    purpose: Annotated[str, typer.Option(help="Why: for the audit log, where the gallery has one.")] = "",
    as_json: options.Json = False,
) -> None:
    """Search a gallery for a person.

    Several images, and --key, are one query. A person must check every match: the probability says how sure the model
    is, and only where it was calibrated. Where GALLERY-audit lies beside the gallery, the search is noted there before
    its hits are shown.
    """
    from reidkit.gallery import open_gallery
    from reidkit.gallery.query import Query, SearchOptions

    check_output("--sheet", sheet, *(images or ()))
    if sheet:
        from reidkit.plots.style import figure_format

        figure_format(sheet)
    asked = Query(
        images=images or (),
        keys=key or (),
        positive=right or (),
        negative=wrong or (),
        combine="best" if best else "mean",
        camera=from_camera,
    )
    how = SearchOptions(
        top=top,
        offset=offset,
        filter=which.filter(),
        other_cameras=other_cameras,
        radius=parse_radius(radius),
        group_by=group_by,
        group_size=group_size,
        rerank=rerank,
        expand=expand,
    )
    if not images and not key:
        raise UsageError("nobody is searched for: give IMAGES of a person, or --key and the key of a row")
    if images and model is None:
        raise UsageError("images need the gallery's model to be embedded: name it by --model, or search by --key")
    if pictures and not sheet:
        raise UsageError("--pictures is where the images for a sheet lie: ask for one by --sheet")
    if group_size > 1 and not group_by:
        raise UsageError("--group-size is how many hits of a group are shown: say by --group-by what makes a group")
    with open_gallery(uri, _encoder(uri, model, network, input_spec, must_exist=True)) as opened:
        hits = opened.search(asked, how)
        write_search(uri, purpose, asked, how.filter, hits)
        if sheet:
            _draw(opened, asked, hits, (sheet, pictures))
    print_hits(hits, opened.calibration, as_json=as_json)
    if sheet and not as_json:
        print_line(f"picture in {sheet}")


@gallery.command(cls=Command, epilog="reidkit gallery info people.db")
@options.spread
def info(uri: Uri, as_json: options.Json = False) -> None:
    """Describe a gallery: its model, its cameras, from when to when, how large."""
    from reidkit.gallery import open_gallery

    with open_gallery(uri) as opened:
        print_info(opened, as_json=as_json)


def _encoder(
    uri: str, model: Path | None, network: str | None, input_spec: str | None, *, must_exist: bool = False
) -> ImageEncoder | None:
    """Return the model for a gallery, or none; where the gallery has to be there, it is looked at first."""
    from reidkit.gallery import open_gallery

    if model is None or must_exist:
        open_gallery(uri).close()  # before a model is loaded for nothing
    return options.open_model(model, network, input_spec) if model else None


def _draw(opened: Gallery, asked: Query, hits: Hits, where: tuple[Path, Path | None]) -> None:
    from reidkit.plots.hits import hits_figure
    from reidkit.plots.style import write_figure

    sheet, folder = where
    write_figure(hits_figure(opened, asked.images, hits, folder), sheet)


def _sum(total: Filled, more: Filled) -> None:
    for name in ("added", "replaced", "unchanged", "conflicts", "unreadable"):
        setattr(total, name, getattr(total, name) + getattr(more, name))
