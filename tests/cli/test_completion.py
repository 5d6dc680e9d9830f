from __future__ import annotations

import os
import subprocess
import sys

import pytest

from reidkit.cli import suggest


@pytest.mark.parametrize(
    ("incomplete", "offered"),
    [
        ("optim.warmup_", ["optim.warmup_epochs=", "optim.warmup_steps="]),
        ("network.neck=", ["network.neck=none", "network.neck=bnneck", "network.neck=l2", "network.neck=bn-relu"]),
        ("network.neck=bnn", ["network.neck=bnneck"]),
        ("network.stem_relu=", ["network.stem_relu=true", "network.stem_relu=false"]),
        ("network.last_stride=", ["network.last_stride=1", "network.last_stride=2"]),
        ("optim.lr=", []),
        ("nothing=", []),
        ("nothing", []),
    ],
)
def test_settings(incomplete: str, offered: list[str]) -> None:
    assert suggest.settings(incomplete) == offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("reidkit tr", ["train"]),
        ("reidkit train small-strong-b", ["small-strong-baseline"]),
        ("reidkit train x --set optim.lr", ["optim.lr="]),
        ("reidkit recipes strong-b", ["strong-baseline"]),
        ("reidkit paper diff", ["differences"]),
        ("reidkit show att", ["attention"]),
        ("reidkit evaluate x --metric e", ["euclidean"]),
        ("reidkit evaluate x --device c", ["cpu", "cuda"]),
        ("reidkit evaluate x --format dukemtmc-", ["dukemtmc-train"]),
        ("reidkit train x --as p", ["paper-text"]),
    ],
)
def test_as_a_shell_asks(line: str, offered: list[str]) -> None:
    count = len(line.split()) - 1
    asked = {"_REIDKIT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(count)}
    done = subprocess.run(
        [sys.executable, "-m", "reidkit"], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == offered
