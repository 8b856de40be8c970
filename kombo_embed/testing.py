"""A pytest plugin for apps that mount kombo-embed: the fixture ``kombo`` is the local sandbox, in-process.

It comes with the package: no import, no server, no Kombo account.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp

    from kombo_embed.sandbox import Sandbox
    from kombo_embed.sandbox.records import Completion
    from kombo_embed.settings import Settings

CREATE_LINK = "POST /v1/connect/create-link"


class Clock:
    """Time that a test can move forward, for Kombo and, as ``KomboEmbed(clock=…)``, for your app."""

    def __init__(self) -> None:
        self._moved = 0.0

    def time(self) -> float:
        """Seconds since the epoch (UTC)."""
        return time.time() + self._moved

    def monotonic(self) -> float:
        """Seconds on a clock that is never set back."""
        return time.monotonic() + self._moved

    def advance(self, seconds: float) -> None:
        """Move the time forward: a link lives an hour, an activation token ten minutes."""
        self._moved += seconds


class Kombo:
    """The local sandbox for one test, and hands to act as Kombo's end user.

    Attributes:
        settings: Settings for ``KomboEmbed(settings=…)``, with a database of the test's own. For others use
            ``kombo.settings.model_copy(update={"allowed_tools": ("personio",)})``.
        transport: The way to the sandbox, for ``KomboEmbed(http_transport=…)``.
        clock: What the sandbox's time is; give it to ``KomboEmbed(clock=…)`` too if you move it.
        sandbox: The sandbox itself.
    """

    def __init__(self, sandbox: Sandbox, settings: Settings, clock: Clock) -> None:
        import httpx  # noqa: PLC0415 - heavy, and this module is loaded in every pytest run

        self.sandbox = sandbox
        self.settings = settings
        self.clock = clock
        self.transport: httpx.AsyncBaseTransport = httpx.ASGITransport(sandbox.app)

    @property
    def calls(self) -> dict[str, int]:
        """How often each of Kombo's endpoints was called: ``{"POST /v1/connect/create-link": 1}``."""
        return self.sandbox.calls

    async def complete(
        self,
        link: str,
        tool: str | None = None,
        *,
        order: Literal["browser_first", "webhook_first"] | None = None,
        duplicate: bool = False,
    ) -> Completion:
        """Finish a link's flow as its end user does; gives ``activation_token`` and ``integration_id``.

        Args:
            link: As your app gave it.
            tool: The tool to choose, by Kombo's id; ``personio`` unless the link names one.
            order: ``webhook_first`` returns after the webhook was delivered; ``browser_first`` keeps it back
                until the activation token was exchanged.
            duplicate: Send the webhook twice.

        Raises:
            SandboxError: The link is unknown or expired, or is for another tool.
        """
        return await self.sandbox.complete(link, tool, order=order, duplicate=duplicate)

    async def fail(self, link: str, tool: str | None = None) -> None:
        """Give wrong credentials in a link's flow; it may be completed afterwards.

        Raises:
            SandboxError: The link is unknown or expired, or is for another tool.
        """
        await self.sandbox.fail(link, tool)

    def deliver_webhooks_to(self, app: ASGIApp, path: str = "/kombo/webhooks") -> None:
        """Send Kombo's webhooks to your app, in this process. Wait for them with `settle`."""
        import httpx  # noqa: PLC0415 - as above

        self.sandbox.webhook_url = f"http://testserver{path}"
        self.sandbox.webhook_transport = httpx.ASGITransport(app)

    async def settle(self) -> None:
        """Wait until every webhook is delivered or given up."""
        await self.sandbox.settle()

    def assert_minted_once(self) -> None:
        """Fail the test unless Kombo was asked for exactly one connection link."""
        __tracebackhide__ = True
        minted = self.calls.get(CREATE_LINK, 0)
        if minted != 1:
            pytest.fail(f"Kombo was asked for {minted} connection links, not for 1; all calls: {self.calls}")


@pytest.fixture
def kombo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kombo]:
    """The local sandbox of kombo-embed, for this test alone."""
    from kombo_embed.sandbox import Sandbox  # noqa: PLC0415 - heavy, and loaded in every pytest run
    from kombo_embed.sandbox.clock import MovableClock  # noqa: PLC0415 - as above
    from kombo_embed.settings import Settings  # noqa: PLC0415 - as above

    for name in list(os.environ):
        if name.upper().startswith("KOMBO_"):
            monkeypatch.delenv(name)  # a developer's own settings are no part of a test
    key, secret, clock = "ks_dev_sandbox", "whsec_sandbox", Clock()
    sandbox = Sandbox(api_key=key, webhook_secret=secret, clock=MovableClock(clock.time))
    settings = Settings(
        _env_file=None,
        api_key=key,
        api_url="http://localhost:8001/v1",
        webhook_secret=(secret,),
        database_url=f"sqlite+aiosqlite:///{tmp_path / 'kombo_embed.db'}",
    )
    yield Kombo(sandbox, settings, clock)
    sandbox.reset()
