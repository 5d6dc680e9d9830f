"""`reidkit recipes`: the named recipes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated

import typer

from reidkit import recipe as recipe_file
from reidkit.cli import options, suggest
from reidkit.cli.output import print_json, print_line, print_table, print_text
from reidkit.recipes import ROWS, get_recipe
from reidkit.recipes.paper_table import DUKE, MARKET, MSMT17
from reidkit.terminal import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidkit.recipes.paper_table import Row


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=options.starting_with(suggest.recipe_names),
            help="Print this one whole, as JSON that `train` takes.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The list as JSON.")] = False,
) -> None:
    """List the recipes with their published scores, or print one as JSON."""
    if name is not None:
        print_json(recipe_file.to_json(get_recipe(name)))
        return
    if as_json:
        print_json(
            {
                "recipes": [
                    {
                        "name": row.name,
                        "title": row.title,
                        "published": {
                            data: {"rank1": rank1, "map": map_} for data, (rank1, map_) in row.published.items()
                        },
                        "note": row.note,
                    }
                    for row in ROWS
                ]
            }
        )
        return
    for what, rows in itertools.groupby(ROWS, _family):
        print_line(f"{what}:")
        members = list(rows)
        _print_rows(members)
        for row in members:
            _print_note(row)
        print_line()
    print_text(
        "Scores are the rank-1 and mAP of papers, in per cent. `reidkit recipes NAME` prints one; "
        "`reidkit train NAME` runs it. A method that has a `small-NAME` has a `short-NAME`, too: the recipe at "
        "128x64 for 24 epochs."
    )


def _print_rows(rows: Sequence[Row]) -> None:
    """Recipes of one network and size, with scores where the paper gives any."""
    names = [("  " + row.name, row.title) for row in rows]
    if not any(row.published for row in rows):
        print_table(("  recipe", "row"), names, left=2)
        return
    print_table(
        ("  recipe", "row", "Market", "mAP", "Duke", "mAP"),
        [
            (*name, *(percent(score) for data in (MARKET, DUKE) for score in row.published.get(data, (None, None))))
            for name, row in zip(names, rows, strict=True)
        ],
        left=2,
    )


def _print_note(row: Row) -> None:
    """What else was published, and with what: the part of MSMT17 that was trained on among it."""
    msmt17 = row.published.get(MSMT17)
    words = f"MSMT17 {' / '.join(map(percent, msmt17))}. {row.note}" if msmt17 else row.note
    if words:
        print_text(f"{row.name}: {words}", indent="    ")


def _family(row: Row) -> str:
    """Return network, image size and length, which the recipes of a family share."""
    recipe = row.recipe or recipe_file.Recipe()
    network, images = recipe.network, recipe.images
    width = "" if network.width == 1 else f" x{network.width:g}"
    return f"{network.backbone}{width}, {images.height}x{images.width}, {recipe.optim.epochs} epochs"
