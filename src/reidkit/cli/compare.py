"""`reidkit compare`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reidkit.cli import options
from reidkit.cli.output import check_output, print_json, print_line


def compare(
    model: options.ModelPath,
    first: Annotated[Path, typer.Argument(metavar="A", help="An image of one person.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    threshold: Annotated[
        float | None, typer.Option(help="The similarity of the same person.  [default: the calibrated one]")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Both side by side (.png, .svg or .pdf).")] = None,
    network: options.NetworkOption = None,
    input_spec: options.InputSpecOption = None,
    as_json: options.Json = False,
) -> None:
    """Compare two images: how similar they are, and whether they show the same person."""
    from reidkit.comparison import compare as compare_images
    from reidkit.plots.style import figure_format

    check_output("--picture", picture, first, second)
    if picture:
        figure_format(picture)
    loaded = options.open_model(model, network, input_spec)
    found = compare_images(loaded, first, second, threshold=threshold)
    if picture:
        from reidkit.plots.image_grid import pair_figure
        from reidkit.plots.style import write_figure

        write_figure(pair_figure((first, second), found.same, found.similarity, str(found)), picture)
    if as_json:
        print_json({"a": str(first), "b": str(second), **asdict(found), "model": loaded.fingerprint})
        return
    print_line(str(found))
    if picture:
        print_line(f"picture in {picture}")
