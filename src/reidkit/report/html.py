"""Pages from templates: each one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit import terminal
from reidkit.atomic import write_text_atomic
from reidkit.plots.charts import number
from reidkit.plots.image_grid import data_uri, overlay_uri, shown_name
from reidkit.plots.style import DARK, LIGHT
from reidkit.terminal import visible

if TYPE_CHECKING:
    from pathlib import Path


def render(template: str, **values: object) -> str:
    """Fill a template of `report/templates`; every text in it is escaped, and a missing value is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("reidkit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.globals |= {"light": LIGHT, "dark": DARK}
    environment.filters |= {
        "image": data_uri,
        "overlay": overlay_uri,
        "name": shown_name,
        "percent": percent,
        "signed": lambda value: terminal.percent(value, sign="+"),
        "distance": _distance,
    }
    return environment.get_template(template).render(**values)


def write_page(path: Path, text: str) -> None:
    """Write a page atomically.

    Raises:
        DataError: the file cannot be written.
    """
    # A file name that is not UTF-8 arrives with surrogates, which no file can hold.
    write_text_atomic(path, text.encode("utf-8", "replace"))


def percent(value: object) -> str:
    """Write a fraction in per cent with one decimal, or a dash for what is no number."""
    return terminal.percent(number(value), none="–")


def _distance(value: object) -> str:
    distance = number(value)
    return "–" if distance is None else f"{distance:.3f}"
