"""The sandbox as a server of its own: ``kombo-embed sandbox``."""

from __future__ import annotations

import asyncio
import sys

from kombo_embed.sandbox.ports import LOOPBACK, PortUnavailable, listen
from kombo_embed.sandbox.sandbox import Sandbox
from kombo_embed.sandbox.server import Server, serve_until, stop_at_signals


def run(sandbox: Sandbox, *, port: int) -> int:
    """Serve a sandbox on this machine until Ctrl-C or SIGTERM; give the process's exit code.

    Args:
        sandbox: What to serve.
        port: Where it listens; 0 takes a free port.
    """
    try:
        asyncio.run(_run(sandbox, port))
    except PortUnavailable as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 1
    except KeyboardInterrupt:
        pass  # Ctrl-C before it was listened for, or on Windows: all is closed by now
    return 0


async def _run(sandbox: Sandbox, port: int) -> None:
    stop = stop_at_signals()
    with listen(LOOPBACK, port, option="--port") as (sockets, bound):
        try:
            await serve_until(stop, [Server(sandbox.app, sockets)], lambda: _announce(sandbox, bound))
        finally:
            await sandbox.aclose()


def _announce(sandbox: Sandbox, port: int) -> None:
    webhooks = sandbox.webhook_url or "nowhere; --webhook-url says where"
    if sandbox.webhook_url and not sandbox.webhook_secret:
        webhooks += ", unsigned: an app refuses them; set KOMBO_WEBHOOK_SECRET for both"
    key = "the one in KOMBO_API_KEY here, and no other" if sandbox.api_key else "any will do"
    text = f"""
  The local sandbox, a stand-in for Kombo

    Look at it   http://localhost:{port}/
    Use it       KOMBO_API_URL=http://localhost:{port}/v1
    API key      {key}
    Webhooks     {webhooks}

  Ctrl-C ends it.
"""
    print(text, flush=True)  # noqa: T201 - for the person at the terminal
