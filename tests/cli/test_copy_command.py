from __future__ import annotations

import pytest

from tests.cli.runner import run, run_json
from tests.postgres import PostgresServer

SOURCE = "sqlite+aiosqlite:///kombo_embed.db"


@pytest.mark.usefixtures("records")
def test_copy_copies_everything_and_says_how_much() -> None:
    assert run_json("copy", "--from", SOURCE, "--to", "sqlite:///a.db")["rows"] > 5
    document = run_json("copy", "--from", "sqlite:///a.db", "--to", "sqlite:///b.db")
    assert document["tables"]["kombo_embed_integrations"] == 4
    assert document["rows"] == sum(document["tables"].values())
    assert document["version"] == run_json("migrate")["version"]


@pytest.mark.usefixtures("records")
def test_copy_prints_the_tables_and_the_next_step_for_people() -> None:
    result = run("copy", "--from", SOURCE, "--to", "sqlite:///a.db")
    assert result.exit_code == 0, result.output
    assert "kombo_embed_integrations" in result.stdout
    assert "KOMBO_DATABASE_URL" in result.stdout


@pytest.mark.usefixtures("records")
def test_copy_from_sqlite_to_postgresql_refuses_a_target_with_rows(
    postgres: PostgresServer, postgres_database: str
) -> None:
    target = postgres.url(postgres_database)
    assert run_json("copy", "--from", SOURCE, "--to", target)["rows"] > 5
    result = run("copy", "--from", SOURCE, "--to", target)
    assert (result.exit_code, "not empty" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    "target", ["postgresql://ada:secret-word@127.0.0.1:1/x", "postgres://ada:secret-word@/x?nonsense=1"]
)
@pytest.mark.usefixtures("records")
def test_copy_never_prints_a_password(target: str) -> None:
    for arguments in (["--from", SOURCE, "--to", target], ["--from", target, "--to", "sqlite:///a.db"]):
        result = run("copy", *arguments)
        assert (result.exit_code, "Nothing was copied" in result.stderr) == (1, True)
        assert "secret-word" not in result.output
        assert "Traceback" not in result.output
