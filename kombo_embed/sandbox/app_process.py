"""Runs the app that is being developed, as a child process beside the sandbox."""

import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence

from kombo_embed.sandbox.sandbox import Sandbox

# What the sandbox and its app agree on where the environment sets nothing.
DEFAULT_API_KEY = "any"
DEFAULT_WEBHOOK_SECRET = "any"  # noqa: S105 - of a stand-in on this machine
DEFAULT_PORT = 8000
CANNOT_RUN, NOT_FOUND, SIGNALLED = 126, 127, 128  # exit codes of shells
TERMINAL_SECONDS = 5.0  # how long an app may take to end by the Ctrl-C that the terminal sent to it as well
STOP_SECONDS = 10.0
STDIN = 0
_PORT = re.compile(r"(?:^|\s)(?:--port[= ]|-p[= ]?|(?:--bind|-b)[= ]\S*:)(\d{1,5})(?=\s|$)")


def find_port(command: Sequence[str]) -> int:
    """Return the port in a server's command line, or the usual one."""
    found = _PORT.search(" ".join(command))
    return int(found[1]) if found else DEFAULT_PORT


def environment_for(sandbox: Sandbox, url: str, *, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the app's environment: it calls the sandbox at ``url`` and accepts its webhooks."""
    return {
        "KOMBO_API_KEY": sandbox.api_key or DEFAULT_API_KEY,
        "KOMBO_WEBHOOK_SECRET": sandbox.webhook_secret or DEFAULT_WEBHOOK_SECRET,
        # An empty variable counts as unset.
        **{name: value for name, value in environ.items() if value or not name.startswith("KOMBO_")},
        "KOMBO_API_URL": f"{url}/v1",
    }


async def run_app(command: Sequence[str], *, environ: Mapping[str, str], stop: asyncio.Event) -> int:
    """Run a command until it ends, or until ``stop`` is set; return the exit code as a shell does."""
    try:
        process = await asyncio.create_subprocess_exec(*command, env=environ)
    except OSError as error:
        print(f"{command[0]} cannot be run: {error.strerror}", file=sys.stderr)  # noqa: T201 - for the terminal
        return NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await _stop(process, ended)
    finally:
        stopped.cancel()
        if process.returncode is None:
            process.kill()
    code = await ended
    return SIGNALLED - code if code < 0 else code


async def _stop(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    if os.isatty(STDIN):
        # The terminal interrupts the app, too. A second signal would change its exit code.
        await asyncio.wait({ended}, timeout=TERMINAL_SECONDS)
    if not ended.done():
        process.terminate()
        await asyncio.wait({ended}, timeout=STOP_SECONDS)
