"""What a kind of database has to tell and to do, so that `Database` is one class for both."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

PATIENCE = 5  # seconds to wait for another writer, a free connection, or an answer of the database


class Backend(Protocol):
    """One database of one kind."""

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's connections to it."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What the libraries raise when it cannot be used."""

    @property
    def remedy(self) -> str:
        """What to look at then, as a sentence."""

    @property
    def deadline(self) -> float | None:
        """Seconds for a piece of work with all its attempts; None where cutting it off would do harm."""

    @property
    def migrates_at_start(self) -> bool:
        """Whether a start brings the tables to this version, or only looks at them."""

    def verify_settings(self) -> None:
        """Return if the URL leads to something that can be opened.

        Raises:
            ConfigurationError: It does not.
        """

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection in a transaction that only reads."""

    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection in a transaction that may write; what it wrote is on disk when it ends."""

    def migrating(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection in a transaction that changes tables, one at a time over all processes."""

    def moment(self, now: datetime, *, seconds_later: float) -> ColumnElement[datetime]:
        """So long after now, by the one clock of all who share the database; ``now`` is by our own."""

    def is_passing(self, error: Exception) -> bool:
        """Whether the same work, done again at once, may succeed. The transaction is known to be undone."""

    def reason(self, error: Exception) -> str:
        """The error as a log line may have it: without any value of a statement."""
