"""Runs the demo: the host app and the local sandbox, on two ports, in one process and one event loop.

Two ports are two origins, as in production: the page and the Connect page are isolated from each other.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import httpx
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
    address_of,
    bind_port,
    open_in_browser,
    run_until_stopped,
    serve_until,
    stop_at_signals,
)
from kombo_embed.settings import read_env_file


def run(
    *,
    port: int,
    sandbox_port: int,
    open_browser: bool,
    host: str = LOOPBACK,
    public_url: str | None = None,
) -> int:
    """Serve the demo until Ctrl-C or SIGTERM; return the exit code of the process.

    With ``KOMBO_API_KEY`` set (environment or ``.env``) it uses real Kombo and all settings as they are, and
    starts no sandbox. Without it, all data is deleted at the end, unless ``KOMBO_DATABASE_URL`` is set.

    Port 0 takes a free one. ``host`` is the address on which both listen, and ``public_url`` where browsers
    open the host app; they open the sandbox at the same name. Raises `ConfigurationError`, and
    `StoreUnavailable` if the database cannot be opened.
    """
    place = Place(host, public_url)
    return run_until_stopped(_run(port, sandbox_port, place=place, open_browser=open_browser))


@dataclass(frozen=True, slots=True)
class Place:
    """Where the two servers listen, and the name under which browsers open them."""

    host: str
    public_url: str | None

    def url(self, port: int) -> str:
        """Return where browsers open the host app."""
        return address_of(self.host, port, public_url=self.public_url)

    def sandbox_url(self, port: int) -> str:
        """Return where browsers open the sandbox: at the name of the host app."""
        if self.public_url is None:
            return address_of(self.host, port)
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc.removesuffix(f':{parts.port}')}:{port}"

    def names(self) -> set[str]:
        """Return the names that requests may have as their Host, apart from this machine's own."""
        return {self.host.lower(), urlsplit(self.public_url or "").hostname or self.host.lower()}


async def _run(port: int, sandbox_port: int, *, place: Place, open_browser: bool) -> None:
    stop = stop_at_signals()
    async with AsyncExitStack() as stack:
        sockets, port = stack.enter_context(bind_port(place.host, port, option="--port"))
        sandbox_servers: list[Server] = []
        sandbox_url = None
        if _is_set("KOMBO_API_KEY"):
            app = create_app(session_secret=secrets.token_urlsafe())
        else:
            ports = bind_port(place.host, sandbox_port, option="--sandbox-port")
            sandbox_sockets, sandbox_port = stack.enter_context(ports)
            sandbox_url = place.sandbox_url(sandbox_port)
            app, sandbox_app = _with_sandbox(stack, place, port=port, sandbox_url=sandbox_url)
            sandbox_servers = [Server(sandbox_app, sandbox_sockets)]
        # Opened here and not by a lifespan in the server, so that its errors are raised here.
        await stack.enter_async_context(app.state.embed)

        def announce() -> None:
            url = place.url(port)
            print(_announcement(url, sandbox_url), flush=True)  # noqa: T201 - for the person at the terminal
            if open_browser:
                open_in_browser(f"{url}/")

        # The mount protects itself, and Kombo's webhooks may arrive through a tunnel with another Host.
        guarded = LocalOnly(
            app,
            is_protected=changes_something,
            exempt=f"{app.state.mount_path}/",
            hosts=place.names(),
        )
        await serve_until(stop, [Server(guarded, sockets), *sandbox_servers], announce)


def _with_sandbox(
    stack: AsyncExitStack, place: Place, *, port: int, sandbox_url: str
) -> tuple[Starlette, ASGIApp]:
    settings = stack.enter_context(_sandbox_settings(sandbox_url))
    sandbox = Sandbox(
        api_key=settings.api_key.get_secret_value(),
        webhook_secret=settings.webhook_secret[0].get_secret_value(),
        webhook_url=f"{address_of(place.host, port)}{settings.mount_path}/webhooks",
        public_url=sandbox_url,
    )
    sandbox.hosts.update(place.names())
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
    values: dict[str, object] = {
        "api_key": f"sandbox-{secrets.token_urlsafe(12)}",
        "api_url": f"{sandbox_url}/v1",
        "webhook_secret": (secrets.token_urlsafe(),),
    }
    if not _is_set("KOMBO_ALLOW_DISCONNECT"):
        values["allow_disconnect"] = True
    with TemporaryDirectory(prefix="kombo-embed-demo-", ignore_cleanup_errors=True) as folder:
        if not _is_set("KOMBO_DATABASE_URL"):
            values["database_url"] = f"sqlite+aiosqlite:///{Path(folder, 'kombo_embed.db').as_posix()}"
        yield Settings(**values)


def _is_set(name: str) -> bool:
    # As `Settings` reads it: in any case, also from ``.env``; empty is unset.
    variables = [*os.environ.items(), *read_env_file().items()]
    return any(value for key, value in variables if key.upper() == name)


def _announcement(url: str, sandbox_url: str | None) -> str:
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

    Open      {url}/
    Sign in   as {people}
    Connect   {credentials}
    Kombo     {kombo}

  Ctrl-C ends it.
"""


def _first_names(organization_id: str) -> list[str]:
    return [person.name.split()[0] for person in PEOPLE.values() if person.organization.id == organization_id]
