"""The interface of a kind of database, so that `Database` is one class for SQLite and PostgreSQL."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BUSY_SECONDS = 5.0  # how long to wait for another writer, a free connection, or an answer of the database


class Backend(Protocol):
    """One database of one kind."""

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """The exceptions that the libraries raise if the database cannot be used."""

    @property
    def remedy(self) -> str:
        """What an operator should check then, as a sentence."""

    @property
    def deadline_seconds(self) -> float | None:
        """The limit for one piece of work with all its attempts; None where interrupting it would do harm."""

    @property
    def migrates_on_open(self) -> bool:
        """Whether opening the store migrates the tables, or only verifies them."""

    def verify_settings(self) -> None:
        """Verify what the URL alone shows.

        Raises:
            ConfigurationError: It names nothing that can be opened.
        """

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that only reads."""

    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that may write; when it has ended, its changes are on disk."""

    def migrating(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that changes tables, one at a time over all processes."""

    def time_after(self, now: datetime, *, seconds: float) -> ColumnElement[datetime]:
        """Return the time ``seconds`` from now by the clock that all users of the database share."""

    def is_transient(self, error: Exception) -> bool:
        """Return whether the transaction was rolled back and may succeed if it is run again at once."""

    def describe(self, error: Exception) -> str:
        """Return the error as a log may have it: without any value of a statement."""
