"""How commands speak: tables for people, JSON for programs, one line for what went wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kombo_embed.errors import KomboEmbedError

ID_WIDTH = 34  # columns that an id of Kombo's takes
UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


@contextmanager
def told() -> Iterator[None]:
    """Our own errors are for people: their message, no traceback."""
    try:
        yield
    except KomboEmbedError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """End with a message and the exit code 1."""
    typer.echo(message, err=True)
    raise typer.Exit(1)


def print_json(document: Mapping[str, object]) -> None:
    """One document, times in RFC 3339."""
    typer.echo(json.dumps(document, default=_encoded, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, nothing: str) -> None:
    """A table that fits 80 columns, also into a pipe: long cells go on in the next line, ids do not."""
    if not rows:
        typer.echo(nothing)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(columns):
        lines = [line for row in rows for line in _shown(row[place]).split("\n")]
        table.add_column(column, overflow="fold", min_width=min(max(map(len, lines)), ID_WIDTH))
    for row in rows:
        table.add_row(*(Text(_shown(cell)) for cell in row))
    Console().print(table)


def print_fields(fields: Mapping[str, object]) -> None:
    """Names and values, one pair a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(Text(name), Text(_shown(value)))
    Console().print(table)


def span(moment: datetime, now: datetime) -> str:
    """How long ago, or how long until, in its greatest unit."""
    seconds = abs((now - moment).total_seconds())
    unit, size = next(((unit, size) for unit, size in UNITS if seconds >= size), UNITS[-1])
    return f"{int(seconds // size)} {unit}"


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, dict | list | tuple):
        value = json.dumps(value, default=_encoded)
    # What came from elsewhere must not move the cursor of whoever reads it.
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def _encoded(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    raise TypeError
