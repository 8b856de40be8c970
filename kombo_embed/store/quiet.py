"""Keeps the drivers and SQLAlchemy from logging what our statements carry: emails, origin ids, events."""

from __future__ import annotations

import functools
import logging
from typing import Any

LOGGING_NAME = "kombo_embed"


def silence_foreign_loggers() -> None:
    """Leave our statements out of the libraries' logs; everybody else's stay."""
    logging.getLogger("aiosqlite").addFilter(_filter)
    for name in ("sqlalchemy.engine.Engine", "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"):
        logging.getLogger(f"{name}.{LOGGING_NAME}").setLevel(logging.WARNING)


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
