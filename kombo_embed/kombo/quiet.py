"""Keeps our calls out of the logs of the libraries that carry them.

Lines of httpx and httpcore hold URLs, and ours hold activation tokens. Calls that the host makes itself are
logged as before.
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
    "stamina",  # it would log each second attempt; what Kombo answered is told by us
)

_calling_kombo: ContextVar[bool] = ContextVar("kombo_embed_calling_kombo", default=False)


class _NotWhileCallingKombo(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not _calling_kombo.get()


_filter = _NotWhileCallingKombo()


def silence_foreign_loggers() -> None:
    """Teach the libraries' loggers to be silent inside `quietly`."""
    for name in FOREIGN_LOGGERS:
        logging.getLogger(name).addFilter(_filter)


@contextmanager
def quietly() -> Iterator[None]:
    """Nothing that is called inside is logged by the libraries."""
    reset = _calling_kombo.set(True)
    try:
        yield
    finally:
        _calling_kombo.reset(reset)
