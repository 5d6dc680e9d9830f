"""The public names of `reidkit.data`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import reidkit.data


@pytest.mark.parametrize("name", reidkit.data.__all__)
def test_each_name_is_there_and_documented(name: str) -> None:
    found = getattr(reidkit.data, name)
    assert found.__name__ == name
    assert found.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'reidkit\.data' has no attribute 'PkSampler'"):
        reidkit.data.PkSampler  # noqa: B018


def test_importing_the_package_loads_neither_torch_nor_numpy() -> None:
    code = "import reidkit.data, sys; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_a_sampler_loads_no_torch() -> None:
    code = (
        "import sys; from reidkit.data import PKSampler;"
        "print(PKSampler([0, 0, 1, 1], 2, 2).epoch(1).shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "(1, 4) False\n"
