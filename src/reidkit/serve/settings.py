"""The options of a service."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reidkit.errors import UsageError
from reidkit.serve.uploads import UploadLimits

if TYPE_CHECKING:
    from pathlib import Path

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """How a service behaves; what it answers does not depend on it.

    Attributes:
        host: The address to listen on. Another than a loopback address needs `token_file`.
        port: The port; 0 takes a free one.
        allow_hosts: More names (`name` or `name:port`) by which it may be called.
        token_file: Lines `NAME ROLE[,ROLE] sha256:HEX`; None: whoever is on this machine may do everything.
        audit: The file of the audit log; None: beside the gallery, or in memory for one in memory.
        audit_keep: Seconds after which entries of the audit log are removed; None: never.
        images: The folder that the paths of rows are relative to; its pictures are shown. None: only small copies that
            came with rows.
        videos: The folder that `reidkit video track` has made: clips of rows are made of its videos, and its crops are
            shown where `images` names no folder. None: no clips.
        require_purpose: Whether a search has to say why it is made.
        retain: Seconds after which images are removed from the gallery; None: never.
        wait: Seconds that a request may have to wait before it is refused with 429.
        timeout: Seconds after which a request that still waits is dropped.
        body_timeout: Seconds in which a body has to arrive.
        batch: Images that are run through the network at a time, at most.
        images_per_request: Pictures in one request.
        upload: What one picture may have.
        proxy: The address of a proxy whose `X-Forwarded-For` is believed.
        secure: Whether people come by HTTPS, through that proxy: cookies are then for HTTPS only.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    allow_hosts: tuple[str, ...] = ()
    token_file: Path | None = None
    audit: Path | None = None
    audit_keep: float | None = None
    images: Path | None = None
    videos: Path | None = None
    require_purpose: bool = False
    retain: float | None = None
    wait: float = 2.0
    timeout: float = 10.0
    body_timeout: float = 30.0
    batch: int = 32
    images_per_request: int = 16
    upload: UploadLimits = field(default_factory=UploadLimits)
    proxy: str | None = None
    secure: bool = False

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and self.token_file is None:
            raise UsageError(
                f"on {self.host} everybody who reaches this machine could search: pass a token_file, or listen on "
                "127.0.0.1",
                argument="token_file",
            )
        if not 0 <= self.port <= 65535:
            raise UsageError(f"there is no port {self.port}: give 1 to 65535, or 0 for a free one", argument="port")
        if self.images is not None and not self.images.is_dir():
            raise UsageError(f"{self.images} is no folder: name the one that pictures lie in", argument="images")
        if self.videos is not None and not self.videos.is_dir():
            raise UsageError(
                f"{self.videos} is no folder: name the one that reidkit video track has made", argument="videos"
            )
        for name in ("wait", "timeout", "body_timeout", "retain", "audit_keep"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e10:
                raise UsageError(f"{name} is {value:g} seconds: give a number above 0", argument=name)
        if self.batch < 1 or self.images_per_request < 1:
            raise UsageError("a batch and a request have at least one image: give 1 or more", argument="batch")


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def seconds(text: str, argument: str) -> float:
    """Return a length of time in seconds: `90m`, `72h` or `365d`.

    Raises:
        UsageError: it is none of these.
    """
    found = re.fullmatch(r"(\d{1,6})([mhd])", text.strip(), re.ASCII)
    if not found or not int(found[1]):
        raise UsageError(
            f"{text!r} is no length of time: give minutes, hours or days, as 90m, 72h or 30d", argument=argument
        )
    return int(found[1]) * _UNITS[found[2]]
