"""Checks the API key and the region by a call to Kombo, and compares the clocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from kombo_embed import errors
from kombo_embed.composition.deployment import Finding
from kombo_embed.composition.kombo import make_kombo_client
from kombo_embed.ports import Clock, utc_now
from kombo_embed.settings import Settings
from kombo_embed.settings.settings import REGIONS
from kombo_embed.upstream import ApiKeyCheck

if TYPE_CHECKING:
    import httpx

CLOCK_SKEW_SECONDS = 30  # the Date header has a resolution of one second, and responses take time


class KomboCheck:
    """Calls Kombo with the API key. ``transport`` replaces the network, for tests."""

    def __init__(
        self, settings: Settings, *, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._transport = transport

    async def run(self) -> list[Finding]:
        """Return the findings about the URL, the key, the region and the clock."""
        return [*self._inspect_url(), *await self._verify_key()]

    def _variable(self, name: str) -> str:
        return self._settings.prefix + name

    def _inspect_url(self) -> Iterator[Finding]:
        settings, variable = self._settings, self._variable("API_URL")
        if not settings.is_private:
            message = f"{variable} is http to another machine: anyone on the way can read the API key."
            yield Finding("api_url", "warning", message, f"Write https:// in {variable}.")
        if settings.api_url and "region" in settings.model_fields_set:
            region = self._variable("REGION")
            message = f"{region} has no effect, because {variable} is set."
            yield Finding("region", "warning", message, f"Remove {variable}, or {region}.")

    async def _verify_key(self) -> list[Finding]:
        settings, variable = self._settings, self._variable("API_KEY")
        try:
            check = await self._check_key(settings.base_url)
        except errors.KomboRejected as error:
            return [await self._rejected(error)]
        except errors.KomboError as error:
            return [Finding("api_key", "error", f"{variable} cannot be verified. {error}", self._reach())]
        source = self._variable("API_URL") if settings.api_url else f"the region {settings.region}"
        return [
            Finding("api_key", "ok", f"{variable} belongs to Kombo's environment {check.environment_id}."),
            Finding("region", "ok", f"Kombo accepts the key at {settings.base_url}, from {source}."),
            self._compare_clocks(check),
        ]

    async def _check_key(self, base_url: str) -> ApiKeyCheck:
        client = make_kombo_client(
            self._settings, clock=self._clock, base_url=base_url, transport=self._transport
        )
        async with aclosing(client):
            return await client.check_api_key()

    async def _rejected(self, error: errors.KomboRejected) -> Finding:
        variable, url = self._variable("API_KEY"), self._settings.base_url
        if error.cause != "credentials":
            return Finding("api_key", "error", f"{variable} cannot be verified. {error}", self._reach())
        region = await self._find_region()
        if region is not None:
            message = f"{variable} is unknown in the region {self._settings.region}, but valid in {region}."
            return Finding("region", "error", message, f"Set {self._variable('REGION')} to {region}.")
        return Finding(
            "api_key",
            "error",
            f"Kombo refuses {variable} at {url}.",
            f"Copy the key from Kombo's dashboard, page Secrets, into {variable}. Its environment must be in "
            f"this region ({self._variable('REGION')}), and may allow only some IP addresses.",
        )

    async def _find_region(self) -> str | None:
        """Return the other region of Kombo's in which the key is valid."""
        if self._settings.api_url is not None:
            return None
        for region in REGIONS.keys() - {self._settings.region}:
            with suppress(errors.KomboError):
                await self._check_key(REGIONS[region])
                return region
        return None

    def _reach(self) -> str:
        url, variable = self._settings.base_url, self._variable("API_URL")
        if self._settings.api_url and not url.endswith("/v1"):
            return f"{variable} usually ends with /v1: set it to {url}/v1, or remove it."
        return (
            f"Check that this machine reaches {url}: its DNS, firewall and proxies (HTTPS_PROXY, NO_PROXY), "
            f"{variable} and {self._variable('TIMEOUT')}."
        )

    def _compare_clocks(self, check: ApiKeyCheck) -> Finding:
        if check.answered_at is None:
            return Finding("clock", "ok", "Kombo's response has no time to compare the clock with.")
        now = utc_now(self._clock)
        skew_seconds = (now - check.answered_at).total_seconds()
        if abs(skew_seconds) <= CLOCK_SKEW_SECONDS:
            return Finding("clock", "ok", "This machine's clock agrees with Kombo's.")
        direction = "ahead of" if skew_seconds > 0 else "behind"
        return Finding(
            "clock",
            "warning",
            f"This machine's clock is {abs(skew_seconds):.0f} s {direction} Kombo's.",
            "Synchronize it by NTP (timedatectl set-ntp true): tokens and times of expiry depend on it.",
        )
