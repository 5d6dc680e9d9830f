"""The commands by which pages and benchmarks say that benchmarks are run: whether they can be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"((?:[A-Z_]+=\S+ )*)python (?:-m benchmarks\.(\w+)|benchmarks/(\w+)\.py)([^`\n#]*)")
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "benchmarks").glob("*.py"))]
FOUND = [(page.name, found) for page in PAGES for found in COMMAND.finditer(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "found"), FOUND, ids=[f"{page}: {found[0][:60]}" for page, found in FOUND])
def test_a_command_names_a_benchmark_that_can_be_run_so(page: str, found: re.Match[str]) -> None:
    given, module, script, words = found.groups()
    source = (ROOT / "benchmarks" / f"{module or script}.py").read_text(encoding="utf-8")
    if script and re.search(r"^from benchmarks", source, re.MULTILINE):
        assert "PYTHONPATH" in given, "a script sees no module beside it but by `python -m`"
    if "parse_known_args" not in source:  # others are passed on to `reidkit train`
        assert set(re.findall(r"(?<!\S)\[?(--[a-z][\w-]*)", words)) <= set(re.findall(r'"(--[\w-]+)"', source))


def test_there_are_commands() -> None:
    assert len(FOUND) > 30
