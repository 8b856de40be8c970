"""Runs the demo: the host app and the local sandbox, on two ports, in one process and one event loop.

Two ports are two origins, as in production: the page and the Connect page see no more of each other than they
would there.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dotenv import dotenv_values
from starlette.applications import Starlette

from kombo_embed import Settings
from kombo_embed.demo.app import create_app
from kombo_embed.demo.links import LinksThatOpen
from kombo_embed.demo.people import ORGANIZATIONS, PEOPLE
from kombo_embed.sandbox import Sandbox
from kombo_embed.sandbox.ports import LOOPBACK, PortUnavailable, listen
from kombo_embed.sandbox.server import Server, serve_until, stop_at_signals
from kombo_embed.sandbox.transports import new_network_transport


def run(*, port: int, sandbox_port: int, open_browser: bool, host: str = LOOPBACK) -> int:
    """Serve the demo until Ctrl-C or SIGTERM; give the process's exit code.

    With ``KOMBO_API_KEY`` set (environment or ``.env``) it talks to real Kombo, with all settings as they
    are, and starts no sandbox. Without it, everything made up is forgotten at the end;
    ``KOMBO_DATABASE_URL`` keeps the integrations.

    Args:
        port: Where the host app listens; 0 takes a free port.
        sandbox_port: Where the sandbox listens; 0 takes a free port.
        open_browser: Open the login page in the browser.
        host: The IP address that the host app listens on; the sandbox listens on this machine only.

    Raises:
        ConfigurationError: Settings are missing or wrong.
        StoreUnavailable: The database cannot be opened.
    """
    try:
        asyncio.run(_run(port, sandbox_port, host=host, open_browser=open_browser))
    except PortUnavailable as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 1
    except KeyboardInterrupt:
        pass  # Ctrl-C before it was listened for, or on Windows: all is closed by now
    return 0


@dataclass(frozen=True, slots=True)
class _Demo:
    """What is to be served, and where; without a sandbox, Kombo is real."""

    host: Starlette
    port: int
    servers: list[Server]
    sandbox_url: str | None


async def _run(port: int, sandbox_port: int, *, host: str, open_browser: bool) -> None:
    stop = stop_at_signals()
    async with AsyncExitStack() as stack:
        demo = await stack.enter_async_context(_demo(host, port, sandbox_port))
        # Opened here and not by a lifespan under the server, so that what is wrong is raised here.
        await stack.enter_async_context(demo.host.state.embed)

        def announce() -> None:
            print(_announcement(demo), flush=True)  # noqa: T201 - for the person at the terminal
            if open_browser:
                _open_browser(f"http://localhost:{demo.port}/")

        await serve_until(stop, demo.servers, announce)


@asynccontextmanager
async def _demo(host: str, port: int, sandbox_port: int) -> AsyncIterator[_Demo]:
    async with AsyncExitStack() as stack:
        sockets, port = stack.enter_context(listen(host, port, option="--port"))
        session_secret = secrets.token_urlsafe()
        if _is_set("KOMBO_API_KEY"):
            app = create_app(session_secret=session_secret)
            yield _Demo(app, port, [Server(app, sockets)], None)
            return
        sandbox_sockets, sandbox_port = stack.enter_context(
            listen(LOOPBACK, sandbox_port, option="--sandbox-port")
        )
        url = f"http://localhost:{sandbox_port}"
        settings = stack.enter_context(_made_up_settings(url))
        sandbox = _sandbox(settings, port)
        stack.push_async_callback(sandbox.aclose)
        # A transport of its own, so that a proxy for the outside world is not asked for the way to localhost.
        transport = new_network_transport()
        app = create_app(
            settings,
            session_secret=session_secret,
            sandbox_url=url,
            http_transport=transport,
            link_cache=LinksThatOpen(settings, sandbox),
        )
        yield _Demo(app, port, [Server(app, sockets), Server(sandbox.app, sandbox_sockets)], url)


@contextmanager
def _made_up_settings(sandbox_url: str) -> Iterator[Settings]:
    """Settings for the sandbox; all others are read from the environment as ever, mistakes included."""
    values = {
        "api_key": f"sandbox-{secrets.token_urlsafe(12)}",
        "api_url": f"{sandbox_url}/v1",
        "webhook_secret": (secrets.token_urlsafe(),),
    }
    with TemporaryDirectory(prefix="kombo-embed-demo-", ignore_cleanup_errors=True) as folder:
        if not _is_set("KOMBO_DATABASE_URL"):
            values["database_url"] = f"sqlite+aiosqlite:///{Path(folder, 'kombo_embed.db').as_posix()}"
        yield Settings(**values)


def _sandbox(settings: Settings, port: int) -> Sandbox:
    return Sandbox(
        api_key=settings.api_key.get_secret_value(),
        webhook_secret=settings.webhook_secret[0].get_secret_value(),
        webhook_url=f"http://localhost:{port}{settings.mount_path}/webhooks",
    )


def _is_set(name: str) -> bool:
    """Whether a variable has a value, read as `Settings` does: any case, empty is unset, ``.env`` too."""
    given = [*os.environ.items(), *dotenv_values(".env").items()]
    return any(value for key, value in given if key.upper() == name)


def _announcement(demo: _Demo) -> str:
    people = " or ".join(
        f"{', '.join(_given_names(organization.id))} ({organization.name})" for organization in ORGANIZATIONS
    )
    if demo.sandbox_url:
        kombo = f"the local sandbox, {demo.sandbox_url}/ shows what it was asked"
        credentials = "choose any tool; any credentials do"
    else:
        kombo = "the real one: KOMBO_API_KEY is set"
        credentials = "choose a tool that you can sign in to"
    return f"""
  Fieldnotes, the demo of kombo-embed

    Open      http://localhost:{demo.port}/
    Sign in   as {people}
    Connect   {credentials}
    Kombo     {kombo}

  Ctrl-C ends it.
"""


def _given_names(organization_id: str) -> list[str]:
    return [person.name.split()[0] for person in PEOPLE.values() if person.organization.id == organization_id]


def _open_browser(url: str) -> None:
    def open_it() -> None:
        with suppress(webbrowser.Error, OSError):
            webbrowser.open(url)

    # A browser in the terminal would hold up the event loop, and the end: a daemon thread does neither.
    threading.Thread(target=open_it, daemon=True).start()
