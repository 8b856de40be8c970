"""``python -m benchmarks.sizes``: bytes per link, event and integration, in the database and in Redis.

docs/operations.md sizes deployments with these figures. The database is an SQLite file, or with ``--postgres
URL`` an empty PostgreSQL database that ``kombo-embed migrate`` prepared.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from cryptography.fernet import Fernet
from redis.asyncio import Redis
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks import processes
from benchmarks.bench import UNLIMITED
from benchmarks.requests import API_KEY, SIGNATURE, WEBHOOK_SECRET, created_event, event, person, sign
from benchmarks.upstream import LINK
from kombo_embed import EndUser, KomboEmbed, Settings, metadata
from kombo_embed.clock import ManualClock

NUMBER = "X-End-User"


@asynccontextmanager
async def open_client(
    folder: Path, *, calls: Counter[str] | None = None, clock: ManualClock | None = None, **settings: object
) -> AsyncIterator[httpx.AsyncClient]:
    """Open an embed in this process, with a new database and a Kombo that counts its calls; yield a client.

    The header `NUMBER` is the end user.
    """
    counted: Counter[str] = Counter() if calls is None else calls
    database = f"sqlite+aiosqlite:///{folder}/in_process.db"
    secrets = {"api_key": API_KEY, "webhook_secret": (WEBHOOK_SECRET,)}
    values: dict[str, Any] = {**secrets, "database_url": database, "link_rate": UNLIMITED, **settings}

    def mint(request: httpx.Request) -> httpx.Response:
        counted[json.loads(request.content)["end_user_origin_id"]] += 1
        return httpx.Response(200, json={"status": "success", "data": {"link": LINK.format(number=1)}})

    embed = KomboEmbed(
        end_user=lambda connection: end_user(int(connection.headers[NUMBER])),
        settings=lambda: Settings(**values),
        http_transport=httpx.MockTransport(mint),
        clock=clock,
    )
    transport = httpx.ASGITransport(embed.app)
    async with embed, httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        yield client


def end_user(number: int) -> EndUser:
    """Return an end user."""
    values = person(number)
    return EndUser(values["email"], values["organization_name"], values["organization_id"])


async def post_link(client: httpx.AsyncClient, number: int) -> None:
    """Request the link of an end user."""
    (await client.post("/links", headers={NUMBER: str(number)})).raise_for_status()


async def post_event(client: httpx.AsyncClient, body: bytes) -> None:
    """Deliver an event."""
    (await client.post("/webhooks", content=body, headers={SIGNATURE: sign(body)})).raise_for_status()


async def measure(folder: Path, count: int, *, postgres: str | None = None) -> dict[str, float]:
    """Return the bytes that each of these adds to the database, on average."""
    kinds: dict[str, Callable[[int], bytes] | None] = {
        "link minted": None,
        "integration created": created_event,
        "change of state": _changed_event,
        "other event of 2 KB": _other_event,
    }
    sizes: dict[str, float] = {}
    database_url = postgres or f"sqlite+aiosqlite:///{folder}/in_process.db"
    async with open_client(folder, database_url=database_url) as client:
        before = await _database_bytes(folder, postgres)
        for kind, create in kinds.items():
            for number in range(count):
                await (post_event(client, create(number)) if create else post_link(client, number))
            after = await _database_bytes(folder, postgres)
            sizes[kind], before = (after - before) / count, after
    return sizes


async def measure_redis(folder: Path, count: int, *, keys: tuple[str, ...] = ()) -> dict[str, float]:
    """Return the bytes per link in Redis, and the scripts (round trips) of a mint and of a cache hit."""
    readings = []
    async with (
        processes.running_redis(folder) as url,
        Redis.from_url(url) as redis,
        open_client(folder, redis_url=url, link_encryption_keys=keys) as client,
    ):
        for numbers in (range(count, count + 1), range(count), range(count)):
            for number in numbers:
                await post_link(client, number)
            stats = await redis.info("everything")
            readings.append((stats["used_memory"], stats["cmdstat_evalsha"]["calls"]))
    (bytes_before, before), (bytes_minted, minted), (_, hit) = readings
    kind = " encrypted" if keys else ""
    return {
        f"bytes per{kind} link in Redis": (bytes_minted - bytes_before) / count,
        f"scripts to mint{kind}": (minted - before) / count,
        f"scripts of a cache hit{kind}": (hit - minted) / count,
    }


def _changed_event(number: int) -> bytes:
    state = {"state": "ACTIVE", "setup_status": "COMPLETED", "updated_at": "2026-09-21T14:13:20Z"}
    return event("integration-state-changed", number, state)


def _other_event(number: int) -> bytes:
    # Not compressible; real events take less on PostgreSQL.
    rest = base64.b64encode(random.Random(number).randbytes(1425)).decode()  # noqa: S311 - the same every run
    return event("data-changed", number, {"rest": rest})


async def _database_bytes(folder: Path, postgres: str | None) -> int:
    if postgres is None:
        connection = sqlite3.connect(folder / "in_process.db", isolation_level=None)
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return (folder / "in_process.db").stat().st_size
    engine, total = create_async_engine(postgres, isolation_level="AUTOCOMMIT"), 0
    async with engine.connect() as opened:
        for table in metadata.tables:
            await opened.execute(text(f"VACUUM FULL {table}"))
            total += await opened.scalar(select(func.pg_total_relation_size(table))) or 0
    await engine.dispose()
    return total


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="how many of each")
    parser.add_argument("--postgres", metavar="URL", help="measure in this database")
    options = parser.parse_args()
    with processes.temporary_folder() as name:
        measured = await measure(Path(name), options.count, postgres=options.postgres)
        for keys in ((), (Fernet.generate_key().decode(),)):
            measured |= await measure_redis(Path(name), options.count, keys=keys)
    for what, value in measured.items():
        print(f"{what}: {value:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
