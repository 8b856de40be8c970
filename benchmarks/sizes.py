"""``python -m benchmarks.sizes``: what a mint, an event and an integration add to the database, in bytes.

docs/operations.md sizes deployments with these figures. The database is a file of SQLite, or with
``--postgres URL`` an empty one of PostgreSQL that ``kombo-embed migrate`` has made ready; it is packed before
each look at it. What events carry is text that cannot be compressed: real ones take less on PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks import machine
from benchmarks.bench import WEBHOOK_SECRET
from benchmarks.in_process import CountingKombo, SimulatedClock, create_embed, post
from kombo_embed import KomboEmbed, metadata
from kombo_embed.kombo.webhooks import sign

Add = Callable[[KomboEmbed, int], Awaitable[None]]
REST_BYTES = 1425  # 1,900 characters of base64


async def measure(folder: Path, count: int, *, postgres: str | None = None) -> dict[str, float]:
    """Bytes that each of these adds to the database, on average over so many."""
    settings: dict[str, object] = {} if postgres is None else {"database_url": postgres}

    async def size() -> int:
        return _packed_file(folder) if postgres is None else await _packed_tables(postgres)

    kinds: dict[str, Add] = {
        "a link minted": _mint,
        "an integration created": _create,
        "a change of state": _change,
        "another event of 2 KB": _tell,
    }
    sizes: dict[str, float] = {}
    async with create_embed(folder, CountingKombo(), SimulatedClock(), **settings) as embed:
        before = await size()
        for kind, add in kinds.items():
            for number in range(count):
                await add(embed, number)
            after = await size()
            sizes[kind], before = (after - before) / count, after
    return sizes


async def _mint(embed: KomboEmbed, number: int) -> None:
    await post(embed, "/links", x_customer=f"customer-{number:08}")


async def _create(embed: KomboEmbed, number: int) -> None:
    end_user = {
        "origin_id": f"customer-{number:08}",
        "creator_email": f"ada@customer-{number:08}.example",
        "organization_name": f"Customer {number}",
    }
    data = {"id": _integration(number), "tool": "personio", "category": "HRIS", "end_user": end_user}
    await _deliver(embed, "integration-created", number, data)


async def _change(embed: KomboEmbed, number: int) -> None:
    data = {
        "integration_id": _integration(number),
        "state": "ACTIVE",
        "setup_status": "COMPLETED",
        "updated_at": "2026-09-21T14:13:20Z",
    }
    await _deliver(embed, "integration-state-changed", number, data)


async def _tell(embed: KomboEmbed, number: int) -> None:
    rest = base64.b64encode(random.Random(number).randbytes(REST_BYTES)).decode()  # noqa: S311 - the same every time
    await _deliver(embed, "data-changed", number, {"integration_id": _integration(number), "rest": rest})


async def _deliver(embed: KomboEmbed, event_type: str, number: int, data: Mapping[str, object]) -> None:
    event = {"id": f"{event_type}-{number:012}", "type": event_type, "data": data}
    body = json.dumps(event).encode()
    await post(embed, "/webhooks", body, x_kombo_signature=sign(body, WEBHOOK_SECRET))


def _integration(number: int) -> str:
    return f"personio:{number:024}"


async def _packed_tables(url: str) -> int:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for table in metadata.tables:
            await connection.execute(text(f"VACUUM FULL {table}"))
        sizes = [
            int(await connection.scalar(select(func.pg_total_relation_size(table))) or 0)
            for table in metadata.tables
        ]
    await engine.dispose()
    return sum(sizes)


def _packed_file(folder: Path) -> int:
    [database] = folder.glob("*.db")
    with sqlite3.connect(database, isolation_level=None) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return database.stat().st_size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="how many of each")
    parser.add_argument("--postgres", metavar="URL", help="measure in this database")
    options = parser.parse_args()
    with machine.folder_without_fsync() as folder:
        measured = asyncio.run(measure(Path(folder), options.count, postgres=options.postgres))
        for kind, size in measured.items():
            print(f"{kind}: {size:.0f} bytes")


if __name__ == "__main__":
    main()
