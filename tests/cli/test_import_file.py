"""The files of an import, line by line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kombo_embed.cli.import_file import LINE_MAX_BYTES, UnreadableFile, read_lines
from kombo_embed.upstream import ImportLine, InvalidLine

HEADER = "integration_id,origin_id,email\n"
FULL = ImportLine(
    number=2,
    integration_id="personio:a",
    origin_id="7",
    email="ada@acme.example",
    organization_name="Acme, Ltd",
    tool="personio",
    category="HRIS",
    connected_at=datetime(2026, 1, 31, 8, 30, tzinfo=UTC),
)
FULL_HEADER = "integration_id,origin_id,email,organization_name,tool,category,connected_at"
FULL_ROW = 'personio:a,7,ada@acme.example,"Acme, Ltd",personio,HRIS,2026-01-31T09:30:00+01:00'


def read(content: str | bytes, name: str = "file.csv") -> list[ImportLine | InvalidLine]:
    file = Path(name)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_lines(file))


def problems(content: str | bytes, name: str = "file.csv") -> dict[int, str]:
    return {one.number: one.problem for one in read(content, name) if isinstance(one, InvalidLine)}


@pytest.mark.parametrize(
    "content",
    [
        f"{FULL_HEADER}\n{FULL_ROW}\n",
        f"{FULL_HEADER}\r\n{FULL_ROW}\r\n",
        f"{FULL_HEADER}\n{FULL_ROW}",
        f"\ufeff{FULL_HEADER.upper()}\n{FULL_ROW}\n\n",
        FULL_HEADER.replace(",", ";")
        + "\npersonio:a;7;ada@acme.example;Acme, Ltd;personio;HRIS;2026-01-31 08:30",
        f"{FULL_HEADER}\n{FULL_ROW}\n".replace('"Acme, Ltd"', "Acme; Ltd")
        .replace(",", "\t")
        .replace("Acme;", "Acme,"),
    ],
    ids=["plain", "crlf", "no last line break", "byte order mark", "semicolons", "tabs"],
)
def test_a_line_of_csv_is_read_in_every_common_dialect(content: str) -> None:
    assert read(content) == [FULL]


def test_a_line_of_json_is_read_and_null_is_what_is_left_out() -> None:
    content = (
        '{"integration_id": "personio:a", "origin_id": 7, "email": null}\n'
        "\n"
        '{"integration_id": "personio:b", "origin_id": "ä"}'
    )
    assert read(content, "file.jsonl") == [
        ImportLine(1, "personio:a", "7"),
        ImportLine(3, "personio:b", "ä"),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("personio:a", "1 cells instead of 3"),
        ("personio:a,7,,", "4 cells instead of 3"),
        (",7,", "integration_id is missing"),
        ("personio:a,,", "origin_id is missing"),
        (f"personio:a,{'7' * 513},", "origin_id is not an id"),
        ("personio:a,7,ada", "email is not an email address"),
        ("personio:a,7\x00,", "a character that no database can store"),
        ('personio:a,"7,', "not CSV"),
    ],
)
def test_a_bad_line_of_csv_is_named_and_the_next_one_is_read(line: str, problem: str) -> None:
    lines = read(f"{HEADER}{line}\npersonio:b,8,\n")
    assert [type(one) for one in lines] == [InvalidLine, ImportLine]
    assert isinstance(lines[0], InvalidLine)
    assert problem in lines[0].problem
    assert "ada" not in lines[0].problem


def test_a_bad_line_names_its_integration_if_it_has_one() -> None:
    [line] = read(f"{HEADER}personio:a,7,ada\n")
    assert line == InvalidLine(2, "email is not an email address", "personio:a")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
        ("[" * 5000, "not JSON"),
        ('{"integration_id": "a", "origin_id": "b", "emial": "c"}', "unknown fields: 'emial'"),
        ('{"integration_id": "a", "origin_id": true}', "origin_id is not text"),
        ('{"integration_id": 1, "origin_id": "b"}', "integration_id is not text"),
        ('{"integration_id": "a", "origin_id": "b\\ud800"}', "a character that no database can store"),
        ('{"integration_id": "a", "origin_id": "b", "connected_at": "soon"}', "connected_at is not a time"),
    ],
)
def test_a_bad_line_of_json_is_named_and_the_next_one_is_read(line: str, problem: str) -> None:
    content = f'{line}\n{{"integration_id": "personio:b", "origin_id": "8"}}\n'
    assert problem in problems(content, "file.jsonl")[1]
    assert len(read(content, "file.jsonl")) == 2


def test_a_line_that_is_not_utf_8_or_too_long_affects_no_other() -> None:
    long = "x" * (3 * LINE_MAX_BYTES)
    content = f"{HEADER}personio:ä,7,\n".encode("latin-1") + f"{long}\npersonio:b,8,\n".encode()
    lines = read(content)
    assert problems(content) == {2: "not UTF-8", 3: f"longer than {LINE_MAX_BYTES} bytes"}
    assert lines[-1] == ImportLine(4, "personio:b", "8")


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        ("", "file.csv", "lacks integration_id, origin_id"),
        ("personio:a,7\n", "file.csv", "lacks integration_id, origin_id"),
        ("integration_id,origin_id,emial\n", "file.csv", "Unknown columns: emial"),
        ("integration_id,origin_id,origin_id\n", "file.csv", "names a column twice"),
        ('integration_id,"origin_id\n', "file.csv", "The header is not CSV"),
        (HEADER.encode("utf-16"), "file.csv", "not UTF-8"),
        (HEADER, "file.xlsx", "must end with .csv or .jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_as_a_whole_is_refused(
    content: str | bytes, name: str, reason: str
) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        read(content, name)


def test_a_file_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnreadableFile, match=r"missing\.csv cannot be read"):
        list(read_lines(Path("missing.csv")))
