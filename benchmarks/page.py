"""One page of the speeds that need nothing from elsewhere, beside usual programs and what the machine allows.

Run: `python -m benchmarks.page [--out build/bench.md] [--only training scoring ...]`; many minutes on one thread.
Each benchmark is a process of its own, its peer measured in turns with it, in seconds of the processor, so that other
work on the machine changes ratios little. One that fails is named on the page, and the others go on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Row(NamedTuple):
    """A line of the page: what was measured, ours, the peer, how many times the peer ours is, and the limit."""

    what: str
    ours: str
    peer: str
    ratio: str
    limit: str


class Benchmark(NamedTuple):
    """A module of this folder, its arguments, and what its output says."""

    name: str
    arguments: list[str]
    rows: Callable[[str], Iterator[Row]]


def of_training(output: str) -> Iterator[Row]:
    """ResNet-50 at 128x64 beside a plain loop; the limit is a large product in the same precision."""
    found = json.loads(output)
    plain = found["plain"]["images_per_cpu_s"]
    for name, one in found.items():
        if name != "plain":
            yield Row(
                f"training, ResNet-50 at 128x64, {one['precision']}",
                f"{one['images_per_cpu_s']} images/s",
                f"a plain loop in float32: {plain} images/s",
                f"{one['times_the_plain_loop']}",
                f"{one['share_of_matrix_rate']:.0%} of a product's rate ({one['matrix_gflops_per_core']:.0f} GFLOP/s)",
            )


def of_input(output: str) -> Iterator[Row]:
    """Batches at 256x128 from decoded images."""
    rate = json.loads(output)["images_per_cpu_second"]["training batches"]
    yield Row("input, training batches at 256x128", f"{rate:,} images/s", "", "", "what training takes")


def of_scoring(output: str) -> Iterator[Row]:
    """Scores at Market-1501's size beside a program that sorts; the limit is the product of the features."""
    found = json.loads(output)
    ours, sorting = found["scores_of_distances"], found["scores_by_sorting"]
    size = "3,368 x 15,913"
    yield Row(f"CMC, mAP, mINP of {size} distances", _s(ours), f"sorting: {_s(sorting)}", f"{sorting / ours:.1f}", "")
    limit = f"{found['ratio']:.2f} times the product alone, which is at {found['of_peak']:.0%} of the peak"
    yield Row(f"the same from features of 2,048 numbers ({size})", _s(found["product_and_scores"]), "", "", limit)


def of_reranking(output: str) -> Iterator[Row]:
    """k-reciprocal re-ranking beside the usual program of full matrices."""
    found = json.loads(output)
    runs = {run["program"]: run for run in found["runs"]}
    ours, usual = runs["ours"], runs["usual"]
    share, rate = ours["product_seconds"] / ours["cpu_seconds"], ours["gflop_per_second"]
    size = f"{ours['queries']:,} x {ours['gallery']:,} x {ours['width']:,}"
    yield Row(
        f"re-ranking, {size}",
        f"{_s(ours['cpu_seconds'])}, {ours['peak_mb']:,.0f} MB",
        f"full matrices: {_s(usual['cpu_seconds'])}, {usual['peak_mb']:,.0f} MB",
        f"{usual['cpu_seconds'] / ours['cpu_seconds']:.1f}",
        f"{share:.0%} of it is the product ({rate:.0f} GFLOP/s)",
    )


def of_export(output: str) -> Iterator[Row]:
    """Features of a ResNet-50 at 256x128, last stride 1, beside eager torch."""
    lines = re.findall(r"^(\S.*?)\s{2,}([\d.]+) images/s\s+([\d.]+) x eager\s+(.*)$", output, re.MULTILINE)
    eager = next(rate for name, rate, *_ in lines if name == "torch, eager")
    for name, rate, ratio, share in lines:
        if name != "torch, eager":
            what = f"features, ResNet-50 at 256x128, {name}"
            limit = share.replace("the peak", "a float32 product's rate")
            yield Row(what, f"{rate} images/s", f"eager torch: {eager} images/s", ratio, limit)


def of_gallery(output: str) -> Iterator[Row]:
    """Search of a gallery beside FAISS's flat index."""
    lines = re.findall(r"^(.*): ([\d.]+) ms a query, FAISS flat ([\d.]+) ms, ([\d.]+) times", output, re.MULTILINE)
    for name, ours, faiss, ratio in lines:
        yield Row(f"gallery of 100,000 x 2,048, {name}", f"{ours} ms", f"FAISS flat: {faiss} ms", ratio, "exact")


BENCHMARKS = (
    Benchmark("training", ["--steps", "4", "--rounds", "2", "--json"], of_training),
    Benchmark("input_pipeline", ["--json"], of_input),
    Benchmark("scoring", ["--json"], of_scoring),
    Benchmark("reranking", ["--full", "--json"], of_reranking),
    Benchmark("export", ["speed", "--batch", "8"], of_export),
    Benchmark("gallery", [], of_gallery),
)


def _s(seconds: float) -> str:
    return f"{seconds:.3g} s"


def main() -> None:
    """Measure one after the other, and write the page after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench.md"))
    parser.add_argument("--only", nargs="+", choices=[one.name for one in BENCHMARKS], metavar="NAME")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for one in BENCHMARKS:
        if not options.only or one.name in options.only:
            print(f"{one.name} ...", file=sys.stderr, flush=True)
            rows += measured(one)
            options.out.write_text(page(rows), encoding="utf-8")
    print(page(rows))
    print(f"Written to {options.out}.", file=sys.stderr)


def measured(one: Benchmark) -> list[Row]:
    """The rows of one benchmark, or one row that says why there are none."""
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment.pop("OPENBLAS_CORETYPE", None)
    command = [sys.executable, "-m", f"benchmarks.{one.name}", *one.arguments]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip() or "no message").splitlines()[-1]
        return [Row(one.name, f"failed: {why}".replace("|", "/"), "", "", "")]
    return list(one.rows(done.stdout))


def page(rows: list[Row]) -> str:
    """The page, in Markdown."""
    today = datetime.datetime.now(datetime.UTC).date()
    lines = [
        "# Speed on this machine",
        "",
        f"{today}, {commit()}; {processor()}, one thread; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "numba"))
        + ". Seconds are those of the processor. *Times* is how many times as fast as the peer ours is.",
        "",
        "| what | ours | peer | times | limit |",
        "|---|---:|---:|---:|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def commit() -> str:
    """The commit of this checkout."""
    call = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(call, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit known"


def processor() -> str:
    """The processor's name."""
    path = Path("/proc/cpuinfo")
    text: Any = re.search(r"model name\s*: (.*)", path.read_text()) if path.exists() else None
    return str(text.group(1)) if text else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
