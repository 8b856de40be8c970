"""The root of the command line. Commands print for people; ``--json`` prints for programs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kombo_embed._version import __version__
from kombo_embed.cli import events, integrations, sandbox, serve
from kombo_embed.cli.audit import audit
from kombo_embed.cli.check import check
from kombo_embed.cli.console import console
from kombo_embed.cli.database import copy, migrate
from kombo_embed.cli.erase import erase
from kombo_embed.cli.import_command import import_integrations
from kombo_embed.cli.magic_link import magic_link
from kombo_embed.cli.npm_pack import npm_pack
from kombo_embed.cli.reconcile import reconcile
from kombo_embed.cli.sign_webhook import sign_webhook
from kombo_embed.logs import KeyValueFormatter
from kombo_embed.models import LONE_SURROGATE

# Loggers whose records a command does not print, because it reports their reasons itself.
UNPRINTED = {"check": "kombo_embed", "demo": "", "sandbox": ""}


class _Commands(TyperGroup):
    """Refuses arguments with bytes that are not text, for all commands: no database can search for them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer exports no type for it
        """Parse the arguments of the command line."""
        if any(LONE_SURROGATE.search(argument) for argument in args):
            ctx.fail("An argument is not text in the encoding of this terminal.")
        return super().parse_args(ctx, args)


ABOUT_SERVERS = ("deployment.unsafe", "webhooks.not_configured")  # log events that no command prints
app = typer.Typer(
    name="kombo-embed",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(requested: bool) -> None:  # noqa: FBT001 - the signature of a flag's callback
    if requested:
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
    unprinted = UNPRINTED.get(context.invoked_subcommand or "", "kombo_embed.store")
    context.with_resource(_log_to_stderr(unprinted))


@contextmanager
def _log_to_stderr(unprinted: str) -> Iterator[None]:
    """Print warnings and errors with their fields, except those of one logger and the ones below it."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(KeyValueFormatter())
    handler.addFilter(lambda record: record.msg not in ABOUT_SERVERS)
    if unprinted:
        handler.addFilter(lambda record: not record.name.startswith(unprinted))
    logger = logging.getLogger("kombo_embed")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


app.command()(serve.demo)
app.command()(check)
app.command()(migrate)
app.command()(copy)
app.command("magic-link")(magic_link)
app.command("npm-pack")(npm_pack)
app.command()(reconcile)
app.command("sign-webhook")(sign_webhook)
app.command()(erase)
app.command()(audit)
app.command()(console)
app.command("import")(import_integrations)
app.add_typer(integrations.app, name="integrations")
app.add_typer(events.app, name="events")
app.add_typer(sandbox.app, name="sandbox")
