"""The tutorial's commands, one after the other as the page has them, on fewer ids and a smaller network.

What the page shows below a command is compared with what it prints: the words, since the numbers are others.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tests.commands import SIZE, settings

if TYPE_CHECKING:
    import pytest

    from tests.commands import Nursery

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
LESS = {"--ids": "8", "--cameras": "3"}
"""Options of the page with smaller values. Of 8 ids the first 4 are for training, so that 5 is the first query."""

DEPENDS = {
    "yes",
    "no",
    "the",
    "same",
    "person",
    "different",
    "persons",
    "at",
    "least",
    "threshold",
    "of",
    "one",
    "kB",
    "MB",
    "over",
    "that",
    "its",
    "row",
    "jpg",
}
"""Words that say what a network thinks of two images, and not what a command prints; `that of its row` is said where
cameras have thresholds of their own, and jpg stands alone where a long key was broken before it."""


def sections() -> list[tuple[list[list[str]], str]]:
    """The commands of each block, and what the page shows below them."""
    found = re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```)?", PAGE, re.DOTALL)
    return [([shlex.split(line) for line in code.replace("\\\n", " ").splitlines()], shown) for code, shown in found]


def smaller(words: list[str]) -> list[str]:
    """A command for the small set: fewer ids, and a training of one epoch."""
    words = [word.replace("0061_", "0005_") for word in words]
    for option, value in LESS.items():
        if option in words:
            words[words.index(option) + 1] = value
    if words[0] == "train":
        words = words[: words.index("--set")]
        few = SIZE | {"optim.epochs": 1, "optim.drops": [], "optim.warmup_epochs": 0, "batch.ids": 2}
        words += [word for setting in settings(few) for word in ("--set", setting)]
    return words


def words_of(text: str) -> set[str]:
    """The words of an output, without names of files and of recipes."""
    text = re.sub(r", \d+ (min|s) left", "", text)
    text = re.sub(r"\S*[/_]\S*|\S+\.\w+\b|small-\S+|^\S+:|\b\w*\d\w*\b", " ", text, flags=re.MULTILINE)
    return {word for word in re.findall(r"[A-Za-z]{2,}", text) if word not in DEPENDS}


def test_words_by_hand() -> None:
    assert words_of("people: 14 images in runs/first\nrank-1  mAP 3.5 %, yes") == {"images", "in", "rank", "mAP"}


def test_smaller_by_hand() -> None:
    assert smaller(["synth", "people", "--ids", "120"]) == ["synth", "people", "--ids", "8"]
    assert "optim.epochs=30" not in smaller(["train", "x", "--set", "optim.epochs=30"])


def test_the_tutorial_from_its_first_command_to_its_last(
    nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = 0
    for lines, shown in sections():
        printed = ""
        for program, *words in lines:
            assert program == "reidkit"
            result = nursery.run(*smaller(words), folder=tmp_path)
            assert result.status == 0, (words, result.err)
            printed += result.out + result.err
            commands += 1
        assert words_of(shown) <= words_of(printed), (lines, words_of(shown) - words_of(printed))
    assert commands >= 10

    # The blocks of Python stand at the end, and use what the commands made.
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "tutorial.md", "exec"), {"__name__": "__main__"})  # noqa: S102
