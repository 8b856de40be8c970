"""Reads the lines of an import: CSV with a header, or JSON Lines. A bad line never affects the others."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from kombo_embed.models import EMAIL, EMAIL_MAX_LENGTH, LONE_SURROGATE, is_origin_id
from kombo_embed.upstream import ImportLine, InvalidLine

COLUMNS = ("integration_id", "origin_id", "email", "organization_name", "tool", "category", "connected_at")
REQUIRED = COLUMNS[:2]
LINE_MAX_BYTES = 64 * 1024
DELIMITERS = ",;\t"
Line = ImportLine | InvalidLine
Parser = Callable[[str], Mapping[str, object]]


class UnreadableFile(Exception):
    """The file as a whole cannot be imported. The message says why."""


class _BadLine(Exception):
    """A line cannot be used."""


def read_lines(path: Path) -> Iterator[Line]:
    """Yield each line that is not empty; raise `UnreadableFile` before the first one.

    A field has no line breaks, so an unclosed quotation mark affects its own line alone.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}.") from None
    with file:
        lines = _split(file)
        if path.suffix.lower() == ".csv":
            yield from _parse_all(lines, _csv_parser(next(lines, (1, b""))[1]))
        elif path.suffix.lower() in {".jsonl", ".ndjson"}:
            yield from _parse_all(lines, _parse_json)
        else:
            raise UnreadableFile("The name of the file must end with .csv or .jsonl.")


def _split(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(LINE_MAX_BYTES + 1):
        number += 1
        rest = line
        while len(rest) > LINE_MAX_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(LINE_MAX_BYTES + 1)
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _parse_all(lines: Iterator[tuple[int, bytes]], parse: Parser) -> Iterator[Line]:
    for number, line in lines:
        if not line.strip():
            continue
        values: Mapping[str, object] = {}
        try:
            values = parse(_decode(line))
            yield _line(number, values)
        except UnicodeDecodeError:
            yield InvalidLine(number, "not UTF-8")
        except _BadLine as error:
            integration_id = values.get("integration_id")
            is_named = isinstance(integration_id, str) and bool(integration_id)
            yield InvalidLine(number, str(error), str(integration_id) if is_named else None)


def _decode(line: bytes) -> str:
    if len(line) > LINE_MAX_BYTES:
        raise _BadLine(f"longer than {LINE_MAX_BYTES} bytes")
    return line.decode().rstrip("\r\n")


def _csv_parser(header: bytes) -> Parser:
    """Return the parser of the lines below a header; raise `UnreadableFile` if the header cannot be used."""
    try:
        text = header.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UnreadableFile("The file is not UTF-8.") from None
    delimiter = max(DELIMITERS, key=text.count)
    try:
        names = [name.strip().lower() for name in _cells(text, delimiter)]
    except _BadLine as error:
        raise UnreadableFile(f"The header is not CSV: {error}.") from None
    unknown = sorted(set(names) - set(COLUMNS))
    missing = [name for name in REQUIRED if name not in names]
    if unknown or missing or len(names) != len(set(names)):
        raise UnreadableFile(_header_problem(unknown, missing))

    def parse(text: str) -> Mapping[str, object]:
        cells = _cells(text, delimiter)
        if len(cells) != len(names):
            raise _BadLine(f"{len(cells)} cells instead of {len(names)}")
        return dict(zip(names, cells, strict=True))

    return parse


def _header_problem(unknown: Sequence[str], missing: Sequence[str]) -> str:
    known = f"Columns are: {', '.join(COLUMNS)}."
    if missing:
        return f"The first line must name the columns, and lacks {', '.join(missing)}. {known}"
    if unknown:
        return f"Unknown columns: {', '.join(unknown)}. {known}"
    return "The first line names a column twice."


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter, strict=True), [])]
    except csv.Error:
        raise _BadLine("not CSV, such as an unclosed quotation mark") from None


def _parse_json(text: str) -> Mapping[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise _BadLine("not JSON") from None
    if not isinstance(value, dict):
        raise _BadLine("not a JSON object")
    if unknown := sorted(value.keys() - set(COLUMNS)):
        raise _BadLine(f"unknown fields: {', '.join(map(ascii, unknown))}")
    return value


def _line(number: int, values: Mapping[str, object]) -> ImportLine:
    texts = {name: _text(name, values.get(name)) for name in COLUMNS}
    integration_id, origin_id = texts["integration_id"], texts["origin_id"]
    if integration_id is None or origin_id is None:
        raise _BadLine(f"{'integration_id' if integration_id is None else 'origin_id'} is missing")
    if not is_origin_id(origin_id):
        raise _BadLine("origin_id is not an id that a customer can have")
    email = texts["email"]
    if email is not None and (len(email) > EMAIL_MAX_LENGTH or EMAIL.fullmatch(email) is None):
        raise _BadLine("email is not an email address")
    return ImportLine(
        number=number,
        integration_id=integration_id,
        origin_id=origin_id,
        email=email,
        organization_name=texts["organization_name"],
        tool=texts["tool"],
        category=texts["category"],
        connected_at=_time(texts["connected_at"]),
    )


def _text(name: str, value: object) -> str | None:
    """Return a value as text; None for what is left out. An id may be an integer, as in a session."""
    if isinstance(value, int) and not isinstance(value, bool) and name == "origin_id":
        value = str(value)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _BadLine(f"{name} is not text")
    if "\x00" in value or LONE_SURROGATE.search(value):
        raise _BadLine(f"{name} has a character that no database can store")
    return value


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _BadLine("connected_at is not a time in RFC 3339") from None
