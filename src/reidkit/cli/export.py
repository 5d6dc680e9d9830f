"""`reidkit export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reidkit.cli import options
from reidkit.cli.output import print_json, print_line
from reidkit.terminal import counted

if TYPE_CHECKING:
    from reidkit.export import Exported, Parity


def export(
    model: options.NetworkPath,
    format_: Annotated[Literal["onnx", "openvino"], typer.Option("--format", help="What kind of file.")] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="The file; of triton the folder.  [default: beside the model]")
    ] = None,
    preset: Annotated[
        Literal["plain", "boxmot", "deepstream", "ultralytics", "opencv", "openvino", "triton"],
        typer.Option(help="The program that will load the file."),
    ] = "plain",
    int8: Annotated[bool, typer.Option("--int8", help="Compute in 8 bits; needs --calibration.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store weights in 16 bits: half the file.")] = False,
    calibration: Annotated[
        list[Path] | None, typer.Option(help="Images to check the file with, and to find the ranges of 8 bits.")
    ] = None,
    input_: Annotated[
        Literal["float32", "uint8"] | None,
        typer.Option("--input", help="uint8: colours, normalisation, resizing in the graph.  [default: the preset's]"),
    ] = None,
    colour: Annotated[
        Literal["rgb", "bgr"] | None, typer.Option(help="The order of channels.  [default: the preset's]")
    ] = None,
    resize: Annotated[
        bool | None, typer.Option("--resize/--no-resize", help="Take images of any size.  [default: the preset's]")
    ] = None,
    normalise: Annotated[
        bool | None,
        typer.Option("--normalise/--no-normalise", help="Features of length 1.  [default: the preset's]"),
    ] = None,
    opset: Annotated[int | None, typer.Option(min=9, help="Version of ONNX's operators; 17 for old TensorRT.")] = None,
    licence: Annotated[str | None, typer.Option(help="A note on the weights' licence, for the file.")] = None,
    network: options.NetworkOption = None,
    as_json: options.Json = False,
) -> None:
    """Write a trained network as an ONNX or OpenVINO file, once its features are those of torch."""
    from reidkit.encoder import load_model
    from reidkit.encoder.load import needs_torch
    from reidkit.export import ExportOptions, export_model
    from reidkit.export.exporter import LICENCE

    settings = ExportOptions(
        format=format_,
        preset=preset,
        input=input_,
        colour=colour,
        resize=resize,
        normalise=normalise,
        fp16=fp16,
        int8=int8,
        opset=opset,
        licence=LICENCE if licence is None else licence,
    )
    if model.suffix.lower() in (".onnx", ".xml"):  # before it asks for an input spec, which an export does not take
        raise needs_torch("an export")
    loaded = load_model(model, network=options.import_network(network))
    made = export_model(loaded, out, settings, calibration=calibration or None)
    if as_json:
        print_json(made.as_json())
        return
    _print(made, int8=int8)


def _print(made: Exported, *, int8: bool) -> None:
    from reidkit.npz import words

    print_line(f"{made.path}: {words(made.bytes)}, features [N, {made.dim}]")
    print_line(f"input {made.input}")
    print_line(f"checked on {counted(made.parity.images, 'image')} against torch: {_of(made.parity)}")
    if made.resized:
        print_line(f"resized in the graph, on {made.resized.images} images of other sizes: {_of(made.resized)}")
    for name, parity in made.tried.items():
        print_line(f"{'*' if name == made.method else ' '} {name:10} {_of(parity)}")
    if int8:
        print_line("thresholds move with 8 bits: run `reidkit calibrate` on the file")
    for file in made.files:
        if file != made.path:
            print_line(f"beside it {file}")


def _of(parity: Parity) -> str:
    return f"1 - cos {parity.mean:.2g} in the mean, {parity.largest:.2g} at most ({Path(parity.worst).name})"
