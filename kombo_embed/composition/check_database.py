"""Checks the database as a start would use it, without creating or migrating anything."""

from __future__ import annotations

import os
from contextlib import aclosing

from kombo_embed import database_url, errors
from kombo_embed.composition.deployment import Finding
from kombo_embed.database_url import SqliteUrl
from kombo_embed.ports import Clock
from kombo_embed.settings import Settings
from kombo_embed.store.migrations import MIGRATE
from kombo_embed.store.store import Store
from kombo_embed.store.support import RecordsReader

OPENED = Finding("database", "ok", "The database can be used.")


class DatabaseCheck:
    """Opens the database of the settings."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._variable = f"{settings.prefix}DATABASE_URL"

    async def run(self) -> list[Finding]:
        """Open the database and compare the version of its tables; create and migrate nothing."""
        url = self._settings.database_url.get_secret_value()
        parts = database_url.parse(url)
        if isinstance(parts, SqliteUrl) and (finding := self._inspect_file(parts)) is not None:
            return [finding]
        try:
            await (self._read_file(url) if isinstance(parts, SqliteUrl) else self._open(url))
        except errors.ConfigurationError as error:
            return self._refused(str(error), migrates_on_open=isinstance(parts, SqliteUrl))
        except errors.StoreUnavailable as error:
            remedy = f"Check {self._variable}, and that the database runs and can be reached."
            return [Finding("database", "error", str(error), remedy)]
        return [OPENED, Finding("migrations", "ok", "The tables are of this version.")]

    def _inspect_file(self, url: SqliteUrl) -> Finding | None:
        file, variable = url.file, self._variable
        if not file.parent.is_dir():
            message = f"The folder of {variable} does not exist: {file.parent}"
            return Finding("database", "error", message, f"Create it, or correct {variable}.")
        if not all(os.access(path, os.W_OK) for path in (file, file.parent) if path.exists()):
            # SQLite also writes files beside this one.
            message = f"{file} or its folder is not writable for this user."
            return Finding("database", "error", message, "Give the user of the app the right to write both.")
        if not file.exists():
            message = f"There is no database at {file} yet; the first start creates it."
            remedy = f"Run kombo-embed migrate, or correct {variable} if the app has run before."
            return Finding("database", "warning", message, remedy)
        return None

    async def _read_file(self, url: str) -> None:
        environment = self._settings.environment
        async with RecordsReader(url, environment=environment, clock=self._clock).opened():
            pass

    async def _open(self, url: str) -> None:
        # On PostgreSQL, a start verifies the tables and the role's privileges, and changes nothing.
        async with aclosing(Store(url, environment=self._settings.environment, clock=self._clock)) as store:
            await store.open()

    def _refused(self, reason: str, *, migrates_on_open: bool) -> list[Finding]:
        if MIGRATE in reason:
            return [
                OPENED,
                Finding("migrations", "warning" if migrates_on_open else "error", reason, MIGRATE),
            ]
        remedy = f"Correct {self._variable}, or install the extra that it needs."
        if "GRANT" in reason:
            remedy = "Run the statements above as the owner of the tables."
        return [Finding("database", "error", reason, remedy)]
