"""``python -m benchmarks.redis_sizes``: what a link takes in Redis, and what is asked of Redis for it.

docs/operations.md sizes deployments with these figures. Scripts are counted as Redis counts them: one for
each round trip.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet
from redis.asyncio import Redis

from benchmarks import machine
from benchmarks.in_process import CountingKombo, SimulatedClock, create_embed, post
from benchmarks.redis_server import running_redis
from kombo_embed import KomboEmbed


@dataclass(frozen=True, slots=True)
class Asked:
    """What Redis keeps and has done."""

    bytes: int
    scripts: int
    cpu: float


async def measure(folder: Path, url: str, count: int, *, sealed: bool) -> dict[str, float]:
    """Per link, on average over so many: bytes; scripts and CPU to mint it, and to hand it out again."""
    keys = (Fernet.generate_key().decode(),) if sealed else ()
    settings: dict[str, object] = {"redis_url": url, "link_encryption_keys": keys}
    async with (
        Redis.from_url(url) as redis,
        create_embed(folder, CountingKombo(), SimulatedClock(), **settings) as embed,
    ):
        await _ask(embed, count, 1)
        before = await _asked(redis)
        await _ask(embed, 0, count)
        minted = await _asked(redis)
        await _ask(embed, 0, count)
        handed_out = await _asked(redis)
    return {
        "bytes": (minted.bytes - before.bytes) / count,
        "scripts to mint": (minted.scripts - before.scripts) / count,
        "scripts to hand out": (handed_out.scripts - minted.scripts) / count,
        "microseconds of Redis to mint": (minted.cpu - before.cpu) / count * 1e6,
        "microseconds of Redis to hand out": (handed_out.cpu - minted.cpu) / count * 1e6,
    }


async def _ask(embed: KomboEmbed, first: int, count: int) -> None:
    for number in range(first, first + count):
        await post(embed, "/links", x_customer=f"customer-{number:08}")


async def _asked(redis: Redis) -> Asked:
    info = await redis.info("everything")
    cpu = info["used_cpu_user"] + info["used_cpu_sys"]
    return Asked(info["used_memory"], info["cmdstat_evalsha"]["calls"], cpu)


async def _run(count: int) -> None:
    for sealed in (False, True):
        with machine.folder_without_fsync() as folder:
            async with running_redis(Path(folder)) as url:
                found = await measure(Path(folder), url, count, sealed=sealed)
        for what, value in found.items():
            print(f"{'encrypted' if sealed else 'as it is'}, {what}: {value:.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis_sizes", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="how many links")
    asyncio.run(_run(parser.parse_args().count))


if __name__ == "__main__":
    main()
