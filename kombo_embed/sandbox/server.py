"""The development server: uvicorn on ports of this machine, several apps in one event loop.

`kombo-embed sandbox` and the demo run it. Ports are bound before anything starts, so that a port in use is
reported in one line.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from kombo_embed.sandbox.app_process import environment_for, run_app
from kombo_embed.sandbox.sandbox import Sandbox

LOOPBACK = "127.0.0.1"
_THIS_MACHINE = {LOOPBACK, "localhost"}
_EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 - what they mean, not a choice
_LAST_PORT = 65_535
# The errors of a machine without IPv6. Any other one means that browsers would reach another program.
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


class PortUnavailable(Exception):
    """A port or an address cannot be bound. The message names it, and the option that chooses another."""


class Server(uvicorn.Server):
    """A server that runs no lifespan, leaves signals to `stop_at_signals`, and whose start can be awaited."""

    def __init__(self, app: ASGIApp, sockets: Sequence[socket.socket]) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            access_log=False,  # its lines would contain link tokens
            log_config=None,
            log_level="warning",
            timeout_graceful_shutdown=1,  # second, for requests in progress
        )
        super().__init__(config)
        self.sockets = list(sockets)
        self.started_or_failed = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and set `started_or_failed`."""
        try:
            await super().startup(sockets)
        finally:
            self.started_or_failed.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none: each server would take them from the one before."""
        yield


@contextmanager
def bind_port(host: str, port: int, *, option: str) -> Iterator[tuple[list[socket.socket], int]]:
    """Listen on a port until the context ends; give the sockets and the port.

    Port 0 takes a free one. Browsers resolve ``localhost`` to ``::1`` first, so 127.0.0.1 includes it. Raises
    `PortUnavailable`, whose message names the command-line ``option`` that chooses another port.
    """
    if port > _LAST_PORT:
        raise PortUnavailable(f"Port {port} cannot be used. Choose one up to {_LAST_PORT} with {option}.")
    with ExitStack() as stack:
        try:
            sockets = _listen(stack, host, port)
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                message = f"{host} is not an address of this machine. Choose another one with --host."
                raise PortUnavailable(message) from error
            in_use = error.errno == errno.EADDRINUSE
            reason = "is in use" if in_use else f"cannot be used ({os.strerror(error.errno or 0)})"
            raise PortUnavailable(f"Port {port} {reason}. Choose another one with {option}.") from error
        yield sockets, sockets[0].getsockname()[1]


def address_of(host: str, port: int, *, public_url: str | None = None) -> str:
    """Return the URL under which people and programs open what listens on this host and port."""
    if public_url:
        return public_url
    name = "localhost" if host in _THIS_MACHINE | _EVERY_ADDRESS else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def run_until_stopped(main: Coroutine[object, object, int | None]) -> int:
    """Run a development server and return the exit code of its process: what it returns, 0 for None."""
    try:
        return asyncio.run(main) or 0
    except PortUnavailable as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 1
    except KeyboardInterrupt:
        pass  # Ctrl-C before `stop_at_signals`, or on Windows: everything is closed by now
    return 0


def stop_at_signals() -> asyncio.Event:
    """Return an event that Ctrl-C, SIGTERM and a closed terminal set for as long as this event loop runs."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # On Windows a loop takes no handlers; there, asyncio.run turns Ctrl-C into a cancellation.
    with suppress(NotImplementedError):
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                loop.add_signal_handler(getattr(signal, name), stop.set)
    return stop


async def serve_until(stop: asyncio.Event, servers: Sequence[Server], announce: Callable[[], None]) -> None:
    """Serve, call ``announce`` when all servers listen, and end all of them at ``stop`` or when one ends."""
    running = [asyncio.create_task(server.serve(server.sockets)) for server in servers]
    for task in running:
        task.add_done_callback(lambda _: stop.set())
    try:
        for server in servers:
            await server.started_or_failed.wait()
        if not stop.is_set():
            announce()
        await stop.wait()
    finally:
        # Errors of requests that the end aborts would only confuse after Ctrl-C.
        for name in ("uvicorn.error", "kombo_embed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)


def run(sandbox: Sandbox, *, port: int, host: str = LOOPBACK, command: Sequence[str] = ()) -> int:
    """Serve a sandbox until Ctrl-C or SIGTERM; return the exit code of the process.

    ``host`` is an address or a name of this machine. Without it, only this machine reaches the sandbox. With
    a ``command``, run it beside the sandbox, end both together, and return its exit code.
    """
    return run_until_stopped(_run(sandbox, port, host, command))


async def _run(sandbox: Sandbox, port: int, host: str, command: Sequence[str]) -> int:
    stop = stop_at_signals()
    end = asyncio.Event() if command else stop  # the app may call the sandbox until it has ended
    apps: list[asyncio.Task[int]] = []
    sandbox.hosts.add(host.lower())
    with bind_port(host, port, option="--port") as (sockets, bound):
        url = address_of(host, bound, public_url=sandbox.public_url)

        def start() -> None:
            _announce(sandbox, url)
            if command:
                environ = environment_for(sandbox, url, environ=os.environ)
                apps.append(asyncio.create_task(run_app(command, environ=environ, stop=stop)))
                apps[0].add_done_callback(lambda _: end.set())

        try:
            await serve_until(end, [Server(sandbox.app, sockets)], start)
        finally:
            stop.set()
            codes = await asyncio.gather(*apps)
            await sandbox.aclose()
    return codes[0] if codes else 0


def _announce(sandbox: Sandbox, url: str) -> None:
    webhooks = sandbox.webhook_url or "not sent; set an address with --webhook-url"
    if sandbox.webhook_url and not sandbox.webhook_secret:
        webhooks += ", unsigned: an app rejects them; set KOMBO_WEBHOOK_SECRET for both"
    key = "the one in KOMBO_API_KEY here, and no other" if sandbox.api_key else "any"
    text = f"""
  The local sandbox, a stand-in for Kombo

    Open       {url}/
    Use it     KOMBO_API_URL={url}/v1
    API key    {key}
    Webhooks   {webhooks}

  Ctrl-C ends it.
"""
    print(text, flush=True)  # noqa: T201 - for the person at the terminal


def _listen(stack: ExitStack, host: str, port: int) -> list[socket.socket]:
    socket.getaddrinfo(host, port)  # create_server would hide that a name is unknown
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Every address of this machine includes those of IPv4.
    dual = host == "::" and socket.has_dualstack_ipv6()
    # Listens at once: two programs may bind a port on which neither listens yet.
    listener = socket.create_server((host, port), family=family, dualstack_ipv6=dual)
    sockets = [stack.enter_context(listener)]
    if host not in _THIS_MACHINE:
        return sockets
    address_6 = ("::1", sockets[0].getsockname()[1])
    try:
        sockets.append(stack.enter_context(socket.create_server(address_6, family=socket.AF_INET6)))
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return sockets


def open_in_browser(url: str) -> None:
    """Open a page in the person's browser, if there is one."""

    def open_it() -> None:
        with suppress(webbrowser.Error, OSError):
            webbrowser.open(url)

    # A browser in the terminal would block the event loop and the exit: a daemon thread does neither.
    threading.Thread(target=open_it, daemon=True).start()
