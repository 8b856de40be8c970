"""``kombo-embed demo``, and the options of servers for development."""

import re
from typing import Annotated
from urllib.parse import urlsplit

import typer

from kombo_embed.cli.output import exit_on_error, fail

LOOPBACK = "127.0.0.1"

Host = Annotated[
    str,
    typer.Option(help="The address to listen on: this machine alone, or for example 0.0.0.0 in a container."),
]
PublicUrl = Annotated[
    str | None,
    typer.Option(
        help="Where browsers open it if that is not localhost, for example http://dev.internal:8000."
    ),
]


def demo(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The demo app's port.")] = 8000,
    sandbox_port: Annotated[int, typer.Option(min=0, max=65535, help="The sandbox's port.")] = 8001,
    host: Host = LOOPBACK,
    public_url: PublicUrl = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in your browser.")] = True,
) -> None:
    """Connect a tool in your browser, in a small host app with its own sandbox; no Kombo account needed."""
    try:
        from kombo_embed.demo import run  # noqa: PLC0415 - its packages are an extra
    except ModuleNotFoundError as error:
        if error.name != "itsdangerous":
            raise
        fail("The demo needs more packages: install kombo-embed with its extra 'demo'.")
    origin = origin_of(public_url)
    with exit_on_error():
        code = run(
            port=port, sandbox_port=sandbox_port, open_browser=open_browser, host=host, public_url=origin
        )
    raise typer.Exit(code)


def origin_of(public_url: str | None) -> str | None:
    """Return the URL without a final slash; exit if it is not an origin."""
    if public_url is None:
        return None
    origin = public_url.removesuffix("/")
    try:
        parts = urlsplit(origin)
        is_origin = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_origin = False
    if not is_origin or re.fullmatch(r"https?://[\w.\[\]:-]+", origin, re.ASCII) is None:
        fail("--public-url must be an address without a path, such as http://sandbox:8001")
    return origin.lower()
