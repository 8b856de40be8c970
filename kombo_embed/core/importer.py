"""Importing integrations that exist at Kombo: each is read back from Kombo before it is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable

from kombo_embed import errors
from kombo_embed.core.reconcile import Sleep, Waits
from kombo_embed.core.records import ImportStore
from kombo_embed.kombo import responses
from kombo_embed.kombo.client import KomboClient
from kombo_embed.ports import Clock
from kombo_embed.upstream import (
    DELETED,
    ERASED,
    INVALID_LINE,
    NOT_FOUND,
    OTHER_CUSTOMER,
    OTHER_TOOL,
    ImportLine,
    ImportResult,
    IntegrationDetails,
    InvalidLine,
    Recorded,
    Refused,
)

DETAILS = {
    NOT_FOUND: "Kombo does not know this integration. Does KOMBO_API_KEY belong to its environment?",
    OTHER_CUSTOMER: "It belongs to another origin id, at Kombo or here.",
    OTHER_TOOL: "Kombo names another tool or category.",
    DELETED: "It was deleted here, which is final.",
    ERASED: "The customer, or the integration, was erased.",
}


class Importer:
    """Imports integrations, one after another, so that what was reported is recorded."""

    def __init__(
        self, client: KomboClient, store: ImportStore, *, clock: Clock, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._waits = Waits(clock, sleep)

    async def run(
        self, lines: Iterable[ImportLine | InvalidLine], *, dry_run: bool, actor: str
    ) -> AsyncGenerator[ImportResult, None]:
        """Import lines, and yield the outcome of each; with ``dry_run``, the expected one.

        Raises `KomboRejected` if Kombo refuses the API key, and `StoreUnavailable`. What was yielded before
        is recorded, and a repetition changes nothing about it.
        """
        seen: dict[str, str] = {}
        for line in lines:
            if isinstance(line, InvalidLine):
                yield _failed(line, INVALID_LINE, line.problem)
                continue
            result = await self._import(line, seen if dry_run else None, actor=actor)
            if result.status != "failed":
                seen.setdefault(line.integration_id, line.origin_id)
            yield result

    async def _import(self, line: ImportLine, seen: dict[str, str] | None, *, actor: str) -> ImportResult:
        try:
            details = await self._read(line)
            recorded = (
                await self._store.save(line, details, actor=actor)
                if seen is None
                else await self._preview(line, details, seen)
            )
        except Refused as refused:
            return _failed(line, refused.reason, DETAILS[refused.reason])
        except errors.StoreUnavailable:
            raise
        except errors.KomboEmbedError as error:
            if isinstance(error, errors.KomboRejected) and error.cause == "credentials":
                raise
            code = getattr(error, "kombo_code", None) or error.code
            return _failed(line, code, str(error))
        return ImportResult(number=line.number, integration_id=line.integration_id, status=recorded)

    async def _read(self, line: ImportLine) -> IntegrationDetails:
        """Read an integration from Kombo; raise `Refused` if it is not what the line says."""
        try:
            details = await self._waits.read_details(self._client, line.integration_id)
        except errors.IntegrationNotFound:  # an id that Kombo cannot have
            raise Refused(NOT_FOUND) from None
        except errors.KomboRejected as error:
            if error.kombo_code == responses.NOT_FOUND:
                raise Refused(NOT_FOUND) from None
            raise
        self._waits = Waits(self._clock, self._sleep)  # only an outage uses up its waits
        if details.origin_id not in (None, line.origin_id):
            raise Refused(OTHER_CUSTOMER)
        if not _agree(line.tool, details.tool) or not _agree(line.category, details.category):
            raise Refused(OTHER_TOOL)
        return details

    async def _preview(self, line: ImportLine, details: IntegrationDetails, seen: dict[str, str]) -> Recorded:
        # Of lines about one integration, only the first one would record it.
        if seen.get(line.integration_id, line.origin_id) != line.origin_id:
            raise Refused(OTHER_CUSTOMER)
        recorded = await self._store.preview(line, details)
        return "known" if line.integration_id in seen else recorded


def _agree(stated: str | None, reported: str | None) -> bool:
    return stated is None or reported is None or stated.casefold() == reported.casefold()


def _failed(line: ImportLine | InvalidLine, reason: str, detail: str) -> ImportResult:
    return ImportResult(
        number=line.number,
        integration_id=line.integration_id,
        status="failed",
        reason=reason,
        detail=detail,
    )
