"""`reidkit import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidkit.cli import options
from reidkit.cli.output import print_json, print_line
from reidkit.cli.suggest import families
from reidkit.terminal import first_and_more

if TYPE_CHECKING:
    from reidkit.train.foreign_models import ImportedModel


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Another project's weights: .pth, .pt or .safetensors.")],
    family: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FAMILY",
            autocompletion=options.starting_with(families),
            help="The layout of its keys, as fast-reid-sbs; recognised without.",
        ),
    ] = None,
    settings: options.Settings = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the model.  [default: FILE-imported]")] = None,
    as_json: options.Json = False,
) -> None:
    """Make a model of another project's weights, without executing what their file holds."""
    from reidkit.train.foreign_models import import_weights

    folder = out or file.with_name(f"{file.stem}-imported")
    found = import_weights(file, family=family, settings=settings or (), out=folder)
    if as_json:
        recipe = found.model.recipe
        print_json(
            {
                "family": found.family,
                "backbone": recipe.network.backbone,
                "head": recipe.network.head,
                "dim": found.model.dim,
                "input": found.model.input.to_json(),
                "left_out": list(found.left_out),
                "remarks": list(found.remarks),
                "model": found.model.fingerprint,
                "out": str(folder),
            }
        )
        return
    _print(found, folder)


def _print(found: ImportedModel, folder: Path) -> None:
    network = found.model.recipe.network
    head = "" if network.head == "single" else f" with the head {network.head}"
    print_line(f"{found.family}: {network.backbone}{head}, {found.model.dim} numbers, images {found.model.input}")
    for remark in found.remarks:
        print_line(f"assumed, as no key says: {remark}")
    if found.left_out:
        print_line(f"left out: {first_and_more(name[:80] for name in found.left_out)}")
    print_line(f"{folder}/model.safetensors  {found.model.fingerprint}")
