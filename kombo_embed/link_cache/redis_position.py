"""The position up to which the database's invalidations were applied to Redis, which is kept in Redis.

Whatever happens to Redis, its links and this position are of the same time: a restored snapshot brings the
position of then. If the position is lost, a new epoch begins, in which no link of before is valid.
"""

from __future__ import annotations

import asyncio
import secrets

from kombo_embed.link_cache import redis_scripts, redis_values
from kombo_embed.link_cache.encryption import LinkCipher
from kombo_embed.link_cache.redis import RedisLinkStore
from kombo_embed.link_cache.redis_client import RedisClient, RedisUnavailable
from kombo_embed.ports import InvalidationLog

KEPT_MS = 24 * 3600 * 1000  # after the last process stopped; links live for an hour
ROWS_PER_READ, APPLIED_AT_ONCE = 1000, 100


class RedisPosition:
    """The position of one database in one Redis. All methods raise `RedisUnavailable`.

    ``database`` distinguishes the databases whose invalidations are applied to this Redis. All rows up to
    ``value`` were applied, by any process.
    """

    def __init__(
        self,
        client: RedisClient,
        cipher: LinkCipher,
        *,
        links: RedisLinkStore,
        log: InvalidationLog,
        database: str,
    ) -> None:
        self.value = 0
        self._client = client
        self._links = links
        self._log = log
        self._name = cipher.invalidation_name("position", links.environment, "")
        self._database = cipher.invalidation_name("database", links.environment, database)

    async def catch_up(self) -> None:
        """Apply the rows after the position. Raises `StoreUnavailable` if they cannot be read."""
        known = await self._client.run(redis_scripts.GET_POSITION, [self._name], self._database)
        position = redis_values.parse_position(known) or await self._begin_epoch()
        self._links.epoch, read = position
        value, is_full = read, True
        while is_full:
            page = await self._log.find(after=read, limit=ROWS_PER_READ)
            is_full = len(page.row_ids) == ROWS_PER_READ
            read = page.row_ids[-1] if page.row_ids else read
            of_links = [one for one in page.invalidations if not one.only_lists]
            for start in range(0, len(of_links), APPLIED_AT_ONCE):
                batch = of_links[start : start + APPLIED_AT_ONCE]
                invalidate = self._links.invalidate
                await asyncio.gather(*(invalidate(self._links.environment, one) for one in batch))
        self.value = value

    async def advance(self, position: int) -> None:
        """Record that this process has applied all rows up to this one, and read what the others recorded."""
        greatest = await self._client.run(
            redis_scripts.ADVANCE, [self._name], *(self._database, self._links.epoch, position, KEPT_MS)
        )
        if not isinstance(greatest, int):
            raise RedisUnavailable("EpochEnded")  # the recovery adopts the new one
        self.value = greatest

    async def _begin_epoch(self) -> tuple[bytes, int]:
        begun = await self._client.run(
            redis_scripts.BEGIN_EPOCH,
            [self._name],
            *(self._database, secrets.token_hex(redis_values.EPOCH_BYTES), await self._log.find_position()),
            KEPT_MS,
        )
        position = redis_values.parse_position(begun)
        if position is None:
            raise RedisUnavailable("UnexpectedReply")
        return position
