"""``kombo-embed sandbox``: the local stand-in for Kombo, alone or with the app under development."""

import asyncio
import os
from http import HTTPStatus
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kombo_embed.cli.integrations import Status
from kombo_embed.cli.output import exit_on_error, fail
from kombo_embed.cli.serve import LOOPBACK, Host, PublicUrl, origin_of
from kombo_embed.settings import read_env_file, read_mount_path

COMMAND = f"{__name__}.command"  # the key of the app's command in click's context


class SandboxGroup(TyperGroup):
    """A group whose own call takes the app's command behind ``--``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's, or a copy of it
        """Take what follows ``--``, unless it belongs to a subcommand."""
        at = args.index("--") if "--" in args else len(args)
        if self.commands.keys().isdisjoint(args[:at]):
            ctx.meta[COMMAND], args = tuple(args[at + 1 :]), args[:at]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=SandboxGroup, subcommand_metavar="[-- APP...] | trigger EVENT", add_completion=False)


@app.callback(invoke_without_command=True)
def sandbox(
    context: typer.Context,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The sandbox's port.")] = 8001,
    host: Host = LOOPBACK,
    public_url: PublicUrl = None,
    webhook_url: Annotated[
        str | None,
        typer.Option(help="Where to send webhooks, for example http://localhost:8000/kombo/webhooks."),
    ] = None,
) -> None:
    """Run the local stand-in for Kombo, for development and tests.

    It accepts KOMBO_API_KEY as its API key (any key if that is unset) and signs with KOMBO_WEBHOOK_SECRET.

    With a command after --, such as: kombo-embed sandbox -- uvicorn app:app --reload, it also runs your app,
    which then calls this sandbox and gets its webhooks. Ctrl-C ends both.
    """
    if context.invoked_subcommand is not None:
        return
    from kombo_embed.sandbox import Sandbox, app_process, server  # noqa: PLC0415 - heavy

    command: tuple[str, ...] = context.meta.get(COMMAND, ())
    values = _environment()
    secret = _webhook_secret(values)
    if command:
        secret = secret or app_process.DEFAULT_WEBHOOK_SECRET
        webhook_url = webhook_url or f"http://localhost:{app_process.find_port(command)}{_webhooks_path()}"
    local = Sandbox(
        api_key=values.get("KOMBO_API_KEY") or None,
        webhook_secret=secret,
        webhook_url=_complete(webhook_url, option="--webhook-url"),
        public_url=origin_of(public_url),
    )
    raise typer.Exit(server.run(local, port=port, host=host, command=command))


@app.command()
def trigger(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="The type, such as integration-deleted.")],
    *,
    integration: Annotated[
        str | None, typer.Option(metavar="ID", help="Kombo's id of the integration; by default a new one.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="The app's webhook URL.", show_default="http://localhost:8000/kombo/webhooks"),
    ] = None,
    origin_id: Annotated[str | None, typer.Option(help="Your customer's id.")] = None,
    state: Annotated[
        Status, typer.Option(case_sensitive=False, help="With integration-state-changed.")
    ] = Status.INVALID,
) -> None:
    """Send a webhook event to a running app, signed with KOMBO_WEBHOOK_SECRET.

    It can be of any type. These change records: integration-created, integration-deleted,
    integration-state-changed, connection-flow-failed.
    """
    from kombo_embed.sandbox import app_process, trigger  # noqa: PLC0415 - heavy

    secret = _webhook_secret(_environment()) or app_process.DEFAULT_WEBHOOK_SECRET
    target = (
        _complete(url, option="--url") or f"http://localhost:{app_process.DEFAULT_PORT}{_webhooks_path()}"
    )
    integration_id = integration or trigger.new_integration_id()
    built = trigger.build_event(event, trigger.Subject(integration_id, origin_id, state.value))
    try:
        status, detail = asyncio.run(trigger.send(built, url=target, webhook_secret=secret))
    except ConnectionError as error:
        fail(f"{target} cannot be reached ({error}). Is the app running? Name its webhook URL with --url.")
    if not 200 <= status < 300:  # noqa: PLR2004 - RFC 9110, 15.3
        fail(_refusal(target, status, detail))
    typer.echo(f"{event} {built.id} about {integration_id}: {target} answered {status}.")


def _refusal(target: str, status: int, detail: str) -> str:
    hint = (
        " Does KOMBO_WEBHOOK_SECRET have the app's value here?" if status == HTTPStatus.UNAUTHORIZED else ""
    )
    return f"{target} answered {status}. {detail}{hint}".rstrip()


def _environment() -> dict[str, str | None]:
    with exit_on_error():
        return {**read_env_file(), **os.environ}


def _webhook_secret(values: dict[str, str | None]) -> str | None:
    return (values.get("KOMBO_WEBHOOK_SECRET") or "").partition(",")[0].strip() or None


def _webhooks_path() -> str:
    return f"{read_mount_path(None)}/webhooks"


def _complete(url: str | None, *, option: str) -> str | None:
    if url is not None and not url.startswith(("http://", "https://")):
        fail(f"{option} must be a complete URL, such as http://localhost:8000/kombo/webhooks")
    return url
