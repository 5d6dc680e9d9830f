"""`benchmarks/gpu.py` at its small size on a CPU: that it will run through where a GPU is lent for ten minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.gpu_setting import Setting, gflop, peak, recipe_for
from benchmarks.gpu_training import LADDER

from benchmarks import gpu

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.py"

NOT_CARRIED = ("pydantic", "typer", "rich", "jinja2", "matplotlib", "tensorboard")
"""Packages that the script must do without, as docs/speed.md says."""


def call(out: Path, *options: str) -> dict[str, Any]:
    """Run the script as its first lines say, on a machine that lacks what need not be there."""
    without = f"import runpy, sys; sys.modules.update(dict.fromkeys({NOT_CARRIED!r}))"
    program = f"{without}; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-c", program, str(SCRIPT), "--small", "--out", str(out), *options]
    subprocess.run(command, env=environment, cwd=out, check=True, capture_output=True, timeout=300)
    result: dict[str, Any] = json.loads((out / "gpu.json").read_text())
    return result


def call_here(monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> dict[str, Any]:
    """The same in this process."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--small", "--out", str(out), *options])
    gpu.main()
    result: dict[str, Any] = json.loads((out / "gpu.json").read_text())
    return result


@pytest.fixture(scope="module")
def figures(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    out = tmp_path_factory.mktemp("gpu")
    parts = [f"--only={part}" for part in gpu.PARTS if part != "modes"]
    return call(out, "--data", str(noise), "--workers", "1", *parts), (out / "gpu.md").read_text()


def test_every_part_gives_its_figures(figures: tuple[dict[str, Any], str]) -> None:
    found, text = figures
    assert list(found) == [*(part for part in gpu.PARTS if part != "modes"), "shares"]
    for variant in LADDER:
        assert found["training"][variant.name]["images_per_s"] > 0, variant
        assert f"| {variant.name} |" in text
        assert found["shares"][f"training: {variant.name}"]["times_the_plain_loop"] > 0
    assert found["plain"]["float32"]["images_per_s"] > 0
    assert found["embedding"]["bf16, folded, channels last"]["batch 8"] > 0
    assert found["reading"]["images_per_s"] > 0
    scoring = found["scoring"]["20 x 60"]
    assert min(value for key, value in scoring.items() if key.startswith("seconds")) > 0
    assert scoring["same_scores"]
    assert found["device"]["matrix_bf16_tflops"] > 0
    assert "failed" in found["waits"]
    assert found["host"]["step_ms"] > 0
    assert any("conv" in name for name in found["host"]["host_ms_profiled"])


def test_the_run_is_judged(figures: tuple[dict[str, Any], str]) -> None:
    run = figures[0]["run"]
    assert run["epochs"] == 2
    assert 0 < run["scores"]["map"] <= 1


def test_what_fails_is_said_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parts = ("--only=plain", "--only=run", "--only=scoring")
    found = call_here(monkeypatch, tmp_path, "--data", str(tmp_path / "none"), *parts)
    assert found["plain"]["failed"].startswith("MissingFileError: ")
    assert found["run"]["failed"].startswith("MissingFileError: ")
    scoring = found["scoring"]["20 x 60"]
    assert min(value for key, value in scoring.items() if key.startswith("seconds")) > 0
    assert scoring["same_scores"]


def test_no_part_is_begun_when_the_time_is_spent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = call_here(monkeypatch, tmp_path, "--budget-seconds", "0", "--only=scoring", "--only=run")
    assert {found[part]["failed"] for part in ("scoring", "run")} == {"left out: the time is spent"}


def test_a_run_that_will_not_fit_is_broken_off(noise: Path, tmp_path: Path) -> None:
    """120 epochs have no room in six seconds less what the evaluation is given, as the third one shows."""
    from dataclasses import replace

    import torch
    from benchmarks.gpu_search import whole_run

    from reidkit.errors import RunError

    recipe = recipe_for("strong-baseline", small=True)
    recipe = replace(recipe, optim=replace(recipe.optim, epochs=120))
    setting = Setting(device=torch.device("cpu"), recipe=recipe, ends=0.0, small=True, data=noise, out=tmp_path)
    with pytest.raises(RunError, match=r"broken off after epoch 3: \d+ images/s, so the rest would take"):
        whole_run(setting)


def test_the_work_of_an_image_by_hand() -> None:
    """ResNet-50 at 224 x 224 has 4.09 G multiplications (He et al. count 3.8 without the shortcuts).

    At 256 x 128 all maps are 0.653 times as large; a last stride of 1 makes the last stage's four times as large.
    """
    from reidkit.recipes import get_recipe

    training, search = gflop(get_recipe("standard-baseline"))
    assert search == pytest.approx(2 * 4.09 * 256 * 128 / 224**2, rel=0.01)
    assert training == pytest.approx(3 * search, rel=0.05)
    assert gflop(get_recipe("strong-baseline"))[1] == pytest.approx(8.1, abs=0.1)


def test_peaks() -> None:
    assert peak("NVIDIA H100 80GB HBM3") == 989
    assert peak("NVIDIA H100 PCIe") == 756
    assert peak("NVIDIA A100-SXM4-80GB") == 312
    assert peak("CPU") is None
