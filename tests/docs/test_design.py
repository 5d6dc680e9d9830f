"""What docs/design.md says of the tree: its layers are those that are enforced, and its files are there."""

from __future__ import annotations

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
SOURCE = ROOT / "src" / "reidkit"


def test_the_layers_are_those_that_are_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(each["layers"] for each in contracts["contracts"] if each["type"] == "layers")
    enforced = [sorted(re.findall(r"reidkit\.(\w+)", layer)) for layer in layers]
    block = PAGE.split("## Layers\n")[1].split("```\n")[1]
    written = [sorted(re.split(r"\s*\|\s*", re.split(r"\s{2,}", line.strip())[0])) for line in block.splitlines()]
    assert written == enforced


def test_packages_and_files_are_there() -> None:
    rows = re.findall(r"^\|(.+)\|(.+)\|(.*)\|$", PAGE.split("| package |")[1].split("\n\n")[0], re.MULTILINE)[2:]
    assert len(rows) >= 12
    named: set[str] = set()
    for places, holds, begin in rows:
        found = re.findall(r"`([\w/.]+)`", places)
        assert found, places
        assert all((SOURCE / place).exists() for place in found), places
        named |= {place.strip("/") for place in found}
        folders = [SOURCE, *(SOURCE / place for place in found if place.endswith("/"))]
        files = [name for cell in (holds, begin) for name in re.findall(r"`([\w/]+(?:\.py|/))`", cell)]
        assert all(any((folder / name).exists() for folder in folders) for name in files), (places, files)
    packages = {file.parent.name for file in SOURCE.glob("*/__init__.py")}
    assert packages <= named, packages - named


def imported(file: Path, modules: dict[str, Path]) -> Iterator[str]:
    """The modules of reidkit that a file imports, also inside functions and for types alone."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            whole = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in modules else node.module for name in whole)


def test_no_modules_import_each_other_in_a_circle() -> None:
    files = {".".join(file.relative_to(SOURCE.parent).with_suffix("").parts): file for file in SOURCE.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): file for name, file in files.items()}
    imports = {name: set(imported(file, modules)) for name, file in modules.items()}
    assert "reidkit.types" in imports["reidkit.metrics.scoring"]
    order = [*TopologicalSorter(imports).static_order()]  # which raises CycleError, with the circle
    assert order.index("reidkit.train.loop") < order.index("reidkit.cli.train")


def test_no_module_has_more_than_400_lines() -> None:
    lines = {str(file): len(file.read_text(encoding="utf-8").splitlines()) for file in SOURCE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > 400} == {}
