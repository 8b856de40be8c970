"""Renders the templates, with everything escaped, and the words for times and values."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import jinja2
from starlette.responses import HTMLResponse

from kombo_embed.clock import rfc3339
from kombo_embed.console import words

SECRET_KEY = re.compile(
    r"token|secret|passw|api_?key|authoriz|credential|cookie|session|signature|private|link", re.IGNORECASE
)
EMAIL = re.compile(r"([^\s@]{1,2})[^\s@]*@([^\s@]+\.[^\s@]+)")
URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
TEXT_MAX_LENGTH, DEPTH_MAX, ITEMS_MAX = 500, 12, 50
UNITS = (("day", 86_400), ("hour", 3600), ("min", 60))


def render(template: str, context: Mapping[str, object], *, status: int = 200) -> HTMLResponse:
    """Return a page."""
    return HTMLResponse(_environment().get_template(template).render(context), status)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kombo_embed.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {
        "ago": ago,
        "absolute": absolute,
        "rfc3339": rfc3339,
        "payload": payload,
        "number": number,
        "stamp": stamp,
    }
    environment.filters.update(filters | {"duration": duration})
    environment.globals.update(words.GLOBALS)
    return environment


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago a time is, or in how long, in its largest unit."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < UNITS[-1][1]:
        return "just now" if seconds >= 0 else "in a moment"
    text = duration(abs(seconds))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def absolute(moment: datetime) -> str:
    """Return a time for people, in UTC."""
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y, %H:%M} UTC"


def stamp(moment: datetime, precision: str) -> str:
    """Return the day, or the hour, that begins at a time in UTC."""
    return absolute(moment).partition(",")[0] if precision == "date" else absolute(moment)


def duration(seconds: float) -> str:
    """Return about how long something takes, in its largest unit."""
    for unit, size in UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 and unit != 'min' else ''}"
    return f"{round(seconds)} s"


def number(value: int) -> str:
    """Return a number with a separator between thousands."""
    return f"{value:,}"


def payload(value: object) -> str:
    """Return a payload as JSON, without secrets, links and whole addresses."""
    return json.dumps(redact(value), indent=2, ensure_ascii=False, default=str)


def redact(value: object, depth: int = 0) -> object:
    """Return a value without what could be a secret, a link or a person's address."""
    if depth > DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        some = list(value.items())[:ITEMS_MAX]
        return {
            _text(str(key)): "[redacted]"
            if SECRET_KEY.search(str(key)) and item is not None
            else redact(item, depth + 1)
            for key, item in some
        }
    if isinstance(value, list | tuple):
        return [redact(item, depth + 1) for item in value[:ITEMS_MAX]]
    return _text(value) if isinstance(value, str) else value


def _text(value: str) -> str:
    short = value if len(value) <= TEXT_MAX_LENGTH else f"{value[:TEXT_MAX_LENGTH]}…"
    return EMAIL.sub(r"\1…@\2", URL.sub(_host, short))


def _host(match: re.Match[str]) -> str:
    try:
        host: Any = urlsplit(match[0]).hostname
    except ValueError:
        host = None
    return f"{host}/…" if host else "[redacted]"
