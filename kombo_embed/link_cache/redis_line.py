"""The line to Redis: one connection that all callers of this process share.

What is asked for while an exchange is under way goes out together in the next one, so a thousand requests at
once are a few exchanges and not a thousand connections. An exchange has one short deadline, in which moments
that this process came late for count little, and after which it looks at what has arrived: a process or a
machine that is busy does not mistake itself for a slow Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from kombo_embed.errors import ConfigurationError
from kombo_embed.link_cache.redis_scripts import ALL, Script

DEADLINE = 0.04  # seconds for an exchange
DEADLINE_BUSY = 2.0  # seconds for it, where this process is too busy to tell
SLICE = 0.005  # seconds between looks at it
SLICE_LATE = 0.007  # seconds after which a look comes late, and its slice counts for a quarter
LAST_LOOKS = 20  # turns of the event loop, in which what has arrived is read
CONNECT_DEADLINE = 1.0  # seconds to connect anew, in nobody's way
BATCH = 200  # scripts in one exchange

Result = TypeVar("Result")
Argument = bytes | str | int


class RedisGone(Exception):
    """Redis cannot be used now. The message is the kind of error that says so, and nothing else."""


@dataclass(frozen=True, slots=True)
class _Call:
    command: tuple[Argument, ...]
    answer: asyncio.Future[Any]


class RedisLine:
    """Runs scripts in Redis. `connect` before the first, and after each `RedisGone`; close with `aclose`.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, with what redis-py takes in it.

    Raises:
        ConfigurationError: The URL cannot be used.
    """

    def __init__(self, url: str) -> None:
        try:
            # The pool only reads the URL: a client of its own for each exchange costs more than the exchange.
            self._connection = ConnectionPool.from_url(
                url,
                protocol=2,  # understood by every server
                retry=Retry(NoBackoff(), 0),
                socket_timeout=None,
                socket_connect_timeout=CONNECT_DEADLINE,
            ).make_connection()  # type: ignore[no-untyped-call] # of redis-py
        except (ValueError, TypeError):
            raise ConfigurationError(
                "kombo-embed cannot start: KOMBO_REDIS_URL has a part that redis-py does not take."
            ) from None
        self._waiting: list[_Call] = []
        self._reads: dict[tuple[Argument, ...], _Call] = {}  # of those that wait
        self._sending: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect anew, and make the scripts known.

        Raises:
            RedisGone: Redis does not answer, or refuses.
        """
        await self._end_exchange()
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                await self._connection.disconnect(nowait=True)
                await self._connection.connect()
                for script in ALL:
                    await self._connection.send_command("SCRIPT", "LOAD", script.text)
                    await self._connection.read_response()
        except (RedisError, OSError, TimeoutError) as error:
            await self._connection.disconnect(nowait=True)
            raise RedisGone(type(error).__name__) from None

    async def run(self, script: Script, keys: Sequence[bytes], *arguments: Argument) -> Any:  # noqa: ANN401 - Redis's words
        """Run a script, together with those that others run now; its answer.

        Raises:
            RedisGone: It may or may not have been run.
        """
        return await self._ask(("EVALSHA", script.sha, len(keys), *keys, *arguments)).answer

    async def read(self, script: Script, keys: Sequence[bytes]) -> Any:  # noqa: ANN401 - as above
        """Run a script that changes nothing; all who ask for the same before it is sent share the answer.

        So a thousand first requests do not keep Redis busy for longer than it is given. Nobody gets an answer
        that is older than the question.

        Raises:
            RedisGone: Redis cannot be used.
        """
        command: tuple[Argument, ...] = ("EVALSHA", script.sha, len(keys), *keys)
        call = self._reads.get(command)
        if call is None:
            call = self._reads[command] = self._ask(command)
            call.answer.add_done_callback(_look_at)
        return await asyncio.shield(call.answer)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._end_exchange()
        await self._connection.disconnect()

    def _ask(self, command: tuple[Argument, ...]) -> _Call:
        loop = asyncio.get_running_loop()
        call = _Call(command, loop.create_future())
        self._waiting.append(call)
        if self._sending is None:
            self._sending = loop.create_task(self._send(), name="kombo-embed redis")
        return call

    async def _end_exchange(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send(self) -> None:
        batch: list[_Call] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                for call in batch:
                    self._reads.pop(call.command, None)
                _settle(batch, await _in_time(self._exchange(batch)))
        except (RedisError, OSError, TimeoutError, asyncio.CancelledError) as error:
            # What was asked may still be answered, to nobody: this connection is of no more use.
            await self._connection.disconnect(nowait=True)
            batch, self._waiting = [*batch, *self._waiting], []
            self._reads.clear()
            _settle(batch, [error] * len(batch))
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._sending = None

    async def _exchange(self, batch: Sequence[_Call]) -> list[Any]:
        packed = self._connection.pack_commands([call.command for call in batch])
        await self._connection.send_packed_command(packed, check_health=False)
        answers: list[Any] = []
        for _ in batch:
            try:
                answers.append(await self._connection.read_response())
            except ResponseError as error:
                answers.append(error)
        return answers


def _look_at(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()  # so that a failure is not reported as lost where all who asked have left


def _settle(batch: Sequence[_Call], answers: Sequence[object]) -> None:
    for call, answer in zip(batch, answers, strict=True):
        if call.answer.done():
            continue  # whoever asked has left
        if isinstance(answer, BaseException):
            # Out of memory, read-only, loading, moved, scripts forgotten: it cannot do what it is there for.
            call.answer.set_exception(RedisGone(type(answer).__name__))
        else:
            call.answer.set_result(answer)


async def _in_time(work: Coroutine[Any, Any, Result]) -> Result:
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    left, ends_at = DEADLINE, loop.time() + DEADLINE_BUSY
    try:
        while left > 0 and loop.time() < ends_at:
            begun = loop.time()
            await asyncio.wait({task}, timeout=SLICE)
            if task.done():
                return task.result()
            left -= SLICE if loop.time() - begun < SLICE_LATE else SLICE / 4
        for _ in range(LAST_LOOKS):
            await asyncio.sleep(0)
        if task.done():
            return task.result()
        raise TimeoutError
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
