"""An exported file and what lies beside it appear together or not at all."""

from __future__ import annotations

import resource
import signal
from typing import TYPE_CHECKING

import pytest

from reidkit.data.overlap import RECORD
from reidkit.errors import DataError
from reidkit.export.in_place import put_in_place
from reidkit.model_files import beside

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_without_room_leaves_the_record_of_the_file_before(tmp_path: Path) -> None:
    source, made, path = tmp_path / "model.safetensors", tmp_path / "made.onnx", tmp_path / "out" / "net.onnx"
    made.write_bytes(bytes(100_000))
    beside(source, RECORD).write_text("new")
    path.parent.mkdir()
    path.write_text("old file")
    beside(path, RECORD).write_text("old")
    limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))
    try:
        with pytest.raises(DataError, match=r"net\.onnx cannot be written"):
            put_in_place(made, path, source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old file"
    assert beside(path, RECORD).read_text() == "old"
    assert len(list(path.parent.iterdir())) == 2

    assert put_in_place(made, path, source) == [beside(path, RECORD), path]
    assert beside(path, RECORD).read_text() == "new"
