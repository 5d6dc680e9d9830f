from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

from reidkit.errors import UsageError
from reidkit.extras import EXTRAS, import_extra, install, require_extras

ROOT = Path(__file__).parents[1]


def test_the_command_names_packages() -> None:
    assert install("pyarrow") == "pip install pyarrow"
    assert install("fsspec") == "pip install fsspec aiohttp"


def test_a_module_that_is_not_there_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert import_extra("json", "JSON needs json").loads("1") == 1
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r"^an export needs it: pip install onnx onnxruntime onnxscript"):
        import_extra("onnx", "an export needs it", by="onnxscript")


def test_all_that_is_not_there_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    require_extras("this", ("onnx", "onnxruntime"))
    for module in ("onnx", "openvino", "av"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r"^this needs av: pip install av$"):
        require_extras("this", ("av", "onnxruntime"))
    with pytest.raises(UsageError, match=r"^this needs av, onnx and openvino: pip install av onnx openvino$"):
        require_extras("this", ("av", "onnx", "onnxruntime", "openvino"))


def test_every_package_is_one_of_our_extras() -> None:
    """A remedy that brings something else than what is tested would be none."""
    extras = (line for line in importlib.metadata.requires("reidkit") or () if "extra ==" in line)
    known = {re.split(r"[<>=;\[ ]", line)[0] for line in extras}
    assert {package for packages in EXTRAS.values() for package in packages} <= known


def test_nobody_is_sent_to_an_index_for_reidkit() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")]
    assert [page.name for page in pages if "install 'reidkit" in page.read_text(encoding="utf-8")] == []
