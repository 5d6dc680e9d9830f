"""Who is asking: tokens in a file, known by their hashes; their roles; sessions of the page; wrong tokens counted."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.serve.problems import Problem

if TYPE_CHECKING:
    from pathlib import Path

ROLES = ("search", "write", "audit", "metrics")
"""Search and look at rows; change rows; read the audit log; read the metrics."""

ATTEMPTS, MINUTE = 10, 60.0
"""Wrong tokens of one address that are heard in a minute."""

SESSION_SECONDS = 8 * 3600.0
LARGEST = 1 << 20
MOST = 10_000
"""Addresses and sessions that are remembered."""

_LINE = re.compile(r"(?P<name>[\w.@+-]{1,64})\s+(?P<roles>[a-z,]+)\s+sha256:(?P<digest>[0-9a-f]{64})", re.ASCII)
_NAME = re.compile(r"[\w.@+-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Actor:
    """Somebody who may do something. `digest` is the hash of the token; "" for the one on this machine."""

    name: str
    roles: frozenset[str]
    digest: str = ""

    def require(self, role: str) -> None:
        """Refuse what the roles do not include.

        Raises:
            Problem: `role-missing`.
        """
        if role not in self.roles:
            raise Problem("role-missing", f"This needs the role {role}, which {self.name} does not have.", role=role)


LOCAL = Actor("local", frozenset(ROLES))
"""Whoever calls a service on loopback that has no token file."""


def new_token(name: str, roles: list[str]) -> tuple[str, str]:
    """Make a token: what its owner is given, and the line for the token file, which cannot be turned back into it.

    Raises:
        UsageError: a name that is none, or a role that there is not.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a name: give 1 to 64 letters, digits or . _ @ + - without spaces")
    check_roles(roles)
    token = f"rk_{secrets.token_urlsafe(32)}"
    wanted = ",".join(role for role in ROLES if role in roles)
    return token, f"{name} {wanted} sha256:{_digest(token)}"


def check_roles(roles: list[str]) -> None:
    """Refuse a role that there is not.

    Raises:
        UsageError: there is one, or there are none at all.
    """
    if not roles:
        raise UsageError(f"a token without a role may do nothing: give one of {', '.join(ROLES)}", argument="role")
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise UsageError(f"{unknown[0]} is no role: give one of {', '.join(ROLES)}", argument="role")


class Tokens:
    """The tokens of a file, one a line: `NAME ROLE[,ROLE] sha256:HEX`. Lines that begin with # say nothing."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            DataError: others may read the file, or a line is not of this form.
            MissingFileError: there is no such file.
        """
        self.path = path
        self._actors: tuple[Actor, ...] = ()
        self.reload()

    def __len__(self) -> int:
        return len(self._actors)

    def reload(self) -> None:
        """Read the file again; where that fails, the tokens stay those that were read last.

        Raises:
            DataError: as in the beginning.
        """
        self._actors = _read(self.path)

    def find(self, token: str) -> Actor | None:
        """Return whose token this is. Every line is compared in constant time, whichever it is."""
        digest, found = _digest(token), None
        for actor in self._actors:
            if hmac.compare_digest(actor.digest, digest):
                found = actor
        return found

    def still(self, actor: Actor) -> bool:
        """Whether the token of an actor is in the file as it was when he came."""
        return actor in self._actors


def _read(path: Path) -> tuple[Actor, ...]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{path} is not a file: name the file of tokens", argument="token_file")
            if os.name == "posix" and status.st_mode & 0o077:
                raise DataError(f"{path} can be read by others: run `chmod 600 {path}` first", argument="token_file")
            text = file.read(LARGEST + 1).decode("utf-8-sig")
    except FileNotFoundError:
        raise MissingFileError(
            f"{path} is not there: make it with `reidkit serve token NAME --role search`", argument="token_file"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): name another file of tokens", argument="token_file"
        ) from None
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    actors = [_actor(path, number, line) for number, line in lines if line and not line.startswith("#")]
    if not actors:
        raise DataError(f"{path} holds no token: make one with `reidkit serve token`", argument="token_file")
    return tuple(actors)


def _actor(path: Path, number: int, line: str) -> Actor:
    found = _LINE.fullmatch(line)
    if not found or not set(roles := found["roles"].split(",")) <= set(ROLES):
        raise DataError(
            f"{path}, line {number} is not NAME ROLE[,ROLE] sha256:HEX with roles of {', '.join(ROLES)}: make it with "
            "`reidkit serve token`",
            argument="token_file",
        )
    return Actor(found["name"], frozenset(roles), found["digest"])


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class Attempts:
    """Wrong tokens by address: after ten within a minute, an address is not heard until the first is a minute old."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Refuse an address that has sent too many.

        Raises:
            Problem: `too-many-attempts`.
        """
        now, times = time.monotonic(), self._times.get(address, deque())
        while times and times[0] <= now - MINUTE:
            times.popleft()
        if len(times) >= ATTEMPTS:
            raise Problem("too-many-attempts", retry_after=int(times[0] + MINUTE - now) + 1)

    def wrong(self, address: str) -> None:
        """Count a wrong token."""
        self._times.setdefault(address, deque()).append(time.monotonic())
        self._times.move_to_end(address)
        while len(self._times) > MOST:
            self._times.popitem(last=False)


class Sessions:
    """Sessions of the page: an image cannot send a header, so the page trades its token for a cookie.

    They are in memory: a service that is started again knows none, and the page asks for the token once more.
    """

    def __init__(self) -> None:
        self._actors: OrderedDict[str, tuple[Actor, float]] = OrderedDict()

    def open(self, actor: Actor) -> str:
        """Return the value of the cookie for an actor."""
        session = secrets.token_urlsafe(32)
        self._actors[_digest(session)] = actor, time.monotonic() + SESSION_SECONDS
        while len(self._actors) > MOST:
            self._actors.popitem(last=False)
        return session

    def find(self, session: str) -> Actor | None:
        """Return whose session it is; None where it is over or was none."""
        actor, until = self._actors.get(_digest(session), (None, 0.0))
        return actor if time.monotonic() < until else None

    def close(self, session: str) -> None:
        """End a session, if there is one."""
        self._actors.pop(_digest(session), None)
