"""The reference of events, from their classes."""

from __future__ import annotations

import inspect
import re
from typing import Any, get_type_hints

from kombo_embed import event
from kombo_embed.event import EVENT_CLASSES, Event

INTRODUCTION = """\
# Events

`@embed.on("integration.connected")` registers an async or plain function as a handler of an event. Each event is written in the
transaction of the change that it reports, and is delivered to each handler at least once, in order per handler and integration
([how](../how-it-works.md#events-for-your-handlers)). Each type has a class, so that type checkers know what an event contains.
Import the classes from `kombo_embed`.

With `integration.connected`, `status`, `setup_status`, `tool_label` and `logo_url` may still be None: they are read from Kombo a
moment later, and reported with `integration.updated`.
"""


def page() -> str:
    """Return the page."""
    common = _table("field", _attributes(Event))
    return "\n".join([INTRODUCTION, "## What every event has", "", common, *map(_section, EVENT_CLASSES)])


def _section(name: str) -> str:
    kind = EVENT_CLASSES[name]
    heading = f"## {name}"
    parts = [heading, "", f"Class `{kind.__name__}`. {_markdown(inspect.getdoc(kind) or '')}", ""]
    data = get_type_hints(kind, vars(event)).get("data")
    if data is not None and hasattr(data, "__annotations__") and data.__annotations__:
        fields = {key: f"`{_type_name(value)}`" for key, value in get_type_hints(data).items()}
        parts += ["Its `data`:", "", _table("key", fields, "type")]
    return "\n".join(parts)


def _attributes(kind: type[Any]) -> dict[str, str]:
    section = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): ((?:.+\n?(?:     +.+\n?)*))", section, re.MULTILINE)
    return {name: _markdown(" ".join(text.split())) for name, text in found}


def _type_name(hint: object) -> str:
    if hint == dict[str, event.FieldChange]:
        return '{field: {"from", "to"}}'
    return getattr(hint, "__name__", None) or str(hint) if isinstance(hint, type) else str(hint)


def _markdown(text: str) -> str:
    return re.sub(r"(?<!`)`(?!`)([\w.]+)`(?!`)", r"`\1`", text.replace("``", "`"))


def _table(first: str, rows: dict[str, str], second: str = "meaning") -> str:
    lines = [f"| `{name}` | {text.replace('|', chr(92) + '|')} |" for name, text in rows.items()]
    return "\n".join([f"| {first} | {second} |", "|---|---|", *lines, ""])
