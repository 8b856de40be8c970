"""Keeps our calls out of the logs of the libraries that carry them.

Their lines hold URLs, and ours hold activation tokens. Calls that the host makes itself are logged as before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

FOREIGN_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)

_calling_kombo: ContextVar[bool] = ContextVar("kombo_embed_calling_kombo", default=False)


class _NotWhileCallingKombo(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not _calling_kombo.get()


_filter = _NotWhileCallingKombo()


def silence_foreign_loggers() -> None:
    """Teach the loggers of httpx and httpcore to be silent inside `quietly`."""
    for name in FOREIGN_LOGGERS:
        logging.getLogger(name).addFilter(_filter)


@contextmanager
def quietly() -> Iterator[None]:
    """Nothing that is called inside is logged by httpx and httpcore."""
    reset = _calling_kombo.set(True)
    try:
        yield
    finally:
        _calling_kombo.reset(reset)
