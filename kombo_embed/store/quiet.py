"""Keeps the drivers and SQLAlchemy from logging what our statements carry: emails, origin ids, events.

And stamina from logging each of our second attempts: what comes of them is told by us.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

LOGGING_NAME = "kombo_embed"

_working: ContextVar[bool] = ContextVar("kombo_embed_working_on_the_database", default=False)


def silence_foreign_loggers() -> None:
    """Leave our statements out of the libraries' logs; everybody else's stay."""
    logging.getLogger("aiosqlite").addFilter(_filter)
    logging.getLogger("stamina").addFilter(_filter_of_retries)
    for name in ("sqlalchemy.engine.Engine", "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"):
        logging.getLogger(f"{name}.{LOGGING_NAME}").setLevel(logging.WARNING)


@contextmanager
def quietly() -> Iterator[None]:
    """Nothing that is tried again inside is logged by stamina; what the host tries again is."""
    reset = _working.set(True)
    try:
        yield
    finally:
        _working.reset(reset)


class _NotWhileWorking(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not _working.get()


class _HidesOurStatements(logging.Filter):
    """aiosqlite logs each call with all its arguments; ours, told by the table names, go without them."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments: tuple[Any, ...] = record.args if isinstance(record.args, tuple) else ()
        return not any(_is_ours(argument) for argument in arguments)


def _is_ours(argument: object) -> bool:
    if isinstance(argument, functools.partial):
        return any(isinstance(part, str) and "kombo_embed" in part for part in argument.args)
    return False


_filter = _HidesOurStatements()
_filter_of_retries = _NotWhileWorking()
