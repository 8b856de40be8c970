"""The commands. They print for people; what a program reads has ``--json``."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import Annotated

import typer
from dotenv import dotenv_values

from kombo_embed._version import __version__
from kombo_embed.cli import events, integrations
from kombo_embed.cli.output import fail, told
from kombo_embed.cli.reconcile import reconcile

SERVERS = {"demo", "sandbox"}

app = typer.Typer(
    name="kombo-embed",
    help="Let your customers connect their HR tools through Kombo.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's form of a flag's callback
    if wanted:
        typer.echo(f"kombo-embed {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Let your customers connect their HR tools through Kombo."""
    del version
    if context.invoked_subcommand not in SERVERS:
        # Python prints what nobody handles. A command says itself why the database cannot be used, once.
        logging.getLogger("kombo_embed.store").addHandler(logging.NullHandler())


@app.command()
def demo(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the demo app listens.")] = 8000,
    sandbox_port: Annotated[int, typer.Option(min=0, max=65535, help="Where the sandbox listens.")] = 8001,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in your browser.")] = True,
) -> None:
    """Connect a tool in your browser, in a small host app with its own sandbox; no Kombo account needed."""
    try:
        from kombo_embed.demo import run  # noqa: PLC0415 - its packages are an extra
    except ModuleNotFoundError as error:
        if error.name != "itsdangerous":
            raise
        fail("The demo needs more packages: install kombo-embed with its extra 'demo'.")
    with told():
        code = run(port=port, sandbox_port=sandbox_port, open_browser=open_browser)
    raise typer.Exit(code)


@app.command()
def sandbox(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the sandbox listens.")] = 8001,
    webhook_url: Annotated[
        str | None,
        typer.Option(help="Where to send webhooks, for example http://localhost:8000/kombo/webhooks."),
    ] = None,
) -> None:
    """The local stand-in for Kombo, for development and tests.

    It takes KOMBO_API_KEY as its key (any, if that is not set) and signs with KOMBO_WEBHOOK_SECRET.
    """
    from kombo_embed.sandbox import Sandbox  # noqa: PLC0415 - only this command needs it
    from kombo_embed.sandbox.server import run  # noqa: PLC0415 - as above

    if webhook_url is not None and not webhook_url.startswith(("http://", "https://")):
        fail("--webhook-url must be a whole URL, such as http://localhost:8000/kombo/webhooks")
    values = {**dotenv_values(".env"), **os.environ}
    secret = (values.get("KOMBO_WEBHOOK_SECRET") or "").partition(",")[0].strip()
    local = Sandbox(
        api_key=values.get("KOMBO_API_KEY") or None, webhook_secret=secret or None, webhook_url=webhook_url
    )
    raise typer.Exit(run(local, port=port))


@app.command()
def migrate(*, as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False) -> None:
    """Bring the database's tables to this version of kombo-embed."""
    from kombo_embed.settings import RecordSettings  # noqa: PLC0415 - heavy
    from kombo_embed.store.store import migrate as migrate_store  # noqa: PLC0415 - heavy

    with told():
        version = asyncio.run(migrate_store(RecordSettings().database_url.get_secret_value()))
    typer.echo(json.dumps({"version": version}) if as_json else f"The tables are at version {version}.")


@app.command("magic-link")
def magic_link(  # noqa: PLR0913 - one for each option
    *,
    email: Annotated[str, typer.Option(help="Whom the link is for.")],
    organization: Annotated[str, typer.Option(help="Your customer's name.")],
    origin_id: Annotated[str, typer.Option(help="Your customer's id in your database.")],
    category: Annotated[str | None, typer.Option(help="HRIS, ATS, ASSESSMENT or LMS.")] = None,
    tool: Annotated[str | None, typer.Option(help="Kombo's id of a tool, for example personio.")] = None,
    language: Annotated[str | None, typer.Option(help="en, de, fr, it or es.")] = None,
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="Also if the tool is connected already.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False,
) -> None:
    """Mint a link that is valid for a year, to send to a customer. Whoever has it can use it."""
    from kombo_embed import EndUser, KomboEmbed, LinkOptions, Settings  # noqa: PLC0415 - heavy
    from kombo_embed.errors import AlreadyConnected  # noqa: PLC0415 - with its own
    from kombo_embed.store.support import missing_file  # noqa: PLC0415 - heavy

    async def mint() -> str:
        end_user = EndUser(email=email, organization_name=organization, origin_id=origin_id)
        # Nobody signs in here, so what the app's settings say of that does not matter.
        settings = Settings(auth="callable")
        new_file = missing_file(settings.database_url.get_secret_value())
        if new_file is not None:
            typer.echo(
                f"There was no database at {new_file} yet. Is it the app's KOMBO_DATABASE_URL?", err=True
            )
        options = LinkOptions(duplicates="allow") if allow_duplicate else None
        async with KomboEmbed(end_user=lambda _: None, settings=settings) as embed:
            return await embed.magic_link(
                end_user, category=category, tool=tool, language=language, options=options
            )

    with told():
        try:
            link = asyncio.run(mint())
        except AlreadyConnected as error:
            fail(f"{error} For a second one all the same, give --allow-duplicate.")
    typer.echo(json.dumps({"link": link}) if as_json else link)


app.command()(reconcile)
app.add_typer(integrations.app, name="integrations")
app.add_typer(events.app, name="events")
