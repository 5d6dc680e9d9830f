"""What a step of the ID loss costs, all ids in the softmax beside a sample of them, as their number grows.

    python benchmarks/classifier.py --people 1000 10000 100000

A step is the loss of 64 features, its gradient, and the optimiser's update of the classifier. Each kind is measured in
a process of its own, in turns, because the peak of memory is that of a process; what the same process takes with no
more ids than a batch has is taken off. With `--processes` the rows of the sampled classifier are divided; the
figures are then those of the first process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, TextIO

import torch

from reidkit.distributed import joined
from reidkit.losses.identity import IdentityLoss
from reidkit.losses.partial_fc import PartialFC
from reidkit.train.device import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reidkit.distributed import Group

BATCH = 64
DECAY = 5e-4
WARM = 2


def child(kind: str, people: int, options: argparse.Namespace, group: Group) -> None:
    """Take some steps; print seconds and CPU seconds a step, and the peak of memory in bytes, of this process."""
    device = torch.device(options.device)
    keep_freed_memory()
    torch.manual_seed(0)
    loss, adam = _made(kind, people, options, device, group)
    features = torch.randn(BATCH, options.channels, device=device, requires_grad=True)
    labels = torch.arange(BATCH, device=device) * 7919 % people
    for step in range(WARM + options.steps):
        if step == WARM:
            _settle(device)
            wall, cpu = time.perf_counter(), time.process_time()
        if adam is not None:
            adam.zero_grad()
        loss(features, labels).backward()
        if adam is not None:
            adam.step()
        if isinstance(loss, PartialFC):
            loss.step(3.5e-4)
    _settle(device)
    taken = time.perf_counter() - wall, time.process_time() - cpu
    on_device = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_device else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(json.dumps({"seconds": taken[0] / options.steps, "cpu": taken[1] / options.steps, "bytes": peak}))


def _made(
    kind: str, people: int, options: argparse.Namespace, device: torch.device, group: Group
) -> tuple[torch.nn.Module, torch.optim.Optimizer | None]:
    if kind == "full":
        full = IdentityLoss(options.channels, people, smoothing=0.1).to(device)
        return full, torch.optim.Adam(full.parameters(), lr=3.5e-4, weight_decay=DECAY, fused=True)
    count = max(BATCH, round(options.share * people))
    sampled = PartialFC(options.channels, people, sampled=count, smoothing=0.1, weight_decay=DECAY, group=group)
    return sampled.to(device), None


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(kind: str, people: int, words: Sequence[str], processes: int) -> dict[str, float]:
    """What the first process of a child says; the full loss, which shares nothing out, has one."""
    command = [sys.executable, __file__, "--child", kind, "--people", str(people), *words]
    count = processes if kind == "sampled" else 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **place, "RANK": str(rank)})
        for rank in range(count)
    ]
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"{kind}, {people} people: a process has failed")
    return {key: float(value) for key, value in json.loads(said[0]).items()}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--people", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--channels", type=int, default=2048)
    parser.add_argument("--share", type=float, default=0.1, help="of the ids that enter a step")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1, help="that share out the rows of the sampled one")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--child", choices=("full", "sampled"), help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.child:
        with joined() as group:
            child(options.child, options.people[0], options, group)
        return
    passed = [f"--{name}={getattr(options, name)}" for name in ("channels", "share", "steps", "device")]
    empty = {kind: measure(kind, BATCH, passed, options.processes)["bytes"] for kind in ("full", "sampled")}
    rows = []
    for people in options.people:
        found = defaultdict(list)
        for _ in range(options.rounds):
            for kind in ("full", "sampled"):
                found[kind].append(measure(kind, people, passed, options.processes))
        row: dict[str, float] = {"people": people, "rows_bytes": 4 * people * options.channels}
        for kind, values in found.items():
            row |= {f"{kind}_{key}": statistics.median(v[key] for v in values) for key in ("seconds", "cpu", "bytes")}
            row[f"{kind}_bytes"] -= empty[kind]
        rows.append(row)
        _say(row, sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps({"share": options.share, "processes": options.processes, "rows": rows}, indent=2))


def _say(row: dict[str, float], stream: TextIO) -> None:
    ratio = row["full_cpu"] / row["sampled_cpu"]
    print(
        f"{row['people']:8.0f} people: full {row['full_seconds']:.4f} s ({row['full_cpu']:.4f} CPU s), "
        f"{row['full_bytes'] / 1e9:.2f} GB; sampled {row['sampled_seconds']:.4f} s ({row['sampled_cpu']:.4f} CPU s), "
        f"{row['sampled_bytes'] / 1e9:.2f} GB; {ratio:.1f} times the CPU time",
        file=stream,
        flush=True,
    )


if __name__ == "__main__":
    main()
