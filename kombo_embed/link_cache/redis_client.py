"""A Redis client that runs the scripts within one deadline, on a bounded pool and without retries."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from weakref import WeakSet

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from kombo_embed.errors import ConfigurationError
from kombo_embed.single_flight import SingleFlight

DEADLINE_SECONDS = 0.25  # for one call, including the PING that follows a late reply
PING_SHARE = 0.2  # of the deadline
SLICES = 5  # of each wait
CONNECT_SECONDS = 1.0
SOCKET_CONNECT_SECONDS = 5.0  # a backstop: a blocked event loop must not look like a refused connection
MAX_CONNECTIONS = 10  # per process; further calls wait within their deadline
# Options that are ignored in the URL: they would change what replies look like, or how long a call may take.
FIXED_OPTIONS = {
    *("decode_responses", "encoding", "encoding_errors", "protocol"),
    *("max_connections", "retry_on_error", "retry_on_timeout"),
    *("socket_connect_timeout", "socket_timeout", "timeout"),
}
CLUSTER_ERRORS = (MovedError, AskError, ClusterCrossSlotError, ClusterDownError)
ONE_SERVER = "give the address of one Redis server, or of a proxy or name that always leads to the primary"
UNUSABLE_MODES = {
    b"cluster": f"it is a Redis Cluster, whose servers each hold a part of the keys; {ONE_SERVER}",
    b"sentinel": f"it is a Redis Sentinel, which holds no keys; {ONE_SERVER}",
}

Argument = bytes | str | int


class RedisUnavailable(Exception):
    """Redis cannot be used. The message is the type of the error, without details such as the address."""


class RedisUnusable(RedisUnavailable):
    """Redis answers but can never serve us as it is configured. The message names the cause and remedy."""


class RedisTimeout(RedisUnavailable):
    """The call missed its deadline, but Redis answers a PING: the process is busy, or a connection broken."""


class RedisClient:
    """Runs the scripts. `connect` before the first one, and after an outage; close it with `aclose`.

    The URL is ``redis://``, ``rediss://`` or ``unix://``, with redis-py's options in the query. Raises
    `ConfigurationError` for an option that redis-py does not know.
    """

    def __init__(self, url: str) -> None:
        self._pool = _connection_pool(url, redis_connect_func=self._on_connect)
        self._redis = Redis(connection_pool=self._pool)
        self._scripts: dict[str, AsyncScript] = {}
        # Reserved for PING, so that it never waits. It reconnects once: servers may close idle connections.
        self._reserved = Redis.from_url(
            _without_fixed_options(url), single_connection_client=True, **_options(retries=1)
        )
        self._pings: SingleFlight[None, bool] = SingleFlight()
        self._run_id: bytes | None = None
        self._mode = b""
        self._connected: WeakSet[Connection] = WeakSet()

    async def connect(self) -> None:
        """Connect anew, or raise `RedisUnavailable`. Later connections must reach the same server process.

        Raises `RedisUnusable` for a server that can never be used.

        A restarted server may hold links from before an invalidation, so the caller replays those first.
        """
        self._run_id = None
        self._connected.clear()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._pool.disconnect()  # no connection stays that was not checked against this server
                await self._reserved.ping()
                await self._redis.ping()
        except Exception as error:  # noqa: BLE001 - redis-py raises more than its own errors
            raise _converted(error) from None
        if self._mode in UNUSABLE_MODES:
            raise RedisUnusable(UNUSABLE_MODES[self._mode])

    async def run(
        self, script: str, keys: Sequence[bytes], *arguments: Argument, patience_seconds: float = 0
    ) -> Any:  # noqa: ANN401 - as Redis replies
        """Run a script and return its reply. After an error, the script may have run.

        With ``patience_seconds``, a late reply is awaited that much longer while Redis answers PINGs. Raises
        `RedisTimeout` if Redis answers, but not this call in time; otherwise `RedisUnavailable`.
        """
        call = asyncio.get_running_loop().create_task(self._call(script, keys, arguments))
        try:
            await self._wait(call, patience_seconds=patience_seconds)
        finally:
            call.cancel()
        reply = call.result()
        if isinstance(reply, RedisUnavailable):
            raise reply
        return reply

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pings.aclose()
        await self._reserved.aclose()
        await self._pool.aclose()

    async def _call(self, script: str, keys: Sequence[bytes], arguments: Sequence[Argument]) -> Any:  # noqa: ANN401 - as above
        """Return the reply or the error: raised, it would be logged as unretrieved if the caller has left."""
        try:
            if script not in self._scripts:
                self._scripts[script] = self._redis.register_script(script)
            return await self._scripts[script](keys=keys, args=arguments)
        except Exception as error:  # noqa: BLE001 - redis-py raises more than its own errors
            # A refusal counts too: out of memory, read-only, loading.
            return _converted(error)

    async def _wait(self, call: asyncio.Task[Any], *, patience_seconds: float) -> None:
        """Wait until the call is done. When it is late, one PING decides whether Redis is down."""
        now = asyncio.get_running_loop().time
        ends_at = now() + patience_seconds
        if await _is_done(call, within_seconds=DEADLINE_SECONDS * (1 - PING_SHARE)):
            return
        is_alive, _ = await self._pings.join(None, self._is_alive)
        while not call.done() and is_alive and not await _is_done(call, within_seconds=DEADLINE_SECONDS):
            if now() >= ends_at:
                break
            is_alive, _ = await self._pings.join(None, self._is_alive)
        if call.done():
            return
        raise RedisTimeout("TimeoutError") if is_alive else RedisUnavailable("TimeoutError")

    async def _is_alive(self) -> bool:
        ping = asyncio.get_running_loop().create_task(self._ping())
        if await _is_done(ping, within_seconds=DEADLINE_SECONDS * PING_SHARE):
            return ping.result()
        ping.cancel()
        await asyncio.gather(ping, return_exceptions=True)
        return False

    async def _ping(self) -> bool:
        try:
            return bool(await self._reserved.ping())
        except Exception:  # noqa: BLE001 - redis-py raises more than its own errors
            return False

    async def _on_connect(self, connection: Connection) -> None:
        await connection.on_connect()
        run_id, self._mode = await _server(connection)
        # Where INFO is not permitted, a connection that was lost counts as another server.
        is_other = run_id != self._run_id if run_id else connection in self._connected
        if self._run_id is not None and is_other:
            raise RedisConnectionError("This is another server process.")
        self._run_id = run_id
        self._connected.add(connection)


def _connection_pool(url: str, **options: Any) -> BlockingConnectionPool:  # noqa: ANN401 - redis-py's
    """Return a bounded pool that never retries. Its callers bound the wait. Raises as `RedisClient`."""
    try:
        pool = BlockingConnectionPool.from_url(
            _without_fixed_options(url),
            max_connections=MAX_CONNECTIONS,
            timeout=None,
            **_options(retries=0),
            **options,
        )
        pool.make_connection()  # type: ignore[no-untyped-call] # of redis-py
    except Exception as error:
        # redis-py raises more than its own errors for options such as ssl_cert_reqs=CERT_NONE.
        raise ConfigurationError(
            "kombo-embed cannot start: KOMBO_REDIS_URL has an option that redis-py does not accept "
            f"({type(error).__name__})."
        ) from error
    return pool


def _without_fixed_options(url: str) -> str:
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    return parts._replace(query=urlencode([one for one in options if one[0] not in FIXED_OPTIONS])).geturl()


def _options(*, retries: int) -> dict[str, Any]:
    return {
        "protocol": 2,  # understood by every server
        "retry": Retry(NoBackoff(), retries),
        "socket_timeout": None,
        "socket_connect_timeout": SOCKET_CONNECT_SECONDS,
    }


async def _is_done(task: asyncio.Task[Any], *, within_seconds: float) -> bool:
    # In slices: a busy event loop is late, and each slice gives it more iterations to read the reply.
    for _ in range(SLICES):
        await asyncio.wait({task}, timeout=within_seconds / SLICES)
        if task.done():
            return True
    return False


async def _server(connection: Connection) -> tuple[bytes, bytes]:
    """Return the server process's random id and its mode; both empty where INFO is not permitted."""
    await connection.send_command("INFO", "server")
    try:
        info = await connection.read_response()
    except ResponseError:
        return b"", b""
    found = {name: re.search(rb"%b:(\w+)" % name, info) for name in (b"run_id", b"redis_mode")}
    run_id, mode = (match[1] if match else b"" for match in found.values())
    return run_id, mode


def _converted(error: Exception) -> RedisUnavailable:
    if isinstance(error, CLUSTER_ERRORS):
        return RedisUnusable(UNUSABLE_MODES[b"cluster"])
    if isinstance(error, ResponseError) and str(error).startswith("unknown command"):
        return RedisUnusable(f"it runs no Lua scripts; {ONE_SERVER}")
    if not isinstance(error, NoPermissionError):
        return RedisUnavailable(type(error).__name__)
    command = re.search(r"'([a-z|]+)' command", str(error), re.IGNORECASE)
    missing = f"+{command[1].lower()}" if command else "~kombo-embed:*"
    return RedisUnusable(f"its user lacks permissions: {missing}")
