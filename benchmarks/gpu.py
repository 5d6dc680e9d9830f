"""What a GPU makes of reidkit, in one call of under ten minutes: rates of every variant, and a whole training run.

Each part's failure is written down and the next part goes on; what is measured is saved after each part, as
`gpu.json` and `gpu.md`. docs/speed.md says what the parts are and what has to be carried to a machine without network.

Run: `PYTHONPATH=src:. python benchmarks/gpu.py [--data DIR] [--weights FILE] [--out DIR] [--only PART]...`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import gpu_search, gpu_training
from benchmarks.gpu_setting import Setting, gflop, matrix_rate, peak, recipe_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Result = dict[str, Any]


def device_part(setting: Setting) -> Result:
    """The machine, its rates, and the work of an image."""
    cuda = setting.device.type == "cuda"
    name = torch.cuda.get_device_name(setting.device) if cuda else "CPU"
    training, search = gflop(setting.recipe)
    return {
        "device": name,
        "torch": torch.__version__,
        "recipe": setting.recipe.name,
        "image": f"{setting.recipe.images.height}x{setting.recipe.images.width}",
        "gflop_training": training,
        "gflop_search": search,
        "peak_bf16_tflops": peak(name),
        "matrix_bf16_tflops": matrix_rate(setting, torch.bfloat16),
        "matrix_tf32_tflops": matrix_rate(setting, torch.float32, tf32=True) if cuda else None,
        "matrix_fp32_tflops": matrix_rate(setting, torch.float32),
    }


def plain_part(setting: Setting) -> Iterator[tuple[str, Result]]:
    """The plain loop with worker processes, in strict float32 and with TF32, torch's default for convolutions."""
    for name, tf32 in (("float32", False), ("TF32", True)):
        yield name, gpu_training.plain_loop(setting, tf32=tf32)


PARTS: dict[str, Callable[[Setting], Result | Iterator[tuple[str, Result]]]] = {
    "device": device_part,
    "plain": plain_part,
    "training": gpu_training.ladder,
    "waits": gpu_training.waits,
    "host": gpu_training.host,
    "embedding": gpu_search.embedding,
    "reading": gpu_search.reading_and_embedding,
    "scoring": gpu_search.scoring,
    "run": gpu_search.whole_run,
    "modes": lambda setting: gpu_training.ladder(setting, gpu_training.MODES),
}
"""In the order in which they are run: what the whole run's time depends on comes before it, what can be spared last."""


def run_part(part: str, setting: Setting) -> Result:
    """The figures of a part, or what it had and why it failed."""
    found: Result = {}
    began = time.perf_counter()
    try:
        if setting.left() < 5:
            return {"failed": "left out: the time is spent"}
        made = PARTS[part](setting)
        if isinstance(made, dict):
            found = made
        else:
            for name, figures in made:
                found[name] = figures
                print(f"  {name}: {shown(figures)}", flush=True)
    except (Exception, SystemExit) as error:  # whatever is missing there, the other parts can be measured
        found["failed"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return found | {"part_seconds": time.perf_counter() - began}


def shown(value: object) -> str:
    """A figure as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(inner)}" for key, inner in value.items())
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else str(value)


def shares(results: dict[str, Result]) -> dict[str, Result]:
    """What follows from the figures: the share of the peak, the ratio to the plain loop."""
    device = results.get("device", {})
    plain = results.get("plain", {}).get("float32", {}).get("images_per_s")
    found: dict[str, Result] = {}
    for part in ("training", "modes", "embedding"):
        for name, row in results.get(part, {}).items():
            if not isinstance(row, dict) or "tflops" not in row:
                continue
            made = found.setdefault(f"{part}: {name}", {"images_per_s": row["images_per_s"]})
            for key in ("peak_bf16_tflops", "matrix_bf16_tflops"):
                if device.get(key):
                    made[f"share_of_{key.removesuffix('_tflops')}"] = row["tflops"] / device[key]
            if plain and part != "embedding":
                made["times_the_plain_loop"] = row["images_per_s"] / plain
    return found


def save(out: Path, results: dict[str, Result]) -> None:
    """Write all there is so far, as JSON and as text."""
    whole = results | {"shares": shares(results)}
    (out / "gpu.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    lines = ["# `benchmarks/gpu.py`", ""]
    for part, found in whole.items():
        lines += [f"## {part}", "", "| what | figures |", "|---|---|"]
        lines += [f"| {name} | {shown(value)} |" for name, value in found.items()]
        lines.append("")
    (out / "gpu.md").write_text("\n".join(lines), encoding="utf-8")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="a data set, for the whole run and for the plain loop's files")
    parser.add_argument("--weights", type=Path, help="ImageNet weights to start the whole run from")
    parser.add_argument("--recipe", default="strong-baseline")
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="where figures, cache and run are put")
    parser.add_argument("--budget-seconds", type=float, default=570)
    parser.add_argument("--workers", type=int, default=8, help="processes of the plain loop, 8 in the authors' program")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="this part alone; may be given again")
    parser.add_argument("--small", action="store_true", help="a size for a CPU: whether it works, not how fast it is")
    return parser.parse_args()


def main() -> None:
    """Measure part by part."""
    began = time.perf_counter()
    options = read_options()
    options.out.mkdir(parents=True, exist_ok=True)
    setting = Setting(
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        recipe=recipe_for(options.recipe, small=options.small),
        ends=began + options.budget_seconds,
        small=options.small,
        data=options.data,
        weights=options.weights,
        workers=options.workers,
        out=options.out,
    )
    results: dict[str, Result] = {}
    for part in options.only or PARTS:
        print(f"{part} ({setting.left():.0f} s left)", flush=True)
        results[part] = run_part(part, setting)
        print(f"  {shown(results[part])}", flush=True)
        save(options.out, results)
    print(f"{options.out}/gpu.json {options.out}/gpu.md")


if __name__ == "__main__":
    main()
