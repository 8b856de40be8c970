"""The output of commands: tables for people, JSON for programs, one sentence per error."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kombo_embed.clock import rfc3339
from kombo_embed.errors import KomboEmbedError

ID_WIDTH = 34  # columns of one of Kombo's ids
UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print the message of a `KomboEmbedError`, without a traceback, and exit with the code 1."""
    try:
        yield
    except KomboEmbedError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Print a message to stderr and exit with the code 1."""
    print_error(message)
    raise typer.Exit(1)


def print_error(message: str) -> None:
    """Print a message to stderr. It may quote an argument or an id of Kombo's."""
    typer.echo(_printable(message), err=True)


def print_json(document: Mapping[str, object]) -> None:
    """Print one document, with times in RFC 3339."""
    typer.echo(json.dumps(document, default=_json_value, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, if_empty: str) -> None:
    """Print a table of at most 80 columns, also into a pipe: long cells wrap, ids do not."""
    if not rows:
        typer.echo(if_empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        lines = [line for row in rows for line in _cell(row[index]).split("\n")]
        table.add_column(column, overflow="fold", min_width=min(max(map(len, lines)), ID_WIDTH))
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console().print(table)


def print_fields(fields: Mapping[str, object], *, as_json: str | None) -> None:
    """Print names and values, one pair per line, or as a JSON object of this name."""
    if as_json is not None:
        print_json({as_json: fields})
        return
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(Text(name), Text(_cell(value)))
    Console().print(table)


def lines(*values: str | None) -> str:
    """Return the lines of a cell, without those that are missing."""
    # A line feed within a customer's name would look like another line of ours.
    return "\n".join(value.replace("\n", "?") for value in values if value)


def distance(moment: datetime, now: datetime) -> str:
    """Return the time between two moments in its largest unit, such as ``3 h``."""
    seconds = abs((now - moment).total_seconds())
    unit, size = next(((unit, size) for unit, size in UNITS if seconds >= size), UNITS[-1])
    return f"{int(seconds // size)} {unit}"


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, dict | list | tuple):
        value = json.dumps(value, default=_json_value)
    return "" if value is None else _printable(str(value))


def _printable(text: str) -> str:
    # Values from outside may hold control characters, which could move the reader's cursor.
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def _json_value(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    raise TypeError
