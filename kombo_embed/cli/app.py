"""The root of the command line. Commands print for people; ``--json`` prints for programs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from kombo_embed._version import __version__
from kombo_embed.cli import events, integrations, serve
from kombo_embed.cli.audit import audit
from kombo_embed.cli.database import copy, migrate
from kombo_embed.cli.erase import erase
from kombo_embed.cli.magic_link import magic_link
from kombo_embed.cli.reconcile import reconcile
from kombo_embed.logs import KeyValueFormatter

SERVERS = {"demo", "sandbox"}

app = typer.Typer(
    name="kombo-embed", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
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
app.command()(copy)
app.command("magic-link")(magic_link)
app.command()(reconcile)
app.command()(erase)
app.command()(audit)
app.add_typer(integrations.app, name="integrations")
app.add_typer(events.app, name="events")
