"""``python -m benchmarks.console``: the server time of each page of the console on large tables.

The tables are filled by SQL, and the counts folded, before the pages are measured in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.applications import Starlette

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from kombo_embed.store.database import Database
from kombo_embed.store.store import migrate
from tests.postgres import find_binaries, running_postgres
from tests.support import API_KEY, WEBHOOK_SECRET, make_settings

ROUNDS = 7
TARGET_MILLISECONDS = 150
FULL = 1_000_000  # integrations on PostgreSQL; five events for each
SMALLER = 100_000  # on SQLite
DAYS = 90
MOUNT = "/admin"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a database spells an insert from a series, a time ago, a JSON object and a padded id."""

    insert: str
    ago: str
    json: str
    event_id: str


POSTGRESQL = Dialect(
    "WITH series AS (SELECT n FROM generate_series(1, {rows}) AS each(n)) {table} {selected} FROM series",
    "now() - ({seconds}) * interval '1 second'",
    "CAST('{}' AS json)",
    "lpad(CAST(n AS text), 32, '0')",
)
SQLITE = Dialect(
    "{table} WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {rows}) "
    "{selected} FROM series",
    "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || ({seconds}) || ' seconds')",
    "'{}'",
    "printf('%032d', n)",
)
TABLES: tuple[tuple[str, int, dict[str, str]], ...] = (
    (
        "integrations",
        2,
        {
            "integration_id": "'tool:' || n",
            "public_id": "'public-' || n",
            "origin_id": "{origin}",
            "tool": "{tool}",
            "category": "'HRIS'",
            "organization_name": "'Organization ' || n",
            "email": "'person-' || n || '@example.com'",
            "status": "CASE WHEN n % 50 = 0 THEN 'INVALID' ELSE 'ACTIVE' END",
            "setup_status": "'COMPLETED'",
            "learnt_by": "'browser'",
            "connected_at": "{at}",
            "updated_at": "{at}",
        },
    ),
    (
        "minted_links",
        2,
        {
            "origin_id": "{origin}",
            "email": "'person-' || n || '@example.com'",
            "purpose": "'connect'",
            "tool": "{tool}",
            "language": "'en'",
            "minted_at": "{before}",
            "expires_at": "{at}",
        },
    ),
    (
        "events",
        10,
        {
            "event_id": "{event_id}",
            "type": "CASE WHEN n % 5 = 0 THEN 'integration.connected' "
            "WHEN n % 5 = 1 THEN 'integration.updated' WHEN n % 500 = 2 THEN 'flow.failed' "
            "WHEN n % 500 = 3 THEN 'flow.abandoned' ELSE 'kombo.event' END",
            "origin_id": "{origin}",
            "integration_id": "'tool:' || (n / 5)",
            "integration": "{json}",
            "data": "{json}",
            "occurred_at": "{at}",
        },
    ),
    (
        "ended_deliveries",
        10,
        {
            "event_row_id": "n",
            "handler": "'app.sync'",
            "outcome": "CASE WHEN n % 1000 = 0 THEN 'dead' ELSE 'delivered' END",
            "ended_at": "{at}",
            "failures": "0",
        },
    ),
    (
        "received_events",
        4,
        {
            "event_id": "'event-' || n",
            "type": "'data-changed'",
            "integration_id": "'tool:' || (n / 2)",
            "origin_id": "{origin}",
            "data": "{json}",
            "received_at": "{at}",
        },
    ),
)


def statements(dialect: Dialect, integrations: int) -> Iterator[str]:
    """Yield what fills the tables: each customer has ten integrations, and one in fifty is broken."""
    for name, halves, columns in TABLES:
        rows, span = integrations * halves // 2, DAYS * 86_400
        back = f"{span} - CAST(n AS BIGINT) * {span} / {rows} + 60"
        values = {
            "at": dialect.ago.format(seconds=back),
            "before": dialect.ago.format(seconds=f"{back} + 300"),
            "origin": f"'customer-' || (n % {integrations} / 10 * 9)",
            "tool": "CASE n % 5 WHEN 0 THEN 'personio' WHEN 1 THEN 'hibob' ELSE 'bamboohr' END",
            "json": dialect.json,
            "event_id": dialect.event_id,
        }
        selected = ", ".join(expression.format(**values) for expression in columns.values())
        table = f"INSERT INTO kombo_embed_{name} (environment, {', '.join(columns)})"
        yield dialect.insert.format(table=table, rows=rows, selected=f"SELECT 'default', {selected}")


async def fill(url: str, integrations: int) -> None:
    """Fill the tables of a new database."""
    await migrate(url)
    database = Database(url, busy_seconds=3600)
    for statement in statements(SQLITE if url.startswith("sqlite") else POSTGRESQL, integrations):
        async with database.writing() as connection:
            await connection.exec_driver_sql(statement)
    async with database.writing() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO kombo_embed_handlers (environment, type, handler, registered_at, last_seen_at) "
            "SELECT 'default', 'kombo.event', 'app.sync', ended_at, ended_at "
            "FROM kombo_embed_ended_deliveries WHERE event_row_id = 1"
        )
        await connection.exec_driver_sql("ANALYZE")
    await database.aclose()


async def measure(url: str) -> list[str]:
    """Fold the counts, then measure each page; return the rows of the table."""
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    embed = KomboEmbed(
        end_user=lambda _: None,
        settings=make_settings(database_url=url),
        http_transport=httpx.ASGITransport(sandbox.app),
    )
    app = Starlette()
    app.mount(MOUNT, embed.console(authorize=lambda _request, _action: "benchmark"))
    rows: list[str] = []
    async with (
        embed,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app.example") as client,
    ):
        started = time.perf_counter()
        await (await embed.services()).counting.run_once()
        rows.append(f"| first fold of {DAYS} days | {time.perf_counter() - started:.1f} s |")
        started = time.perf_counter()
        await (await embed.services()).counting.run_once()
        rows.append(f"| look for changes, none | {(time.perf_counter() - started) * 1000:.1f} ms |")
        rows += [f"| `{path}` | {await _milliseconds(client, path):.0f} ms |" for path in PATHS]
        page = (await client.get(f"{MOUNT}/customers")).text
        token = page.partition('name="token" value="')[2].partition('"')[0]
        for term in ("customer-9", "organization 4", "person-77@example.com", "o", "nothing at all"):
            milliseconds = await _milliseconds(client, "/customers", form={"token": token, "term": term})
            rows.append(f"| search for `{term}` | {milliseconds:.0f} ms |")
    return rows


PATHS = (
    *(
        "/?days=7",
        "/?days=30",
        "/?days=90",
        "/customers",
        "/customers?show=broken",
        "/customer?id=customer-9",
    ),
    *("/events", "/events?show=undelivered", "/events?type=flow.failed", "/events?customer=customer-9"),
    *(
        "/events?handler=app.sync",
        "/events?integration=tool:77",
        f"/event?id={77:032}",
        "/webhooks",
        "/health",
    ),
)


async def _milliseconds(client: httpx.AsyncClient, path: str, form: dict[str, str] | None = None) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        response = await (
            client.get(f"{MOUNT}{path}") if form is None else client.post(f"{MOUNT}{path}", data=form)
        )
        times.append((time.perf_counter() - started) * 1000)
        if response.status_code != httpx.codes.OK:
            raise SystemExit(f"{path}: {response.status_code}")
    return statistics.median(times)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on SQLite and PostgreSQL."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the sizes, for a quick run")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        binaries = find_binaries() if options.only != "sqlite" else None
        postgres = stack.enter_context(running_postgres(binaries)) if binaries else None
        urls = {} if options.only == "postgresql" else {f"sqlite+aiosqlite:///{folder}/console.db": SMALLER}
        if postgres is not None:
            urls[postgres.url(postgres.create_database())] = FULL
        for url, size in urls.items():
            integrations = max(100, int(size * options.scale))
            asyncio.run(fill(url, integrations))
            print(f"\n{url.partition(':')[0]}, {integrations:,} integrations, {5 * integrations:,} events")
            print("\n".join(asyncio.run(measure(url))), flush=True)


if __name__ == "__main__":
    main()
