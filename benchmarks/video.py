"""What the parts of `reidkit video track` cost, in frames a second of a core, and its memory as a video grows.

    python benchmarks/video.py speed CLIP --detector yolox_nano.onnx --model runs/small
    python benchmarks/video.py memory CLIP --boxes det.txt --model runs/small --minutes 1 60

`memory` plays the clip again and again, in a process of its own for each length; its boxes are those of a file (as a
`speed` run writes them to DIR/VIDEO/mot.txt), repeated likewise but without ids, so that an hour takes minutes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import reidkit as rk
from reidkit.video import TrackOptions, track
from reidkit.video.frames import VideoFile


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Track a clip, and return the CPU seconds of each part."""
    model = rk.load_model(options.model, input_spec=options.input_spec)
    done = track([options.clip], options.out, detector=options.detector, model=model, options=TrackOptions())
    counts = done.records[0].counts
    for stage, (used, items) in done.speed.items():
        rate = f"{items / used:10,.0f}" if items and used else f"{'-':>10}"
        print(f"{stage:10}{used:9.2f} CPU s{rate} {'crops' if stage == 'ReID' else 'frames'}/s")
    total = sum(used for used, _ in done.speed.values())
    print(f"{'all':10}{total:9.2f} CPU s{counts.frames / total:10,.1f} frames/s, {done.seconds:.1f} s by the clock")
    return done.as_json()


def looped(clip: Path, boxes: Path, minutes: float, folder: Path) -> tuple[Path, Path]:
    """Write a video that plays a clip again and again, its packets as they are, and the boxes of all its frames."""
    import av

    frames = [(frame.number, frame.second) for frame in VideoFile(clip)]
    length = frames[-1][1] + frames[-1][1] / (len(frames) - 1)
    rounds = max(1, round(60 * minutes / length))
    video, text = folder / f"{minutes:g}.mkv", folder / f"{minutes:g}.txt"
    with av.open(str(video), "w") as out:
        with av.open(str(clip)) as first:
            stream = out.add_stream_from_template(first.streams.video[0])
        for number in range(rounds):
            with av.open(str(clip)) as source:
                for packet in source.demux(source.streams.video[0]):
                    if packet.dts is None or packet.pts is None:
                        continue
                    shift = round(number * length / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    out.mux(packet)
    rows = [line.split(",") for line in boxes.read_text().splitlines()]
    with text.open("w") as file:
        for number in range(rounds):
            for frame, _, *rest in rows:
                file.write(f"{int(frame) + number * len(frames)},-1,{','.join(rest)}\n")
    return video, text


class Rows:
    """The boxes of a sorted file of MOT, a frame in memory at a time: what is measured is the tracking."""

    batch = 1
    description = "rows of a file"

    def __init__(self, path: Path) -> None:
        import numpy as np

        self._np, self._frame = np, 0
        self._lines = path.open()
        self._next = self._read()

    def _read(self) -> list[float]:
        line = self._lines.readline()
        return [float(cell) for cell in line.split(",")[:7]] if line else []

    def detect(self, images: Any) -> list[Any]:
        """Return the boxes of the next frame."""
        from reidkit.video.boxes import Detections, within

        self._frame += 1
        rows = []
        while self._next and self._next[0] <= self._frame:
            rows.append(self._next)
            self._next = self._read()
        array = self._np.array(rows, self._np.float32).reshape(-1, 7)
        corners = self._np.concatenate([array[:, 2:4] - 1, array[:, 2:4] - 1 + array[:, 4:6]], axis=1)
        return [within(Detections(corners, array[:, 6]), images[0].shape[1], images[0].shape[0])]


def child(options: argparse.Namespace) -> None:
    """Track a video in this process, and print the peak of its memory."""
    model = rk.load_model(options.model, input_spec=options.input_spec)
    done = track([options.clip], options.out, detector=Rows(Path(options.boxes)), model=model)
    counts = done.records[0].counts
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"frames": counts.frames, "pieces": counts.pieces, "peak_mib": peak, "seconds": done.seconds}))


def memory(options: argparse.Namespace) -> None:
    """Track videos of growing length, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        # The rows of a file of results are ordered by track, and those of detections by frame.
        rows = sorted(Path(options.boxes).read_text().splitlines(), key=lambda line: int(line.split(",")[0]))
        boxes = Path(folder) / "boxes.txt"
        boxes.write_text("\n".join(rows))
        for minutes in options.minutes:
            video, text = looped(Path(options.clip), boxes, minutes, Path(folder))
            words = ["child", str(video), "--boxes", str(text), "--model", str(options.model)]
            words += ["--out", str(Path(folder) / f"out-{minutes:g}")]
            words += ["--input-spec", options.input_spec] if options.input_spec else []
            done = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{minutes:6g} min: {found['frames']:8,} frames, {found['pieces']:6,} tracks, "
                f"peak {found['peak_mib']:7.1f} MiB, {found['seconds']:.0f} s",
                flush=True,
            )
            video.unlink()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory", "child"])
    parser.add_argument("clip")
    parser.add_argument("--detector")
    parser.add_argument("--boxes")
    parser.add_argument("--model", required=True)
    parser.add_argument("--input-spec")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 60.0])
    parser.add_argument("--out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options.out = options.out or folder
        {"speed": speed, "memory": memory, "child": child}[options.what](options)


if __name__ == "__main__":
    main()
