"""`reidkit serve`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from reidkit.cli import options
from reidkit.cli.output import print_json, print_line, remark
from reidkit.errors import UsageError


def serve(
    uri: Annotated[str, typer.Argument(metavar="URI", help="A gallery, as people.db; or the word token.")],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="After token: whose token is made and printed once.")
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", help="The model that the gallery was made with.")] = None,
    network: options.NetworkOption = None,
    input_spec: options.InputSpecOption = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="The port; 0: a free one.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Lines NAME ROLES sha256:HEX; needed off loopback.")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", help="Of a new token: search, write, audit, metrics.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="One more name by which it is called.")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option("--proxy", metavar="ADDRESS", help="A proxy whose X-Forwarded-For is believed.")
    ] = None,
    secure: Annotated[
        bool, typer.Option("--secure", help="People come by HTTPS: cookies are for HTTPS alone.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="FOLDER", help="Show pictures of rows from this folder.")
    ] = None,
    videos: Annotated[
        Path | None, typer.Option("--videos", metavar="DIR", help="Play clips of rows: what video track --out made.")
    ] = None,
    retain: Annotated[
        str | None, typer.Option("--retain", metavar="TIME", help="Remove images this old, every hour: 72h.")
    ] = None,
    require_purpose: Annotated[
        bool, typer.Option("--require-purpose", help="Refuse searches that do not say why.")
    ] = False,
    audit: Annotated[Path | None, typer.Option("--audit", help="The audit log.  [default: URI-audit]")] = None,
    audit_keep: Annotated[
        str | None, typer.Option("--audit-keep", metavar="TIME", help="Remove entries of the log this old: 365d.")
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", help="Seconds a request may have to wait before it gets a 429.")
    ] = 2.0,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds after which what waits is dropped.")] = 10.0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images run at a time, at most.")] = 32,
    as_json: options.Json = False,
) -> None:
    """Serve a gallery over HTTP, with a page to search it; or make a token for it."""
    if uri == "token":
        _print_token(name, role or [], as_json=as_json)
        return
    if name is not None or role:
        raise UsageError(f"{name or '--role'} belongs to a new token: say `reidkit serve token NAME --role search`")
    if model is None:
        raise UsageError("there is no model: give the one that the gallery was made with as --model")
    from reidkit.serve import ServiceSettings
    from reidkit.serve import serve as serve_gallery
    from reidkit.serve.settings import seconds

    settings = ServiceSettings(
        host=host,
        port=port,
        allow_hosts=tuple(allow_host or ()),
        token_file=token_file,
        audit=audit,
        audit_keep=seconds(audit_keep, "audit_keep") if audit_keep else None,
        images=images,
        videos=videos,
        require_purpose=require_purpose,
        retain=seconds(retain, "retain") if retain else None,
        wait=wait,
        timeout=timeout,
        batch=batch,
        proxy=proxy,
        secure=secure,
    )
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    loaded = options.open_model(model, network, input_spec)

    def ready(address: str) -> None:
        if as_json:
            print_json({"address": address})
        else:
            print_line(f"Open {address} (stop with Ctrl-C)")
        sys.stdout.flush()

    serve_gallery(uri, loaded, settings, ready=ready)


def _print_token(name: str | None, roles: list[str], *, as_json: bool) -> None:
    from reidkit.serve.tokens import new_token

    if name is None:
        raise UsageError("a token is somebody's: say `reidkit serve token NAME --role search`")
    token, line = new_token(name, roles)
    if as_json:
        print_json({"token": token, "line": line})
        return
    print_line(token)
    # A comment to the token file, so that all of stderr may be appended to it.
    remark("# This is the token; it is not shown again. Add this line to the token file (mode 600):")
    remark(line)
