"""Where in a file the weights of a network lie: under which prefix of its names."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SECOND = ("ema", "momentum", "teacher", "target", "encoder_k", "key_encoder")
"""Words in the prefix of a copy that follows the network which learns."""


class Located(NamedTuple):
    """The `prefix` of the weights with its dot, all `names` under it, and `others` under which as many fit."""

    prefix: str
    names: tuple[str, ...]
    others: tuple[str, ...]


def locate(names: Sequence[str], wanted: Collection[str]) -> Located | None:
    """Find the prefix under which most of the `wanted` names lie; None where there are none.

    Of equal ones, a copy that follows another network, as a momentum encoder, comes second; then the first in the file.
    """
    known = set(wanted)
    longest = max((name.count(".") for name in known), default=0) + 1
    counts: Counter[str] = Counter()
    for name in names:
        # From the right: the wanted names have few parts, and a prefix may have any number.
        parts = name.rsplit(".", longest)
        for length in range(1, len(parts) + 1):
            ending = ".".join(parts[-length:])
            if ending in known:
                counts[name.removesuffix(ending)] += 1
    if not counts:
        return None
    most = max(counts.values())
    best = sorted((prefix for prefix, count in counts.items() if count == most), key=_is_second)
    prefix = best[0]
    return Located(prefix, tuple(name for name in names if name.startswith(prefix)), tuple(best[1:]))


def _is_second(prefix: str) -> bool:
    return any(word in prefix.lower() for word in SECOND)
