"""``python -m benchmarks.sizes``: bytes per link, event and integration, in the database and in Redis.

docs/operations.md sizes deployments with these figures. The database is an SQLite file, or with ``--postgres
URL`` an empty PostgreSQL database that ``kombo-embed migrate`` prepared.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import random
from collections.abc import Callable

from cryptography.fernet import Fernet
from redis.asyncio import Redis
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.bench import EFFORTS, Bench, verify
from benchmarks.loader import run_load
from benchmarks.processes import running_redis
from benchmarks.requests import created_event, event, link_request, webhook
from kombo_embed import metadata


async def measure(bench: Bench, url: str, count: int) -> dict[str, float]:
    """Return the bytes that each of these adds to a database, on average."""
    state = {"state": "ACTIVE", "setup_status": "COMPLETED", "updated_at": "2026-09-21T14:13:20Z"}
    rest = base64.b64encode(random.Random(1).randbytes(1425)).decode()  # noqa: S311 - the same every run
    kinds: dict[str, Callable[[int], bytes]] = {
        "link minted": link_request,
        "integration created": lambda number: webhook(number, created_event(number)),
        "change of state": lambda number: webhook(number, event("integration-state-changed", number, state)),
        "other event of 2 KB": lambda number: webhook(number, event("data-changed", number, {"rest": rest})),
    }
    server, sizes = await bench.server("apps:mounted", KOMBO_DATABASE_URL=url), {}
    before = await _database_bytes(url)
    for kind, create in kinds.items():
        requests = [create(number) for number in range(count)]
        verify(await run_load([server.port], requests, connections=1), 200 if create is link_request else 204)
        after = await _database_bytes(url)
        sizes[kind], before = (after - before) / count, after
    return sizes


async def measure_redis(bench: Bench, count: int, *, key: str) -> float:
    """Return the bytes per link in Redis, encrypted if there is a key."""
    async with running_redis() as url, Redis.from_url(url) as redis:
        environment = {"KOMBO_REDIS_URL": url, "KOMBO_LINK_ENCRYPTION_KEYS": key}
        server, readings = await bench.server("apps:mounted", **environment), []
        for numbers in (range(count, count + 1), range(count)):
            requests = [link_request(number) for number in numbers]
            verify(await run_load([server.port], requests, connections=1), 200)
            readings.append((await redis.info("memory"))["used_memory"])
        return float(readings[1] - readings[0]) / count


async def _database_bytes(url: str) -> int:
    engine, total = create_async_engine(url, isolation_level="AUTOCOMMIT"), 0
    async with engine.connect() as connection:
        if url.startswith("sqlite"):
            await connection.execute(text("VACUUM"))
            pages, size = text("PRAGMA page_count"), text("PRAGMA page_size")
            total = await connection.scalar(pages) * await connection.scalar(size)
        else:
            for table in metadata.tables:
                await connection.execute(text(f"VACUUM FULL {table}"))
                total += await connection.scalar(select(func.pg_total_relation_size(table))) or 0
    await engine.dispose()
    return total


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="how many of each")
    parser.add_argument("--postgres", metavar="URL", help="measure in this database")
    options = parser.parse_args()
    async with Bench(EFFORTS["smoke"]) as bench:
        measured = await measure(bench, options.postgres or bench.database_url(), options.count)
        measured["link in Redis"] = await measure_redis(bench, options.count, key="")
        key = Fernet.generate_key().decode()
        measured["encrypted link in Redis"] = await measure_redis(bench, options.count, key=key)
    for what, value in measured.items():
        print(f"{what}: {value:.0f} bytes")


if __name__ == "__main__":
    asyncio.run(main())
