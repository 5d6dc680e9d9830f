"""How many pictures a service embeds: by clients, with and without batches, beside the network alone.

    python -m benchmarks.serving MODEL [--seconds 8] [--clients 1 8 64 400]

Requests are counted by the processor time of the server (all its threads, from /proc), which other programs on the
machine do not change; latencies are by the clock, and they do. Every client keeps one connection and sends its next
picture when the last is answered; one that is refused (429) waits a second, as `Retry-After` says at least.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Load:
    """What clients saw: seconds of answered requests, and how many were refused or failed."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64, 400])
    given = parser.parse_args()
    pictures = [jpeg(seed) for seed in range(32)]
    for size, rate in network_alone(given.model).items():
        print(f"network alone, batches of {size:2d}: {rate:6.0f} pictures per CPU second")
    print("batch  clients  answered  per CPU s  p50 ms  p99 ms  refused  failed")
    for batch in (32, 1):
        with served(given.model, batch) as (pid, address):
            for clients in given.clients:
                before = cpu_seconds(pid)
                load = asyncio.run(press(address, clients, given.seconds, pictures))
                spent = cpu_seconds(pid) - before
                p50, p99 = np.percentile(load.seconds or [np.nan], (50, 99)) * 1000
                done = len(load.seconds)
                print(
                    f"{batch:5d}  {clients:7d}  {done:8d}  {done / spent:9.0f}  {p50:6.0f}  {p99:6.0f}  "
                    f"{load.refused:7d}  {load.failed:6d}",
                    flush=True,
                )


def jpeg(seed: int) -> bytes:
    """Return a photograph-like JPEG of 256 x 128 pixels, 20 to 30 kB."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8)).resize(
        (128, 256), Image.Resampling.BICUBIC
    )
    pixels = np.clip(np.asarray(coarse) + rng.normal(0, 12, (256, 128, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92)
    return file.getvalue()


def network_alone(path: str) -> dict[int, float]:
    """Return the pictures per CPU second of the network by the size of its batches, on one thread."""
    import torch

    from reidkit.encoder import load_model
    from reidkit.serve.embedder import Embedder

    torch.set_num_threads(1)
    embedder = Embedder(load_model(path), device="cpu")
    picture: NDArray[np.uint8] = np.zeros((embedder.spec.height, embedder.spec.width, 3), np.uint8)
    rates = {}
    for size in (1, 8, 32):
        batch = [picture] * size
        embedder(batch)
        began, count = time.thread_time(), 0
        while time.thread_time() - began < 1.5:
            embedder(batch)
            count += size
        rates[size] = count / (time.thread_time() - began)
    return rates


@contextmanager
def served(model: str, batch: int) -> Iterator[tuple[int, str]]:
    """Start `reidkit serve`; its process and its address."""
    words = ["serve", "memory", "--model", model, "--port", "0", "--batch", str(batch), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "reidkit", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        if process.stdout is None:
            raise RuntimeError("a pipe was asked for")
        text = ""
        while "}" not in text:
            text += process.stdout.readline().decode()
        address = str(json.loads(text)["address"])
        asyncio.run(until_ready(address))
        yield process.pid, address
    finally:
        process.terminate()
        process.wait(30)


async def until_ready(address: str) -> None:
    """Wait until a service answers requests."""
    where = urlsplit(address)
    while True:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(f"GET /health/ready HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode())
        ready = b" 200 " in (await reader.read()).splitlines()[0]
        writer.close()
        if ready:
            return
        await asyncio.sleep(0.2)


async def press(address: str, clients: int, seconds: float, pictures: list[bytes]) -> Load:
    """Have so many clients send pictures for some seconds."""
    load, until = Load(), time.monotonic() + seconds
    await asyncio.gather(
        *(_client(address, until, pictures[number % len(pictures)], load) for number in range(clients))
    )
    return load


async def _client(address: str, until: float, picture: bytes, load: Load) -> None:
    where = urlsplit(address)
    lines = (
        "POST /v1/embed HTTP/1.1",
        f"Host: {where.netloc}",
        "Content-Type: image/jpeg",
        f"Content-Length: {len(picture)}",
    )
    head = "\r\n".join((*lines, "", ""))
    try:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        while (began := time.monotonic()) < until:
            writer.write(head.encode() + picture)
            status = await _answered(reader)
            if status == 200:
                load.seconds.append(time.monotonic() - began)
            elif status == 429:
                load.refused += 1
                await asyncio.sleep(1)
            else:
                load.failed += 1
        writer.close()
    except OSError:
        load.failed += 1


async def _answered(reader: asyncio.StreamReader) -> int:
    """Read one answer; its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    await reader.readexactly(length)
    return int(head.split()[1])


def cpu_seconds(pid: int) -> float:
    """Return the processor time that all threads of a process have taken."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
