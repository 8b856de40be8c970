"""Runs the demo: the host app and the local sandbox, on two ports, in one process and one event loop.

Two ports are two origins, as in production: the page and the Connect page are isolated from each other.
"""

import os
import secrets
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from dotenv import dotenv_values
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kombo_embed import KomboEmbed, Settings
from kombo_embed.demo.app import create_app
from kombo_embed.demo.people import ORGANIZATIONS, PEOPLE
from kombo_embed.sandbox import Sandbox
from kombo_embed.sandbox.local_only import LocalOnly, changes_something
from kombo_embed.sandbox.server import (
    LOOPBACK,
    Server,
    bind_port,
    run_until_stopped,
    serve_until,
    stop_at_signals,
)


def run(*, port: int, sandbox_port: int, open_browser: bool, host: str = LOOPBACK) -> int:
    """Serve the demo until Ctrl-C or SIGTERM; return the exit code of the process.

    With ``KOMBO_API_KEY`` set (environment or ``.env``) it uses real Kombo and all settings as they are, and
    starts no sandbox. Without it, all data is deleted at the end, unless ``KOMBO_DATABASE_URL`` is set.

    Port 0 takes a free one. ``host`` is for the host app only: the sandbox is reachable from this machine
    alone. Raises `ConfigurationError`, and `StoreUnavailable` if the database cannot be opened.
    """
    return run_until_stopped(_run(port, sandbox_port, host=host, open_browser=open_browser))


async def _run(port: int, sandbox_port: int, *, host: str, open_browser: bool) -> None:
    stop = stop_at_signals()
    async with AsyncExitStack() as stack:
        sockets, port = stack.enter_context(bind_port(host, port, option="--port"))
        sandbox_servers: list[Server] = []
        sandbox_url = None
        if _is_set("KOMBO_API_KEY"):
            app = create_app(session_secret=secrets.token_urlsafe())
        else:
            ports = bind_port(LOOPBACK, sandbox_port, option="--sandbox-port")
            sandbox_sockets, sandbox_port = stack.enter_context(ports)
            sandbox_url = f"http://localhost:{sandbox_port}"
            app, sandbox_app = _with_sandbox(stack, port, sandbox_url)
            sandbox_servers = [Server(sandbox_app, sandbox_sockets)]
        # Opened here and not by a lifespan in the server, so that its errors are raised here.
        await stack.enter_async_context(app.state.embed)

        def announce() -> None:
            print(_announcement(port, sandbox_url), flush=True)  # noqa: T201 - for the person at the terminal
            if open_browser:
                _open_browser(f"http://localhost:{port}/")

        # The mount protects itself, and Kombo's webhooks may arrive through a tunnel with another Host.
        guarded = LocalOnly(app, is_protected=changes_something, exempt=f"{app.state.mount_path}/")
        await serve_until(stop, [Server(guarded, sockets), *sandbox_servers], announce)


def _with_sandbox(stack: AsyncExitStack, port: int, sandbox_url: str) -> tuple[Starlette, ASGIApp]:
    settings = stack.enter_context(_sandbox_settings(sandbox_url))
    sandbox = Sandbox(
        api_key=settings.api_key.get_secret_value(),
        webhook_secret=settings.webhook_secret[0].get_secret_value(),
        webhook_url=f"http://localhost:{port}{settings.mount_path}/webhooks",
    )
    stack.push_async_callback(sandbox.aclose)
    app = create_app(
        settings,
        session_secret=secrets.token_urlsafe(),
        sandbox_url=sandbox_url,
        http_transport=httpx.ASGITransport(sandbox.app),  # in-process: no proxy of the environment interferes
    )
    return app, close_embed_on_reset(sandbox.app, app.state.embed)


def close_embed_on_reset(sandbox_app: ASGIApp, embed: KomboEmbed) -> ASGIApp:
    """Return the sandbox's app, which also closes the embed when its clock or its state is changed by hand.

    The links that the embed has cached no longer work then. It opens again at its next request, with an empty
    cache. Kombo has no such controls, so no host needs this.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def close_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await embed.close()
            await send(message)

        resets = scope["type"] == "http" and scope["path"] in {"/_sandbox/clock", "/_sandbox/reset"}
        await sandbox_app(scope, receive, close_and_send if resets else send)

    return app


@contextmanager
def _sandbox_settings(sandbox_url: str) -> Iterator[Settings]:
    """Give settings for the sandbox; all others are read from the environment, mistakes included."""
    values = {
        "api_key": f"sandbox-{secrets.token_urlsafe(12)}",
        "api_url": f"{sandbox_url}/v1",
        "webhook_secret": (secrets.token_urlsafe(),),
    }
    with TemporaryDirectory(prefix="kombo-embed-demo-", ignore_cleanup_errors=True) as folder:
        if not _is_set("KOMBO_DATABASE_URL"):
            values["database_url"] = f"sqlite+aiosqlite:///{Path(folder, 'kombo_embed.db').as_posix()}"
        yield Settings(**values)


def _is_set(name: str) -> bool:
    # As `Settings` reads it: in any case, also from ``.env``; empty is unset.
    variables = [*os.environ.items(), *dotenv_values(".env").items()]
    return any(value for key, value in variables if key.upper() == name)


def _announcement(port: int, sandbox_url: str | None) -> str:
    people = " or ".join(
        f"{', '.join(_first_names(organization.id))} ({organization.name})" for organization in ORGANIZATIONS
    )
    if sandbox_url:
        kombo = f"the local sandbox; {sandbox_url}/ lists its API calls"
        credentials = "choose any tool; any credentials work"
    else:
        kombo = "the real one: KOMBO_API_KEY is set"
        credentials = "choose a tool that you can sign in to"
    return f"""
  Fieldnotes, the demo of kombo-embed

    Open      http://localhost:{port}/
    Sign in   as {people}
    Connect   {credentials}
    Kombo     {kombo}

  Ctrl-C ends it.
"""


def _first_names(organization_id: str) -> list[str]:
    return [person.name.split()[0] for person in PEOPLE.values() if person.organization.id == organization_id]


def _open_browser(url: str) -> None:
    def open_it() -> None:
        with suppress(webbrowser.Error, OSError):
            webbrowser.open(url)

    # A browser in the terminal would block the event loop and the exit: a daemon thread does neither.
    threading.Thread(target=open_it, daemon=True).start()
