"""Features files as `numpy.savez` writes them, for what reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.types import Embeddings


def write_features(path: Path, embeddings: Embeddings) -> None:
    """Write all that an `.npz` of features may hold, as far as the embeddings have it."""
    contents: dict[str, Any] = {"vectors": embeddings.vectors, "pids": embeddings.pids, "camids": embeddings.camids}
    if embeddings.paths:
        contents["paths"] = np.array(embeddings.paths, np.str_)
    if embeddings.model:
        contents["model"] = np.array(embeddings.model)
    names = (
        ("pid_names", embeddings.pids, embeddings.names.pids),
        ("camid_names", embeddings.camids, embeddings.names.camids),
    )
    for column, numbers, called in names:
        if called:
            contents[column] = np.array([called.get(number, "") for number in numbers.tolist()])
    with path.open("wb") as file:
        np.savez(file, **contents)
