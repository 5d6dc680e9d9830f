"""`reidkit recipes`: what can be trained."""

from __future__ import annotations

from typing import Annotated

import typer

from reidkit import recipe as recipe_file
from reidkit.cli import complete
from reidkit.cli.show import percent, print_json, print_line, print_table
from reidkit.recipes import ROWS, find


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(autocompletion=complete.recipes, help="Print this one whole, as JSON that `train` takes."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The list as JSON.")] = False,
) -> None:
    """List the recipes with their published scores, or print one as JSON."""
    if name is not None:
        print_json(recipe_file.to_json(find(name)))
        return
    if as_json:
        print_json(
            {
                "recipes": [
                    {
                        "name": row.recipe.name,
                        "title": row.title,
                        "published": {
                            data: {"rank1": scores[0], "map": scores[1]}
                            for data, scores in (("market1501", row.market), ("dukemtmc", row.duke))
                            if scores
                        },
                    }
                    for row in ROWS
                ]
            }
        )
        return
    print_table(
        ("recipe", "row", "Market rank-1", "mAP", "Duke rank-1", "mAP", "network", "size", "epochs"),
        [
            (
                row.recipe.name,
                row.title,
                *(percent(score) for scores in (row.market, row.duke) for score in (scores or (None, None))),
                _network(row.recipe.network),
                f"{row.recipe.images.height}x{row.recipe.images.width}",
                str(row.recipe.optim.epochs),
            )
            for row in ROWS
        ],
    )
    print_line(
        "\nScores are the paper's, in per cent. `reidkit recipes NAME` prints one; `reidkit train NAME` runs it."
    )


def _network(network: recipe_file.Network) -> str:
    width = "" if network.width == 1 else f" x{network.width:g}"
    return f"{network.backbone}{width}"
