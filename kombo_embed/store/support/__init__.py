"""The queries of the people who support customers: of the commands and of the console."""

from kombo_embed.store.support.event_pages import MalformedEvent
from kombo_embed.store.support.reader import RecordsReader, missing_file, verify_file
from kombo_embed.store.support.support import Support

__all__ = ["MalformedEvent", "RecordsReader", "Support", "missing_file", "verify_file"]
