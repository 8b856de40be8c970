"""``python -m benchmarks.sizes``: what a mint, an event and an integration add to the database, in bytes.

docs/operations.md sizes deployments with these figures. The database is a file of SQLite, packed before each
look at it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from benchmarks import machine
from benchmarks.bench import WEBHOOK_SECRET
from benchmarks.in_process import CountingKombo, SimulatedClock, create_embed, post
from kombo_embed import KomboEmbed
from kombo_embed.kombo.webhooks import sign

Add = Callable[[KomboEmbed, int], Awaitable[None]]


async def measure(folder: Path, count: int) -> dict[str, float]:
    """Bytes that each of these adds to the database, on average over so many."""
    kinds: dict[str, Add] = {
        "a link minted": _mint,
        "an integration created": _create,
        "a change of state": _change,
        "another event of 2 KB": _tell,
    }
    sizes: dict[str, float] = {}
    async with create_embed(folder, CountingKombo(), SimulatedClock()) as embed:
        before = _packed_size(folder)
        for kind, add in kinds.items():
            for number in range(count):
                await add(embed, number)
            after = _packed_size(folder)
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
    await _deliver(
        embed, "data-changed", number, {"integration_id": _integration(number), "rest": "x" * 1900}
    )


async def _deliver(embed: KomboEmbed, event_type: str, number: int, data: Mapping[str, object]) -> None:
    event = {"id": f"{event_type}-{number:012}", "type": event_type, "data": data}
    body = json.dumps(event).encode()
    await post(embed, "/webhooks", body, x_kombo_signature=sign(body, WEBHOOK_SECRET))


def _integration(number: int) -> str:
    return f"personio:{number:024}"


def _packed_size(folder: Path) -> int:
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
    count = parser.parse_args().count
    with machine.folder_without_fsync() as folder:
        for kind, size in asyncio.run(measure(Path(folder), count)).items():
            print(f"{kind}: {size:.0f} bytes")


if __name__ == "__main__":
    main()
