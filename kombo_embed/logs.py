"""The log filter that keeps our calls out of other libraries' logs, and a formatter for our own records.

Our records are event names (``link.minted``) with structured ``extra`` fields. Libraries that carry our calls
would log URLs, statements and bodies, which contain activation tokens and emails. Calls that the host makes
itself are logged as before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_muted: ContextVar[bool] = ContextVar("kombo_embed_muted", default=False)
_STANDARD_FIELDS = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}


class _MutedFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not _muted.get()


_filter = _MutedFilter()


def mute_loggers(*names: str) -> None:
    """Make these loggers drop the records that are logged inside `muted`."""
    for name in names:
        logging.getLogger(name).addFilter(_filter)


@contextmanager
def muted() -> Iterator[None]:
    """Drop the records of the loggers given to `mute_loggers` while the context is active."""
    reset = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(reset)


class KeyValueFormatter(logging.Formatter):
    """Appends a record's ``extra`` fields as ``key=value``, for logs that people read."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the formatted line."""
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
        text = super().format(record)
        if not fields:
            return text
        first, newline, traceback = text.partition("\n")
        pairs = " ".join(f"{name}={value!r}" for name, value in fields.items())
        return f"{first} {pairs}{newline}{traceback}"
