"""Shares connection pools between the mounts of one process that use the same database."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kombo_embed.store.postgresql import PostgreSql


class SharedPools:
    """The pools of this process: all that use one PostgreSQL URL on one event loop share a pool."""

    def __init__(self) -> None:
        self._pools: dict[asyncio.AbstractEventLoop, dict[tuple[str, float], PostgreSql]] = {}
        self._users: weakref.WeakKeyDictionary[object, PostgreSql] = weakref.WeakKeyDictionary()

    def join(self, user: object, key: tuple[str, float], create: Callable[[], PostgreSql]) -> PostgreSql:
        """Return the pool of this key, creating it if there is none."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return create()
        self._pools = {owner: pools for owner, pools in self._pools.items() if not owner.is_closed()}
        pools = self._pools.setdefault(loop, {})
        pool = pools.get(key) or pools.setdefault(key, create())
        self._users[user] = pool
        return pool

    def leave(self, user: object, pool: object) -> bool:
        """Return whether the pool has no other user and so is to be closed."""
        self._users.pop(user, None)
        if any(shared is pool for shared in self._users.values()):
            return False
        for pools in self._pools.values():
            for key in [key for key, shared in pools.items() if shared is pool]:
                del pools[key]
        return True


shared_pools = SharedPools()
