"""A pytest plugin for apps that mount kombo-embed: the fixture ``kombo`` is the local sandbox, in-process.

It comes with the package: no import, no server, no Kombo account.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp

    from kombo_embed.sandbox import Completion, Sandbox
    from kombo_embed.sandbox.schemas import SetupStatus, Status
    from kombo_embed.settings import Settings

SETTLE_SECONDS = 30.0  # at most, until handlers and webhooks have ended
LOOK_SECONDS = 0.01  # between looks at the deliveries
IDLE_LOOKS = 2  # in a row, after which nothing is left: a handler's end may begin something else


class Webhooks:
    """The webhooks that Kombo sends next. Those of them that are lost come first."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def lose(self, times: int = 1) -> None:
        """Lose the next webhooks: Kombo never sends them."""
        self._sandbox.lose_webhooks(times)

    def fail(self, times: int = 1) -> None:
        """Let the next attempts fail, as if your app were down. Kombo attempts each webhook four times."""
        self._sandbox.fail_webhooks(times)


class Kombo:
    """The local sandbox for one test, and methods to act as Kombo's end user.

    Attributes:
        settings: Settings for ``KomboEmbed(settings=…)``, with a database of the test's own. For others use
            ``kombo.settings.model_copy(update={"allowed_tools": ("personio",)})``.
        transport: The connection to the sandbox, for ``KomboEmbed(http_transport=…)``.
        clock: The sandbox's time. If the test calls ``kombo.clock.advance(seconds)``, give it to
            ``KomboEmbed(clock=…)``, too. A link lives an hour, an activation token ten minutes.
        webhooks: The next webhooks, which can be lost or fail.
        sandbox: The sandbox itself.
    """

    def __init__(self, sandbox: Sandbox, settings: Settings) -> None:
        import httpx  # noqa: PLC0415 - heavy, and this module is loaded in every pytest run

        self.sandbox = sandbox
        self.settings = settings
        self.clock = sandbox.clock
        self.webhooks = Webhooks(sandbox)
        self.transport: httpx.AsyncBaseTransport = httpx.ASGITransport(sandbox.app)

    @property
    def calls(self) -> dict[str, int]:
        """Return how often each of Kombo's endpoints was called: ``{"POST /v1/connect/create-link": 1}``."""
        return self.sandbox.calls

    async def complete(
        self,
        link: str,
        tool: str | None = None,
        *,
        order: Literal["browser_first", "webhook_first"] | None = None,
        duplicate: bool = False,
    ) -> Completion:
        """Complete a link's flow as its end user does; return ``activation_token`` and ``integration_id``.

        Args:
            link: The link as your app returned it.
            tool: The tool to choose, by Kombo's id; ``personio`` unless the link names one.
            order: ``webhook_first`` returns after the webhook was delivered; ``browser_first`` holds it until
                the activation token is exchanged.
            duplicate: Send the webhook twice.

        Raises:
            SandboxError: The link is unknown or expired, or is for another tool.
        """
        return await self.sandbox.complete(link, tool, order=order, duplicate=duplicate)

    async def incomplete(self, link: str, tool: str | None = None) -> Completion:
        """Complete a link's flow, but leave setup steps: the setup status is ``INCOMPLETE``.

        `complete` with a setup link of the integration finishes them. Arguments and errors are those of
        `complete`.
        """
        return await self.sandbox.complete(link, tool, incomplete=True)

    async def change_state(
        self, integration_id: str, state: Status | None = None, *, setup_status: SetupStatus | None = None
    ) -> None:
        """Change an integration's state at Kombo, its setup status, or both; Kombo sends a webhook.

        Args:
            integration_id: Kombo's id, as `complete` returned it.
            state: ``INVALID`` if the credentials no longer work, ``INACTIVE`` or ``ACTIVE``.
            setup_status: ``INCOMPLETE``, ``FINAL_SYNC_PENDING`` or ``COMPLETED``.

        Raises:
            SandboxError: The integration is unknown or deleted.
        """
        self.sandbox.change_state(integration_id, state, setup_status=setup_status)

    async def delete(self, integration_id: str) -> None:
        """Delete an integration in Kombo's dashboard; Kombo sends a webhook.

        Raises:
            SandboxError: The integration is unknown or deleted.
        """
        self.sandbox.delete(integration_id)

    async def fail(self, link: str, tool: str | None = None) -> None:
        """Enter wrong credentials in a link's flow, which may be completed afterwards.

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
        """Wait until every webhook is delivered or has failed, and your app's handlers have ended.

        The handlers of every `KomboEmbed` with this ``transport`` are awaited, in this event loop. Links that
        have expired by now are reported (``flow.abandoned``). A handler that failed is called again later:
        call ``kombo.clock.advance(seconds)``, with the clock in ``KomboEmbed(clock=…)``, then this method.
        """
        __tracebackhide__ = True
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._settle()
        except TimeoutError:
            pytest.fail(f"A handler or a webhook did not end within {SETTLE_SECONDS:.0f} seconds.")

    async def _settle(self) -> None:
        from kombo_embed.embed import EMBEDS  # noqa: PLC0415 - heavy, and loaded in every pytest run

        idle_looks, calls = 0, self.calls
        while idle_looks < IDLE_LOOKS:
            await self.sandbox.settle()
            embeds = [embed for embed in EMBEDS if embed.calls_kombo_over(self.transport)]
            is_left = any([await embed.run_due() for embed in embeds])
            is_idle = not is_left and calls == self.calls
            idle_looks, calls = idle_looks + 1 if is_idle else 0, self.calls
            await asyncio.sleep(LOOK_SECONDS)

    def assert_minted_once(self) -> None:
        """Fail the test unless Kombo minted exactly one connection link."""
        __tracebackhide__ = True
        minted = self.calls.get("POST /v1/connect/create-link", 0)
        if minted != 1:
            pytest.fail(f"Kombo minted {minted} connection links, not 1; all calls: {self.calls}")


@pytest.fixture
def kombo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kombo]:
    """Give the local sandbox of kombo-embed, for this test alone."""
    from kombo_embed.sandbox import Sandbox  # noqa: PLC0415 - heavy, and loaded in every pytest run
    from kombo_embed.settings import Settings  # noqa: PLC0415 - as above

    for name in list(os.environ):
        if name.upper().startswith("KOMBO_"):
            monkeypatch.delenv(name)  # a developer's own settings are no part of a test
    key, secret = "ks_dev_sandbox", "whsec_sandbox"
    sandbox = Sandbox(api_key=key, webhook_secret=secret)
    sandbox.webhook_backoff_seconds = (0, 0, 0)
    settings = Settings(
        _env_file=None,
        api_key=key,
        api_url="http://localhost:8001/v1",
        webhook_secret=(secret,),
        database_url=f"sqlite+aiosqlite:///{tmp_path / 'kombo_embed.db'}",
    )
    yield Kombo(sandbox, settings)
    sandbox.reset()
