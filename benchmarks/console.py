"""``python -m benchmarks.console``: the server time of each page of the console on large tables.

The tables are filled by SQL, and the counts folded, before the pages are measured in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
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

# ruff: noqa: S608 - the names of our own tables
ROUNDS = 7
TARGET_MILLISECONDS = 150
FULL = 1_000_000  # integrations on PostgreSQL; five events for each
SMALLER = 100_000  # on SQLite
DAYS = 90
MOUNT = "/admin"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a database spells a series, a time some seconds ago, and a JSON text."""

    series: str
    ago: str
    json: str

    def rows(self, number: int) -> str:
        """Return the beginning of a statement that reads a series up to a number."""
        return self.series.format(number=number)


POSTGRESQL = Dialect(
    "WITH series AS (SELECT n FROM generate_series(1, {number}) AS each(n))",
    "now() - ({seconds}) * interval '1 second'",
    "CAST({text} AS json)",
)
SQLITE = Dialect(
    "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {number})",
    "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || ({seconds}) || ' seconds')",
    "{text}",
)
TOOLS = "CASE {n} % 5 WHEN 0 THEN 'personio' WHEN 1 THEN 'hibob' WHEN 2 THEN 'workday' ELSE 'bamboohr' END"


def statements(dialect: Dialect, integrations: int) -> list[str]:
    """Return what fills the tables: a customer in ten has several integrations, one in fifty is broken."""
    events, span = 5 * integrations, DAYS * 86_400
    at = dialect.ago.format(seconds=f"{span} - CAST(n AS BIGINT) * {span} / {integrations} + 60")
    before = dialect.ago.format(seconds=f"{span} - CAST(n AS BIGINT) * {span} / {integrations} + 360")
    event_at = dialect.ago.format(seconds=f"{span} - CAST(n AS BIGINT) * {span} / {events} + 60")
    origin, tool = "'customer-' || (n % {integrations} / 10 * 9)", TOOLS.format(n="n")
    origin = origin.format(integrations=integrations)
    about = dialect.json.format(text='\'{"tool": "personio", "connected_at": "2026-01-01T00:00:00+00:00"}\'')
    event_type = (
        "CASE WHEN n % 5 = 0 THEN 'integration.connected' WHEN n % 5 = 1 THEN 'integration.updated' "
        "WHEN n % 500 = 2 THEN 'flow.failed' WHEN n % 500 = 3 THEN 'flow.abandoned' ELSE 'kombo.event' END"
    )
    return [
        "INSERT INTO kombo_embed_integrations (environment, integration_id, public_id, origin_id, tool, category, "
        "organization_name, email, status, setup_status, learnt_by, connected_at, updated_at) "
        f"{dialect.rows(integrations)} SELECT 'default', 'tool:' || n, 'public-' || n, {origin}, {tool}, 'HRIS', "
        "'Organization ' || n, 'person-' || n || '@example.com', CASE WHEN n % 50 = 0 THEN 'INVALID' ELSE 'ACTIVE' END, "
        f"'COMPLETED', 'browser', {at}, {at} FROM series",
        "INSERT INTO kombo_embed_minted_links (environment, origin_id, email, purpose, tool, language, minted_at, "
        f"expires_at) {dialect.rows(integrations)} SELECT 'default', {origin}, 'person-' || n || '@example.com', "
        f"'connect', {tool}, 'en', {before}, {at} FROM series",
        "INSERT INTO kombo_embed_events (environment, event_id, type, origin_id, integration_id, integration, data, "
        f"occurred_at) {dialect.rows(events)} SELECT 'default', substr('00000000000000000000000000000000' || n, -32), "
        f"{event_type}, {origin}, 'tool:' || (n / 5), {about}, {dialect.json.format(text=chr(39) + '{}' + chr(39))}, "
        f"{event_at} FROM series",
        "INSERT INTO kombo_embed_ended_deliveries (environment, event_row_id, handler, outcome, ended_at, failures, "
        f"last_error) {dialect.rows(events)} SELECT 'default', n, 'app.sync', "
        f"CASE WHEN n % 1000 = 0 THEN 'dead' ELSE 'delivered' END, {event_at}, n % 1000 / 999, NULL FROM series",
        "INSERT INTO kombo_embed_received_events (environment, event_id, type, integration_id, origin_id, data, "
        f"received_at) {dialect.rows(2 * integrations)} SELECT 'default', 'event-' || n, 'data-changed', "
        f"'tool:' || (n / 2), {origin}, {dialect.json.format(text=chr(39) + '{}' + chr(39))}, "
        + dialect.ago.format(seconds=f"{span} - CAST(n AS BIGINT) * {span} / {2 * integrations} + 60")
        + " FROM series",
        "INSERT INTO kombo_embed_handlers (environment, type, handler, registered_at, last_seen_at) "
        f"SELECT 'default', 'kombo.event', 'app.sync', {at}, {at} FROM (SELECT {integrations} AS n) AS one",
    ]


async def fill(url: str, integrations: int) -> None:
    """Fill the tables of a new database."""
    await migrate(url)
    database = Database(url, busy_seconds=3600)
    is_sqlite = url.startswith("sqlite")
    dialect = SQLITE if is_sqlite else POSTGRESQL
    for statement in statements(dialect, integrations):
        text = (
            statement
            if is_sqlite
            else statement.replace(
                "substr('00000000000000000000000000000000' || n, -32)", "lpad(n::text, 32, '0')"
            )
        )
        if not is_sqlite:  # WITH stands before INSERT
            head, _, rest = text.partition("WITH series")
            series, _, select = rest.partition(") SELECT")
            text = f"WITH series{series}) {head} SELECT{select}" if rest else text
        async with database.writing() as connection:
            await connection.exec_driver_sql(text)
    async with database.writing() as connection:
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
        for path in PATHS:
            rows.append(f"| `{path}` | {await _milliseconds(client, path):.0f} ms |")
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
