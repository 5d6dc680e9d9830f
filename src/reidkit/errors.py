"""The errors that reidkit raises for wrong input, each also a builtin one.

    ReidkitError
    ├── UsageError          ValueError           an argument that cannot be used
    ├── DataError           ValueError           a data set, an image or a features file is not what it should be
    │   └── MissingFileError    FileNotFoundError
    ├── WeightsError        ValueError           a weights file does not fit the network, or is none
    │   └── DivergedError                        a network whose features are NaN or infinite
    ├── GalleryError        OSError              a gallery cannot be read or written now: no room, no right, in use
    └── RunError            RuntimeError         training cannot go on
        └── PeerError                            another process of the same run is gone

Each is one sentence that names the thing and a remedy, in terms of Python arguments and recipe keys. The command line
prints it, adds the option that sets `argument`, and exits with `status`.
"""

from __future__ import annotations

import re

from reidkit.terminal import harmless


class ReidkitError(Exception):
    """An expected failure, described by one sentence that says the remedy.

    Attributes:
        argument: The argument (`"cameras"`) or recipe key (`"batch.ids"`) that the remedy is about; "" for none.
            Several are separated by a comma and a space.
        status: The exit status of a command that ends in this error.
    """

    status = 1
    argument = ""

    def __init__(self, *words: object, argument: str = "") -> None:
        """Make the sentence harmless to print: it quotes names of files and what stands in them."""
        super().__init__(*(_shortened(harmless(word)) if isinstance(word, str) else word for word in words))
        if argument:
            self.argument = argument


class UsageError(ReidkitError, ValueError):
    """An argument, an option or a recipe value that cannot be used."""

    status = 2


class DataError(ReidkitError, ValueError):
    """A data set, an image or a features file is not what it should be."""


class MissingFileError(DataError, FileNotFoundError):
    """A file or a folder that is needed is not there."""


class UnknownLayoutError(DataError):
    """A folder is laid out like no data set that is known; it may hold images all the same."""


class WeightsError(ReidkitError, ValueError):
    """A weights file does not fit the network, or is none."""


class DivergedError(WeightsError):
    """A network whose features are NaN or infinite."""


class GalleryError(ReidkitError, OSError):
    """A gallery cannot be read or written now: its disk is full, a right is lacking, or another process is writing."""


class RunError(ReidkitError, RuntimeError):
    """Training cannot go on."""


class PeerError(RunError):
    """Another process of the same run is gone; its own message, or how it ended, says more than this one."""

    status = 75  # EX_TEMPFAIL: nothing is wrong here


def first_line(error: BaseException) -> str:
    """Return the first line of what a library says, not too long and without bytes of the file."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return " ".join(text.encode("ascii", "backslashreplace").decode().split())[:200]


def _shortened(sentence: str) -> str:
    """Leave out the middle of endless words, as a file may hold them."""
    return re.sub(r"\S{400,}", lambda word: f"{word[0][:200]}...{word[0][-100:]}", sentence)
