"""What docs/design.md says of the tree: its layers are those that are enforced, and its files are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

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
