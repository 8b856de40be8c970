"""``kombo-embed demo`` and ``kombo-embed sandbox``: servers for development."""

import os
from typing import Annotated

import typer
from dotenv import dotenv_values

from kombo_embed.cli.output import exit_on_error, fail


def demo(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The demo app's port.")] = 8000,
    sandbox_port: Annotated[int, typer.Option(min=0, max=65535, help="The sandbox's port.")] = 8001,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in your browser.")] = True,
) -> None:
    """Connect a tool in your browser, in a small host app with its own sandbox; no Kombo account needed."""
    try:
        from kombo_embed.demo import run  # noqa: PLC0415 - its packages are an extra
    except ModuleNotFoundError as error:
        if error.name != "itsdangerous":
            raise
        fail("The demo needs more packages: install kombo-embed with its extra 'demo'.")
    with exit_on_error():
        code = run(port=port, sandbox_port=sandbox_port, open_browser=open_browser)
    raise typer.Exit(code)


def sandbox(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The sandbox's port.")] = 8001,
    webhook_url: Annotated[
        str | None,
        typer.Option(help="Where to send webhooks, for example http://localhost:8000/kombo/webhooks."),
    ] = None,
) -> None:
    """Run the local stand-in for Kombo, for development and tests.

    It accepts KOMBO_API_KEY as its API key (any key if that is unset) and signs with KOMBO_WEBHOOK_SECRET.
    """
    from kombo_embed.sandbox import Sandbox, server  # noqa: PLC0415 - heavy, and only this command needs it

    if webhook_url is not None and not webhook_url.startswith(("http://", "https://")):
        fail("--webhook-url must be a complete URL, such as http://localhost:8000/kombo/webhooks")
    values = {**dotenv_values(".env"), **os.environ}
    secret = (values.get("KOMBO_WEBHOOK_SECRET") or "").partition(",")[0].strip()
    local = Sandbox(
        api_key=values.get("KOMBO_API_KEY") or None, webhook_secret=secret or None, webhook_url=webhook_url
    )
    raise typer.Exit(server.run(local, port=port))
