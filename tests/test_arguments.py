"""What a caller gives is checked where it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.arguments import check_path
from reidkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_no_path(tmp_path: Path) -> None:
    assert check_path(str(tmp_path), "a file") == check_path(tmp_path, "a file") == tmp_path
    for wrong in (None, 3, [tmp_path]):
        with pytest.raises(UsageError, match=f"a {type(wrong).__name__} is no path: pass a file"):
            check_path(wrong, "a file")
    with pytest.raises(UsageError, match="an empty text is no path: pass a file") as told:
        check_path("", "a file", "out")
    assert told.value.argument == "out"
