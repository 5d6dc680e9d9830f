"""What is compared after a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.kill_commands import CASES, listing

from reidkit.cli.main import app

if TYPE_CHECKING:
    from pathlib import Path


def test_what_depends_on_the_clock_or_the_folder_is_left_out(tmp_path: Path) -> None:
    for name, seconds, loss in (("a", 1, 3), ("b", 2, 3), ("c", 1, 4)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_text(f'{{"loss": {loss}, "seconds": {seconds}}}\n{tmp_path / name}\n')
        (tmp_path / name / "report.html").write_text(name)
        (tmp_path / name / ".lock").touch()
    assert listing(tmp_path / "a") == listing(tmp_path / "b")
    assert listing(tmp_path / "a") != listing(tmp_path / "c")
    (tmp_path / "b" / "log.jsonl.0123abcd.partial").touch()
    assert listing(tmp_path / "a") != listing(tmp_path / "b"), "a partial file that stays"
    assert set(listing(tmp_path / "a")) == {"log.jsonl", "report.html"}


def test_its_commands_are_those_of_reidkit() -> None:
    known = {
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback
    }
    known |= {group.name for group in app.registered_groups if group.name}
    assert {case.words.split()[0] for case in CASES} <= known
