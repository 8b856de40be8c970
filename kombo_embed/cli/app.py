"""The root of the command line. Commands print for people; ``--json`` prints for programs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kombo_embed._version import __version__
from kombo_embed.cli import events, integrations, serve
from kombo_embed.cli.database import migrate
from kombo_embed.cli.magic_link import magic_link
from kombo_embed.cli.npm_pack import npm_pack
from kombo_embed.cli.reconcile import reconcile
from kombo_embed.logs import KeyValueFormatter
from kombo_embed.models import LONE_SURROGATE

SERVERS = {"demo", "sandbox"}


class _Commands(TyperGroup):
    """Refuses arguments with bytes that are not text, for all commands: no database can search for them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer exports no type for it
        """Parse the arguments of the command line."""
        if any(LONE_SURROGATE.search(argument) for argument in args):
            ctx.fail("An argument is not text in the encoding of this terminal.")
        return super().parse_args(ctx, args)


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
    context.with_resource(_log_to_stderr(with_store=context.invoked_subcommand in SERVERS))


@contextmanager
def _log_to_stderr(*, with_store: bool) -> Iterator[None]:
    """Print warnings and errors with their fields.

    The store's are left out by default: a command prints the reason itself, once, when the database fails.
    """
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(KeyValueFormatter())
    if not with_store:
        handler.addFilter(lambda record: not record.name.startswith("kombo_embed.store"))
    logger = logging.getLogger("kombo_embed")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


app.command()(serve.demo)
app.command()(serve.sandbox)
app.command()(migrate)
app.command("magic-link")(magic_link)
app.command("npm-pack")(npm_pack)
app.command()(reconcile)
app.add_typer(integrations.app, name="integrations")
app.add_typer(events.app, name="events")
