"""``kombo-embed console``: the console on this machine, on the database of the settings."""

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from starlette.types import ASGIApp

from kombo_embed import KomboEmbed, Settings
from kombo_embed.cli.output import exit_on_error, fail
from kombo_embed.clock import SystemClock
from kombo_embed.composition.doctor import diagnose
from kombo_embed.sandbox.local_only import LocalOnly, changes_something
from kombo_embed.sandbox.server import (
    LOOPBACK,
    Server,
    address_of,
    bind_port,
    open_in_browser,
    run_until_stopped,
    serve_until,
    stop_at_signals,
)
from kombo_embed.settings import RecordSettings
from kombo_embed.store.audit import COMMAND_LINE
from kombo_embed.store.support import RecordsReader, verify_file

if TYPE_CHECKING:
    from starlette.requests import Request

NO_PATH = "//"  # no path of this app begins so: none is exempt from the checks


def console(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port, on this machine alone.")] = 8002,
    write: Annotated[
        bool, typer.Option("--write", help="Allow to mint links, replay events and read from Kombo.")
    ] = False,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in your browser.")] = True,
) -> None:
    """Open the console on this machine: customers, events, webhooks. The terminal shows the code to sign in.

    It reads the database of KOMBO_DATABASE_URL. With --write it also needs the app's other settings.
    """
    try:
        import kombo_embed.console  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "jinja2":
            raise
        fail("The console needs Jinja2: install kombo-embed with its extra 'console'.")
    with exit_on_error():
        raise typer.Exit(run_until_stopped(_serve(port, write=write, open_browser=open_browser)))


async def _serve(port: int, *, write: bool, open_browser: bool) -> None:
    from kombo_embed.console import local  # noqa: PLC0415 - an extra

    stop, code = stop_at_signals(), local.make_code()
    with bind_port(LOOPBACK, port, option="--port") as (sockets, bound):
        async with opened(write=write) as app:
            signed_in = local.SignIn(app, code=code)
            guarded = LocalOnly(signed_in, is_protected=changes_something, exempt=NO_PATH)

            def announce() -> None:
                _announce(address_of(LOOPBACK, bound), code, write=write, open_browser=open_browser)

            await serve_until(stop, [Server(guarded, sockets)], announce)


@asynccontextmanager
async def opened(*, write: bool) -> AsyncIterator[ASGIApp]:
    """Open the database, and for ``write`` what calls Kombo; no work of the app runs here."""
    from kombo_embed.console import ConsoleApp, Desk  # noqa: PLC0415 - an extra

    if write:
        settings = Settings(auth="callable")
        verify_file(settings.database_url.get_secret_value())
        embed = KomboEmbed(end_user=lambda _: None, settings=settings)
        embed.run_no_background()
        async with embed:
            yield embed.console(authorize=_authorize)
        return
    records = RecordSettings()
    url, clock = records.database_url.get_secret_value(), SystemClock()
    async with RecordsReader(url, environment=records.environment, clock=clock).opened() as reader:
        desk = Desk(reader.support, functools.partial(diagnose, Settings, clock=clock), clock)

        async def open_desk() -> Desk:
            return desk

        yield ConsoleApp(_authorize, open_desk)


async def _authorize(_request: "Request", _action: str) -> str:
    return COMMAND_LINE


def _announce(url: str, code: str, *, write: bool, open_browser: bool) -> None:
    typer.echo(f"""
  The console{"" if write else ", read-only: --write allows changes"}

    Open    {url}/
    Code    {code}

  Ctrl-C ends it.
""")
    if open_browser:
        open_in_browser(f"{url}/")
