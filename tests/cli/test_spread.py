"""Bundles of options as options of a command."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import typer

from reidkit.cli.command import Command
from reidkit.cli.options import spread


@dataclass(frozen=True, kw_only=True)
class Size:
    height: Annotated[int, typer.Option("--height", help="Pixels.")] = 4
    width: Annotated[int, typer.Option("--width", help="Pixels.")] = 2


def draw(name: str, size: Size, times: int = 1) -> str:
    """Draw."""
    return f"{name} {size.height}x{size.width} {times}"


def test_each_field_is_a_parameter_with_its_default():
    made = spread(draw)
    parameters = inspect.signature(made).parameters
    assert list(parameters) == ["name", "height", "width", "times"]
    assert parameters["height"].default == 4
    assert made(name="a", height=1, width=3, times=2) == "a 1x3 2"
    assert (made.__name__, made.__doc__) == ("draw", "Draw.")


def test_as_a_command():
    app = typer.Typer()
    found = []

    def show(size: Size, skip_unreadable: bool = False, evaluate_every: int = 0) -> None:
        found.append((size, skip_unreadable, evaluate_every))

    app.command(cls=Command)(spread(show))
    app(["--width", "7", "--skip-broken", "--judge-every=3"], standalone_mode=False)
    app(["--skip-unreadable", "--evaluate-every", "4"], standalone_mode=False)
    assert found == [(Size(width=7), True, 3), (Size(), True, 4)]
