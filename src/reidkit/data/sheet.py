"""A contact sheet: what a data set looks like, on one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from reidkit.data.decode import decode
from reidkit.data.shards.samples import pids_of
from reidkit.types import NO_CAMERA, DataError
from reidkit.whole import said, whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reidkit.types import Benchmark, Names, Sample

HEIGHT = 128
"""Height of an image on the sheet, pixels; the width follows the images'."""

GAP, LINE, MARGIN = 4, 14, 64
"""Pixels between images, above an image for its label, and left of a row for its id."""

PAPER, INK, BROKEN = "white", "black", "#b00020"


def write_sheet(benchmark: Benchmark, path: Path, seed: int = 0, ids: int = 8, images: int = 10) -> None:
    """Write a PNG with up to `ids` people as rows and up to `images` images of each, ordered and labelled by camera.

    Drawn at random by `seed`, from the training images or, where there are none, from query and gallery. Cameras are
    labelled by their `camid`; an image that cannot be read is crossed out.

    Raises:
        DataError: there are no images, or the picture cannot be written to `path`.
    """
    rows = _choose(benchmark.train or (*benchmark.query, *benchmark.gallery), np.random.default_rng(seed), ids, images)
    if not rows:
        raise DataError(f"the data set {benchmark.name} holds no images to draw")
    sheet = _draw([[(sample, _picture(sample)) for sample in row] for row in rows], benchmark.names)
    with said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            sheet.save(file, "PNG")


def _choose(samples: Sequence[Sample], rng: np.random.Generator, ids: int, images: int) -> list[list[Sample]]:
    pids, rows = np.unique(pids_of(samples), return_inverse=True)
    by_pid = np.split(np.argsort(rows, kind="stable"), np.cumsum(np.bincount(rows))[:-1]) if len(pids) else []
    people = sorted(rng.permutation(len(pids))[:ids].tolist())
    chosen = ([samples[int(by_pid[n][place])] for place in rng.permutation(len(by_pid[n]))[:images]] for n in people)
    return [sorted(row, key=lambda sample: (sample.camid, str(sample.path))) for row in chosen]


def _picture(sample: Sample) -> Image.Image | None:
    """The image, small enough that a sheet full of photos fits in memory; None when it cannot be read."""
    try:
        picture = Image.fromarray(decode(sample.path))
    except DataError:
        return None
    picture.thumbnail((4 * HEIGHT, HEIGHT))
    return picture


def _draw(rows: list[list[tuple[Sample, Image.Image | None]]], names: Names) -> Image.Image:
    shapes = [picture.width / picture.height for row in rows for _, picture in row if picture]
    width = int(np.clip(HEIGHT * np.median(shapes or [0.5]), HEIGHT // 4, HEIGHT * 2))
    across, down = width + GAP, HEIGHT + LINE + GAP
    sheet = Image.new("RGB", (MARGIN + across * max(map(len, rows)), GAP + down * len(rows)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row_number, row in enumerate(rows):
        top = GAP + down * row_number
        draw.text((GAP, top + LINE), f"id {names.pid(row[0][0].pid)}", fill=INK)
        for column, (sample, picture) in enumerate(row):
            left = MARGIN + across * column
            draw.text(
                (left, top), "no camera" if sample.camid == NO_CAMERA else f"cam {names.camid(sample.camid)}", fill=INK
            )
            if picture:
                sheet.paste(ImageOps.pad(picture, (width, HEIGHT), color=PAPER), (left, top + LINE))
            else:
                _cross(draw, left, top + LINE, width)
    return sheet


def _cross(draw: ImageDraw.ImageDraw, left: int, top: int, width: int) -> None:
    right, bottom = left + width - 1, top + HEIGHT - 1
    draw.rectangle((left, top, right, bottom), outline=BROKEN)
    draw.line((left, top, right, bottom), fill=BROKEN)
    draw.line((left, bottom, right, top), fill=BROKEN)
