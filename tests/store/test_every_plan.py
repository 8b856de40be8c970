"""Every statement that the app and its commands execute uses indexes and sorts no more than a page.

The tables have 20,000 rows each; ``PLAN_ROWS`` sets another number, and `make soak` a million.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite

from kombo_embed import Event, Integration
from kombo_embed.core.housekeeping import FIRST_PRUNE_SECONDS
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.database import Database
from kombo_embed.store.tables import erasure_keys, metadata
from kombo_embed.store.transaction import Connection
from tests.cli.runner import run
from tests.store.samples import opened_store
from tests.support import (
    API_KEY,
    ManualClock,
    change_state,
    deliver_webhooks,
    eventually,
    make_host,
    person,
    running,
    webhook_request,
)

# ruff: noqa: S608 - the names of our own tables
pytestmark = pytest.mark.integration  # hundreds of thousands of rows

ROWS = int(os.environ.get("PLAN_ROWS", "20000"))
PAGE = 1000  # rows that may be sorted at a time
ADA = person("ada@acme")
NOW = datetime.now(UTC)
# Tables with few rows, however many customers there are: a row per handler, version, process or environment.
SMALL = {
    "kombo_embed_erasure_keys",
    "kombo_embed_handlers",
    "kombo_embed_leases",
    "kombo_embed_version",
}
FILLED = [table for table in metadata.sorted_tables if table.name not in SMALL]
# What differs from row to row, beside numbers and texts that are made from the number n of the row.
VALUES = {
    "environment": "'default'",
    "status": "CASE WHEN n % 10 = 0 THEN 'INVALID' ELSE 'ACTIVE' END",
    "setup_status": "'COMPLETED'",
    "category": "'HRIS'",
    "tool": "CASE WHEN n % 2 = 0 THEN 'personio' ELSE 'hibob' END",
    "outcome": "'delivered'",
    "handler": "'tests.busy'",
    "purpose": "'connect'",
    "learnt_by": "'webhook'",
    "language": "'en'",
    "details_not_found": "0",
}
# Usually empty.
EMPTY = {"deleted_at", "watch_until", "lease_owner", "lease_ends_at", "given_up_at", "report", "integration"}
EMPTY |= {"details_due_at"}

MOMENT = NOW.strftime("%Y-%m-%d %H:%M:%S.%f")
# The values on PostgreSQL and on SQLite.
BY_KIND: tuple[tuple[type, tuple[str, str]], ...] = (
    (sa.Boolean, ("false", "false")),
    (sa.Integer, ("n", "n")),
    (sa.JSON, ("CAST('{}' AS JSON)", "'{}'")),
    (sa.LargeBinary, ("CAST('x' AS BYTEA)", "x'00'")),
    (sa.DateTime, (f"CAST('{MOMENT}+00' AS TIMESTAMPTZ)", f"'{MOMENT}'")),
)
DIALECTS: tuple[sa.Dialect, sa.Dialect] = (postgresql.dialect(), sqlite.dialect())  # type: ignore[no-untyped-call]  # SQLAlchemy's

# Whether the database answers: reads one row, or none.
CHECKS = re.compile(r"SELECT \S+ AS anon_1\s+FROM kombo_embed_integrations\s+(LIMIT|WHERE 0 = 1)")

Statements = dict[str, Any]


@contextmanager
def recorded() -> Iterator[Statements]:
    """Record each statement about our tables with the parameters of one execution."""
    statements: Statements = {}

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        is_ours = "kombo_embed_" in statement and not CHECKS.match(statement)
        if is_ours and re.match(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)", statement):
            statements.setdefault(statement, parameters[0] if rest[-1] else parameters)

    event.listen(sa.Engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(sa.Engine, "before_cursor_execute", record)


def expression(column: sa.Column[Any], *, on_sqlite: bool) -> str:
    """Return the SQL for a column of the row with the number n."""
    if column.name in EMPTY and column.nullable:
        return "NULL"
    if column.name in VALUES:
        return VALUES[column.name]
    kind = (
        column.type.load_dialect_impl(DIALECTS[on_sqlite])
        if isinstance(column.type, sa.TypeDecorator)
        else column.type
    )
    return next(
        (value[on_sqlite] for of_kind, value in BY_KIND if isinstance(kind, of_kind)),
        f"'{column.name}-' || n",
    )


async def fill(connection: Connection) -> None:
    on_sqlite = connection.dialect.name == "sqlite"
    series = (
        f"WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {ROWS})"
        if on_sqlite
        else f"WITH series AS (SELECT n FROM generate_series(1, {ROWS}) AS all_rows(n))"
    )
    if not on_sqlite:
        await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # a million rows take longer
    for table in FILLED:
        columns = ", ".join(table.columns.keys())
        values = ", ".join(expression(column, on_sqlite=on_sqlite) for column in table.columns)
        insert = f"INSERT INTO {table.name} ({columns})"
        sql = (
            f"{insert} {series} SELECT {values} FROM series"
            if on_sqlite
            else f"{series} {insert} SELECT {values} FROM series"
        )
        await connection.exec_driver_sql(sql)
        if not on_sqlite and "id" in table.columns:
            await connection.exec_driver_sql(f"SELECT setval('{table.name}_id_seq', {ROWS})")
    # After the first erasure, each report looks for marks.
    key = expression(erasure_keys.c.digest_key, on_sqlite=on_sqlite)
    await connection.exec_driver_sql(f"INSERT INTO {erasure_keys.name} VALUES ('default', {key})")
    await connection.exec_driver_sql("ANALYZE")


async def faults_in_plan(database: Database, statement: str, parameters: Any) -> list[str]:
    """Return the steps of a statement's plan that read a whole table, or sort more than a page."""
    async with database.reading() as connection:
        if connection.dialect.name == "sqlite":
            rows = await connection.run_sync(
                lambda blocking: blocking.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            )
            return [step for step in (str(row[-1]) for row in rows) if _is_scan(step)]
        # Otherwise the planner prefers to read a table of a few thousand rows to hundreds of lookups, and one
        # whose rows are alike until a limit is reached.
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        row = await connection.run_sync(
            lambda blocking: blocking.exec_driver_sql(
                f"EXPLAIN (FORMAT JSON) {statement}", parameters
            ).scalar_one()
        )
    plan = json.loads(row) if isinstance(row, str) else row
    return list(_faults_in_nodes(plan[0]["Plan"]))


def _is_scan(step: str) -> bool:
    # SQLite says that it sorts, but not how many rows: PostgreSQL's plans show that.
    found = re.match(r"SCAN (kombo_embed_\w+)", step)
    return found is not None and found[1] not in SMALL


def _faults_in_nodes(node: dict[str, Any]) -> Iterator[str]:
    kind, table = node["Node Type"], node.get("Relation Name", "")
    if kind == "Seq Scan" and table.startswith("kombo_embed_") and table not in SMALL:
        yield f"{kind} on {table}"
    if kind == "Sort" and node["Plan Rows"] > PAGE:
        yield f"{kind} of {node['Plan Rows']} rows"
    for child in node.get("Plans", []):
        yield from _faults_in_nodes(child)


@pytest.fixture
async def filled_url(database_url: str) -> str:
    async with opened_store(database_url) as store:
        database = store._database  # noqa: SLF001 - many rows at once
        async with database.writing() as connection:
            await fill(connection)
    return database_url


async def test_every_statement_of_the_app_and_its_commands_has_a_plan_without_scans(
    filled_url: str, kombo: httpx.AsyncBaseTransport, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded() as statements:
        await live(filled_url, kombo, sandbox)
        monkeypatch.setenv("KOMBO_DATABASE_URL", filled_url)
        monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
        await asyncio.to_thread(run_commands)
    assert len(statements) > 70
    unused = [
        table.name for table in metadata.sorted_tables if not any(table.name in one for one in statements)
    ]
    assert set(unused) <= LATER, unused
    database, found = Database(filled_url), {}
    for statement, parameters in statements.items():
        if steps := await faults_in_plan(database, statement, parameters):
            found[statement] = steps
    await database.aclose()
    assert not found, "\n".join(f"{steps}: {statement}" for statement, steps in found.items())


# Written and read by what is not in this journey.
LATER = {"kombo_embed_audit"}


async def live(url: str, kombo: httpx.AsyncBaseTransport, sandbox: Sandbox) -> None:
    """Do all that browsers, Kombo and the app's background work do."""
    clock = ManualClock()
    app, embed = make_host(kombo, database_url=url, clock=clock, allow_disconnect=True)
    app.mount("/console", embed.console(authorize=lambda _request, _action: "Sam"))
    heard: list[Event] = []

    @embed.on("integration.connected")
    async def fail(_event: Event) -> None:
        raise RuntimeError

    for event_type in ("integration.connected", "integration.updated", "integration.deleted", "kombo.event"):
        embed.on(event_type, name=f"hear {event_type}")(heard.append)
    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={"integration_tool": "personio"})).json()[
            "link"
        ]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        for status in (201, 200):
            assert (await client.post("/kombo/completions", headers=ADA, json=token)).status_code == status
        await client.post("/kombo/completions", headers=ADA, json={"activation_token": "unknown"})
        deliver_webhooks(sandbox, app)
        await change_state(sandbox, flow.integration_id, "INVALID")
        for query in ("", "?limit=1", "?next_action=reconnect", "?next_action=pending,none"):
            listed = await client.get(f"/kombo/integrations{query}", headers=ADA)
            again = {"If-None-Match": listed.headers["ETag"]}
            assert (await client.get(f"/kombo/integrations{query}", headers=ADA | again)).status_code == 304
        [integration] = (await client.get("/kombo/integrations", headers=ADA)).json()["integrations"]
        path = f"/kombo/integrations/{integration['id']}"
        assert (await client.get(path, headers=ADA)).status_code == 200
        preset = {"integration_tool": "personio"}
        assert (
            await client.post("/kombo/links", headers=ADA, json=preset | {"fresh": True})
        ).status_code == 409
        for name in ("relink", "setup-link"):
            await client.post(f"{path}/{name}", headers=ADA, json={})
        for event_type in ("data-changed", "connection-flow-failed", "integration-created"):
            for _ in range(2):
                await client.post("/kombo/webhooks", **webhook_request(event_type, event_type, {}))
        await client.get("/kombo/tools", headers=ADA)
        await client.get("/kombo/health")
        await visit_console(client, public_id=integration["id"])
        await (await embed.services()).counting.run_once()
        await eventually(lambda: len({one.type for one in heard}) >= 3)
        assert (await client.delete(path, headers=ADA)).status_code == 204
        clock.advance(FIRST_PRUNE_SECONDS + 91 * 24 * 3600)
        await eventually(lambda: "integration.deleted" in {one.type for one in heard})
        await pruned(embed)
        [known] = (await reconciled(embed))[:1]
        await (await embed.services()).store.details.save_checked(known)
        await embed.integrations("acme")
        await (await embed.services()).store.figures.read()


async def visit_console(client: httpx.AsyncClient, *, public_id: str) -> None:
    """Look at every page of the console, and use every form."""
    event_id = "0" * 32
    for path in (
        *("/", "/?days=90", "/customers", "/customers?show=broken", "/customer?id=acme"),
        *("/customer?id=origin_id-7", "/events", "/events?show=undelivered", "/events?type=flow.failed"),
        *(
            "/events?customer=origin_id-7",
            "/events?customer=acme&type=kombo.event",
            "/events?handler=tests.busy",
        ),
        *(
            "/events?integration=integration_id-7",
            "/webhooks",
            "/webhooks?before=2100-01-01T00:00:00%2B00:00",
        ),
        *("/health", f"/event?id={event_id}", "/event?id=event_id-77", "/events?before=event_id-77"),
    ):
        assert (await client.get(f"/console{path}")).status_code in {200, 404}
    page = (await client.get("/console/customers")).text
    token = page.partition('name="token" value="')[2].partition('"')[0]
    ada = {"token": token, "customer": "acme", "email": "ada@acme.example", "integration": public_id}
    for path, fields in (
        *(("/customers", {"term": term}) for term in ("acme", "origin_id-7", "email", "o", "nothing")),
        *((path, {"category": "HRIS"}) for path in ("/magic-link", "/repair-link", "/re-read")),
        *((path, {"event": one}) for path in ("/replay", "/resend") for one in (event_id, "event_id-77")),
    ):
        assert (await client.post(f"/console{path}", data=ada | fields)).status_code in {200, 303}


async def reconciled(embed: Any) -> list[Integration]:
    """Find what is to be reconciled, and take the lease for it."""
    queue = (await embed.services()).store.details
    await queue.take_lease("reconcile", seconds=1)
    found: list[Integration] = (await queue.find_checks(before=NOW, limit=10)).integrations
    return found


async def pruned(embed: Any) -> None:
    """Delete a batch of what is past its retention."""
    end = datetime(2100, 1, 1, tzinfo=UTC)
    assert await (await embed.services()).store.prune(before=end, audit_before=end, limit=500)


def run_commands() -> None:
    """Run all commands that read records."""
    some = "integration_id-7"
    for arguments in (
        *(["integrations", "list", *more] for more in _filters(some)),
        ["integrations", "show", some],
        *(["events", *more] for more in ([], ["--all"], ["--limit", "5"])),
        ["events", "show", "event_id-19999"],
        ["events", "replay", "event_id-19999"],
        ["events", "replay", "--all"],
        ["events", "--malformed"],
        *(["audit", *more] for more in ([], ["--before", "500"], ["--origin-id", "origin_id-7"])),
    ):
        result = run(*arguments)
        assert result.exit_code in (0, 1), (arguments, result.output)


def _filters(some: str) -> list[list[str]]:
    return [
        [],
        ["--origin-id", "origin_id-7"],
        ["--tool", "nothing"],
        ["--tool", "personio", "--status", "invalid"],
        ["--status", "inactive"],
        ["--deleted"],
        ["--before", some],
    ]
