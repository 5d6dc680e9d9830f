from __future__ import annotations

import os
import platform
import subprocess
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from reidkit.metrics import products
from reidkit.metrics.products import Host, Wide, full_precision, has_wide, is_exact, multiplier_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

torch_has_it = pytest.mark.skipif(
    not hasattr(torch.backends.mkldnn, "matmul") or not torch.backends.mkldnn.is_available(),
    reason="this torch has no oneDNN, or no switch that holds it to single precision",
)


class Rounded:
    """A product whose factors are cut to the bits that a format has."""

    def __init__(self, bits: int) -> None:
        self.mask = np.uint32(0xFFFFFFFF << (23 - bits) & 0xFFFFFFFF)

    def place(self, vectors: Matrix) -> Matrix:
        return (vectors.view(np.uint32) & self.mask).view(np.float32)

    def multiply(self, query: Matrix, gallery: Matrix, out: Matrix) -> None:
        np.matmul(query, gallery.T, out=out)


@torch_has_it
def test_the_wide_product_is_the_product() -> None:
    """Of read-only arrays and of parts of them, too; what the program has set for torch is as it was."""
    backend: Any = torch.backends.mkldnn
    switch = backend.matmul
    before, switch.fp32_precision = switch.fp32_precision, "bf16"
    rng = np.random.default_rng(0)
    query, gallery = (rng.standard_normal((rows, 300), dtype=np.float32) for rows in (70, 90))
    query.flags.writeable = False
    out = np.zeros((20, 120), np.float32)[:, 10:100]
    try:
        Wide().multiply(Wide().place(query)[5:25], Wide().place(gallery), out)
        assert switch.fp32_precision == "bf16"
    finally:
        switch.fp32_precision = before
    assert out == pytest.approx(query[5:25].astype(np.float64) @ gallery.T.astype(np.float64), abs=1e-4)


def test_what_is_not_single_precision_is_refused() -> None:
    """7 bits are bf16, 10 are TF32, 23 single precision."""
    assert [is_exact(Rounded(bits)) for bits in (7, 10, 23)] == [False, False, True]


def test_a_product_that_fails_is_refused() -> None:
    class Broken(Rounded):
        def multiply(self, *_: object) -> None:
            raise RuntimeError("takes 7 positional arguments")

    assert not is_exact(Broken(23))


@pytest.mark.parametrize("there", [True, False])
def test_large_products_are_wide_where_that_is_there(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """2e11 operations: 10,000 x 20,000 in 500 dimensions, or 20,100 points among each other."""
    monkeypatch.setattr(products, "has_wide", lambda: there)
    query, gallery = (np.broadcast_to(np.float32(0), (rows, 500)) for rows in (10000, 20100))
    wanted = Wide if there else Host
    assert isinstance(multiplier_for(query, gallery), wanted)
    assert isinstance(multiplier_for(query, gallery[:19900]), Host)
    assert isinstance(multiplier_for(gallery, all_pairs=True), wanted)
    assert isinstance(multiplier_for(gallery[:19900], all_pairs=True), Host)


@pytest.mark.parametrize(
    ("features", "core"),
    [({}, "Haswell"), ({"avx512f": False}, "Haswell"), ({"avx512f": True}, "SkylakeX"), ({"avx512f": True}, "")],
)
def test_numpy_where_it_is_as_quick(features: dict[str, bool], core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AVX-512, where OpenBLAS uses it, and where nobody knows."""
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: features)
    monkeypatch.setattr(products, "blas_core", lambda: core)
    has_wide.cache_clear()
    assert not has_wide()
    has_wide.cache_clear()


@torch_has_it
def test_onednn_where_openblas_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: {"avx512f": True})
    monkeypatch.setattr(products, "blas_core", lambda: "Haswell")
    has_wide.cache_clear()
    assert has_wide()
    has_wide.cache_clear()


@pytest.mark.skipif(platform.machine() != "x86_64" or not products.blas_core(), reason="no OpenBLAS for x86-64")
def test_openblas_says_for_whom_it_computes() -> None:
    program = "from reidkit.metrics.products import blas_core; print(blas_core())"
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Haswell"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Haswell"


@pytest.mark.parametrize("before", ["tf32", "ieee"])
def test_full_precision_is_kept_until_the_last_thread_has_done(before: str) -> None:
    """Of two that overlap, the first to go would have set TF32 for the other, and the second left its own for good."""
    switch = types.SimpleNamespace(fp32_precision=before)
    first, second = full_precision(switch), full_precision(switch)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert switch.fp32_precision == "ieee"
    second.__exit__(None, None, None)
    assert switch.fp32_precision == before
    with full_precision(switch), full_precision(switch):
        assert switch.fp32_precision == "ieee"
    assert switch.fp32_precision == before
