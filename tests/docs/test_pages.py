"""What the pages say exists: commands, options, recipe fields, files."""

import itertools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from reidkit import recipe as recipes
from reidkit.cli.main import app
from reidkit.experiments.plan import Experiment, plan_runs
from reidkit.recipes import ROWS, TABLES, beyond
from reidkit.recipes.luo2019 import ladder

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
ROOT_COMMAND: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = ROOT_COMMAND.commands


def calls(page):
    """The reidkit commands in the blocks of a page and between its backticks, split into words."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines()
    inline = re.findall(r"`(reidkit [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [line.split(" #")[0].strip() for line in (*blocks, *inline)]
    return [shlex.split(line) for line in lines if line.startswith("reidkit ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page):
    general = {option for parameter in ROOT_COMMAND.params for option in parameter.opts}
    for _, name, *words in calls(page):
        if name in general:
            continue
        assert name in COMMANDS, f"{page.name}: reidkit {name}"
        command = COMMANDS[name]
        if words and (inner := getattr(command, "commands", None)):
            assert words[0] in inner, f"{page.name}: reidkit {name} {words[0]}"
            command = inner[words[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        used = {word.split("=")[0] for word in words if word.startswith("--")}
        assert used <= known, f"{page.name}: reidkit {name}"
        for before, setting in itertools.pairwise(words):
            if before == "--set" and "SECTION" not in setting:
                recipes.override(ROWS[0].recipe, [setting])


def choices(command):
    """The values of each option of a command, and of those below it, that takes one of a few."""
    found = {}
    for parameter in command.params:
        shown = (parameter.get_help_record(typer.Context(command, info_name="x")) or [""])[0]
        some = re.search(r"<([\w-]+(?:\|[\w-]+)+)>", shown)
        found |= {option: {*some[1].split("|")} if some else {".*"} for option in parameter.opts}
    for inner in getattr(command, "commands", {}).values():
        for option, some in choices(inner).items():
            found[option] = found.get(option, set()) | some
    return found


def test_values_of_options_exist():
    known = choices(ROOT_COMMAND)
    assert known["--feature"] == {"after", "before"}
    for page in PAGES:
        for option, value in re.findall(r"`(--[a-z-]+) ([^`\s]+)`", page.read_text(encoding="utf-8")):
            some = known.get(option, {".*"})
            fits = value.isupper() or any(re.fullmatch(one, value) for one in some)
            assert fits, f"{page.name}: {option} {value}: it is one of {some}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_has_calls_to_check():
    assert len(calls(ROOT / "README.md")) >= 6


def test_recipes_page_names_the_ladder():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for row in ladder.ROWS:
        if row.published:
            rank1, map_ = row.published["market1501"]
            assert f"`{row.name}`" in text
            assert f"{100 * rank1:.1f} / {100 * map_:.1f}" in text


def test_methods_page_names_every_method():
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    for row in beyond.METHODS:
        assert f"`{row.name}`" in text or row.name in {"osnet-x0_75", "osnet-x0_5", "strong-resnet50-ibn-b"}, row.name


def test_paper_page_counts_the_trainings_of_each_table(tmp_path):
    text = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| `reidkit paper (\w+)` \| .* \| ([^|]*) \|$", text, re.MULTILINE))
    assert set(said) == {*TABLES, "differences"}
    sets = {"market1501": tmp_path / "a", "dukemtmc": tmp_path / "b"}
    for name, table in TABLES.items():
        plain, masked = (
            len(plan_runs(Experiment(table=table, data=sets, out=tmp_path, masks=masks))) // len(sets)
            for masks in (None, tmp_path)
        )
        numbers = [int(number) for number in re.findall(r"\d+", said[name])]
        assert numbers == [plain, *([masked - plain] if masked > plain else [])], name


def test_recipes_page_names_values_that_exist():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").split("## Where paper")[1]
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \|", text, re.MULTILINE)
    assert len(rows) >= 7
    for field, values in rows:
        for value in re.findall(r"`([\w-]+)`", values):
            recipes.override(ROWS[0].recipe, [f"{field}={value}"])


def test_modules_that_pages_name_exist():
    """`train/loop.py` in a page is a file of that path. Pages that compare with other programs name theirs, too."""
    files = [
        str(path.relative_to(ROOT))
        for part in ("src", "tests", "benchmarks", "docs")
        for path in (ROOT / part).rglob("*.py")
    ]
    named = [
        (page.name, name)
        for page in PAGES
        if page.name not in {"CHANGELOG.md", "parity.md"}
        for name in re.findall(r"`([\w/.]+\.py)`", page.read_text(encoding="utf-8"))
    ]
    assert len(named) > 20
    assert not [(page, name) for page, name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)]


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_an_anchor_by_hand(tmp_path):
    (tmp_path / "page.md").write_text("# The paper's tables\n\n## `csv`: a table\n", encoding="utf-8")
    assert anchors(tmp_path / "page.md") == {"the-papers-tables", "csv-a-table"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_anchors_exist(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert anchor in anchors(page.parent / target if target else page), f"{page.name}: {target}#{anchor}"
