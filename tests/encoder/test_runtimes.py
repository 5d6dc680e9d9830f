"""What the runtimes of exported files do beside computing."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.encoder.files import mean_colour

if TYPE_CHECKING:
    from pathlib import Path

BOTH = """
import sys
import threading
from pathlib import Path

import numpy as np
import onnx

from reidkit.encoder import load_model
from reidkit.export.openvino_file import save_openvino

given, out = map(Path, sys.argv[1:])
save_openvino(onnx.load(given), out, {}, half=False)
for path in (given, out):
    model = load_model(path, input_spec="size=4x2,range=255,mean=0,std=1")
    print(model.encode(np.full((1, 4, 2, 3), 7, np.uint8)).tolist())
print([thread.name for thread in threading.enumerate()])
"""


def test_neither_runtime_reports_anything_to_its_makers(tmp_path: Path) -> None:
    """Each begins with a number for this machine, which it keeps in the home folder, and goes on in threads."""
    home = tmp_path / "home"
    home.mkdir()
    path = mean_colour(tmp_path / "given.onnx")
    # Neither told to be silent, nor taken for a service that builds software.
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    words = [sys.executable, "-c", BOTH, str(path), str(tmp_path / "made.xml")]
    ended = subprocess.run(words, env={**kept, "HOME": str(home)}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["[[7.0, 7.0, 7.0]]"] * 2 + ["['MainThread']"]
    found = {file.relative_to(home).as_posix() for file in home.rglob("*")}
    assert not {file for file in found if "intel" in file.lower() or "Microsoft" in file}
