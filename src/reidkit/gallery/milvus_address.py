"""Where a gallery in Milvus is: `milvus://host:port/name`, read, checked, and shown without its password."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from reidkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

IndexKind: TypeAlias = Literal["flat", "hnsw", "ivf"]
"""How Milvus searches: through all features, or by a graph or lists of neighbours, which may miss some."""

Consistency: TypeAlias = Literal["strong", "session", "bounded"]
"""What a search sees: all that was acknowledged; all of this program's; what was a few seconds ago."""

SCHEME = "milvus://"
PORT = 19530
TOKEN = "REIDKIT_MILVUS_TOKEN"  # noqa: S105 (the name of a variable)
"""The environment variable that holds a token, or user:password."""

FORM = "milvus://host:19530/name"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A gallery of a Milvus server.

    Attributes:
        host: The server's name or address.
        port: Its port.
        name: The collection: letters, digits and underscores.
        database: The database of the collection; "": the server's default one.
        token: A token or user:password; never shown.
        tls: Whether the connection is encrypted.
        index: How it is searched; "": as it is, and `flat` where it is made. Says nothing of one that is there.
        consistency: What a search sees.
    """

    host: str
    port: int = PORT
    name: str
    database: str = ""
    token: str = ""
    tls: bool = False
    index: IndexKind | Literal[""] = ""
    consistency: Consistency = "strong"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        database = f"{self.database}/" if self.database else ""
        return f"{SCHEME}{host}:{self.port}/{database}{self.name}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    @property
    def server(self) -> str:
        """The server's address as pymilvus takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' * self.tls}://{host}:{self.port}"

    def secrets(self) -> tuple[str, ...]:
        """Return what no message may hold."""
        parts = (self.token, self.token.partition(":")[2])
        return tuple(part for part in parts if part)


def parse_address(uri: str, environment: Mapping[str, str] = os.environ) -> Address:
    """Read `milvus://[user:password@]host[:port]/[database/]name[?index=...&consistency=...&tls=true]`.

    Without a user the token of the environment variable `REIDKIT_MILVUS_TOKEN` is used.

    Raises:
        UsageError: it is none; the message does not hold what was given, as it may hold a password.
    """
    if not uri.startswith(SCHEME):
        raise UsageError(f"that is no address of a gallery in Milvus: write {FORM}", argument="uri")
    try:
        parts = urlsplit(uri)
        port = parts.port or PORT
    except ValueError:
        raise UsageError(f"the address has no port from 1 to 65535: write {FORM}", argument="uri") from None
    if not parts.hostname:
        raise UsageError(f"the address names no host: write {FORM}", argument="uri")
    *databases, name = unquote(parts.path).strip("/").split("/")
    if len(databases) > 1 or not all(_NAME.fullmatch(each) for each in (*databases, name)):
        raise UsageError(
            "a gallery in Milvus is named by letters, digits and underscores, and does not begin with a digit: write "
            f"{FORM}, or milvus://host:19530/database/name",
            argument="uri",
        )
    token = environment.get(TOKEN, "")
    if parts.username:
        token = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Address(
        host=parts.hostname,
        port=port,
        name=name,
        database=databases[0] if databases else "",
        token=token,
        **_options(parts),
    )


def _options(parts: SplitResult) -> dict[str, Any]:
    """Return what stands behind the question mark.

    Raises:
        UsageError: there is no such option, or no such value.
    """
    allowed = {"index": get_args(IndexKind), "consistency": get_args(Consistency), "tls": ("true", "false")}
    found: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in allowed:
            raise UsageError(f"an address has no option {name}: choose {', '.join(allowed)}", argument="uri")
        if value not in allowed[name]:
            raise UsageError(f"{name} cannot be {value}: choose {', '.join(allowed[name])}", argument="uri")
        found[name] = value == "true" if name == "tls" else value
    return found


def shown(uri: str | os.PathLike[str]) -> str:
    """Return the address of a gallery of any kind as it may be printed: without user and password.

    >>> shown("milvus://me:secret@here:19530/people?index=hnsw")
    'milvus://here:19530/people'
    """
    text = os.fspath(uri)
    if not text.startswith(SCHEME):
        return re.sub(r"//[^/@]*@", "//", text)
    try:
        return str(parse_address(text, {}))
    except UsageError:
        return FORM
