"""The world of a simulation: instances of the app over one database, Kombo, a cache, and what fails."""

from __future__ import annotations

import asyncio
import contextvars
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, event
from starlette.applications import Starlette

from kombo_embed import Event, KomboEmbed, KomboEmbedError
from kombo_embed.clock import ManualClock
from kombo_embed.sandbox import Sandbox
from tests.simulation.invariants import (
    LINK_LIFETIME_SECONDS,
    MARGIN_SECONDS,
    Invariants,
    Truth,
)
from tests.simulation.network import Way, Weather
from tests.simulation.observers import ObservedApp, ObservedKombo
from tests.simulation.shared_cache import SharedCache, SharedLinkCache
from tests.simulation.virtual_time import EPOCH, Process, VirtualClock, VirtualLoop, process
from tests.support import API_KEY, WEBHOOK_SECRET, database_with_tables, end_user_from_header, make_settings

HANDLERS = {"start_first_sync", "notify_sales"}
STEPS_BEFORE_DEATH = 200
KOMBO = "http://localhost:8001"


@dataclass(eq=False, slots=True)
class Instance:
    """One process of the app."""

    process: Process
    embed: KomboEmbed
    transport: httpx.AsyncBaseTransport
    is_open: bool = False


class World:
    """Everything that takes part, apart from the customers."""

    def __init__(self, chance: random.Random, loop: VirtualLoop, folder: Path) -> None:
        self.chance, self.loop = chance, loop
        self.truth = Truth()
        self._file = folder / "kombo_embed.db"
        self._file.write_bytes(database_with_tables())
        self._reader = sqlite3.connect(self._file, isolation_level=None)
        self.invariants = Invariants(self.truth, self._reader)
        clock = ManualClock(time=lambda: EPOCH + loop.now, monotonic=lambda: loop.now)
        self.sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET, clock=clock)
        self._kombo = Process("kombo")
        kombo = ObservedKombo(self.truth, loop, httpx.ASGITransport(self.sandbox.app))
        self.to_kombo = self._way(lambda: (self._kombo, kombo))
        self.to_app = self._way(self._choose)
        self.webhooks = self._way(self._choose)
        self.sandbox.webhook_url = "http://app.example/kombo/webhooks"
        self.sandbox.webhook_transport = self.webhooks
        self._shared = SharedCache(loop) if chance.random() < 0.5 else None
        self.instances: list[Instance] = []
        self._ever: list[Instance] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self.database_fails = 0.0
        self.deaths = 0
        event.listen(Engine, "before_cursor_execute", self._fail_statement)
        event.listen(Engine, "commit", self._fail_commit)

    # --- processes -----------------------------------------------------------------------------------------

    async def start(self, count: int) -> None:
        """Start so many instances."""
        await asyncio.gather(*(self.start_instance() for _ in range(count)))

    async def start_instance(self) -> None:
        """Start one instance, and again until it is open."""
        opened = False
        while not opened:
            instance = self._make_instance()
            opened = await self.inside(instance.process, instance.embed.open)
            instance.is_open = opened
            if not opened:
                self._forget(instance)
                await asyncio.sleep(1)

    def _make_instance(self) -> Instance:
        owner = Process(f"app-{len(self._ever)}")
        clock = VirtualClock(self.loop, skew_seconds=self.chance.uniform(-2, 2))
        settings = make_settings(
            database_url=f"sqlite+aiosqlite:///{self._file}",
            link_lifetime=LINK_LIFETIME_SECONDS,
            link_min_remaining=MARGIN_SECONDS,
            allow_disconnect=True,
            duplicates="allow",
            timeout=3,
            connect_timeout=1,
            link_rate="1000/second",
            completion_rate="1000/second",
        )
        embed = KomboEmbed(
            end_user=end_user_from_header,
            settings=settings,
            http_transport=self.to_kombo,
            clock=clock,
            link_cache=SharedLinkCache(self._shared) if self._shared else None,
        )
        self._add_handlers(embed)
        app = Starlette()
        embed.install(app)
        instance = Instance(owner, embed, ObservedApp(self.invariants, self.loop, httpx.ASGITransport(app)))
        owner.on_death.append(lambda: self._died(instance))
        self.instances.append(instance)
        self._ever.append(instance)
        return instance

    async def inside(self, owner: Process, work: Callable[[], Awaitable[object]]) -> bool:
        """Run work in a process; return whether it succeeded. Whoever waits outlives the process."""
        context = contextvars.copy_context()
        context.run(process.set, owner)
        ended: asyncio.Future[bool] = self.loop.create_future()

        async def run() -> None:
            is_done = False
            try:
                await work()
                is_done = True
            except KomboEmbedError:
                pass
            except Exception as error:  # noqa: BLE001 - a bug, found
                self.invariants.found(error)
            _end(ended, is_done=is_done)

        def died() -> None:
            _end(ended, is_done=False)

        owner.on_death.append(died)
        self._keep(self.loop.create_task(run(), context=context))
        try:
            return await ended
        finally:
            with suppress(ValueError):
                owner.on_death.remove(died)

    def kill_some_instance(self) -> None:
        """Let an instance die within its next steps."""
        alive = [one for one in self.instances if one.process.dies_after is None]
        if alive:
            self.chance.choice(alive).process.dies_after = self.chance.randrange(STEPS_BEFORE_DEATH)

    def _died(self, instance: Instance) -> None:
        self.deaths += 1
        self._forget(instance)

    def _forget(self, instance: Instance) -> None:
        if instance in self.instances:
            self.instances.remove(instance)

    def _choose(self) -> tuple[Process, httpx.AsyncBaseTransport] | None:
        ready = [one for one in self.instances if one.is_open and not one.process.is_dead]
        if not ready:
            return None
        chosen = self.chance.choice(ready)
        return chosen.process, chosen.transport

    def some_embed(self) -> tuple[Process, KomboEmbed] | None:
        """Return an instance that is open."""
        ready = [one for one in self.instances if one.is_open and not one.process.is_dead]
        if not ready:
            return None
        chosen = self.chance.choice(ready)
        return chosen.process, chosen.embed

    def ids_of(self, public_ids: list[str]) -> list[str]:
        """Return Kombo's ids of integrations, which browsers do not get."""
        marks = ",".join("?" * len(public_ids))
        query = f"SELECT integration_id FROM kombo_embed_integrations WHERE public_id IN ({marks})"  # noqa: S608
        return [row[0] for row in self._reader.execute(query, public_ids)]

    # --- handlers ------------------------------------------------------------------------------------------

    def _add_handlers(self, embed: KomboEmbed) -> None:
        for name in sorted(HANDLERS):
            embed.on("integration.connected", name=name)(self._handler(name))

    def _handler(self, name: str) -> Callable[[Event], Awaitable[None]]:
        async def handle(event: Event) -> None:
            assert event.integration is not None
            integration_id = event.integration.integration_id
            self.truth.events.add((integration_id, event.id))
            await asyncio.sleep(self.chance.choice([0, 0, 0.01, 0.5, 4]))
            if self.chance.random() < 0.1:
                raise RuntimeError("the host's handler failed")
            self.truth.handled[name, event.id, integration_id] += 1

        return handle

    # --- faults --------------------------------------------------------------------------------------------

    def change_weather(self) -> None:
        """Make something fail, or nothing."""
        chance = self.chance
        for way in (self.to_kombo, self.to_app, self.webhooks):
            way.weather = Weather(slow_seconds=0.01)
        match chance.randrange(8):
            case 0:
                self.to_kombo.weather = Weather(failed=chance.choice([0.3, 1.0]), slow_seconds=0.2)
            case 1:
                self.to_kombo.weather = Weather(hanging=0.3, lost_response=0.2, slow_seconds=1)
            case 2:
                self.to_app.weather = Weather(lost_request=0.2, lost_response=0.3, repeated=0.3)
            case 3:
                self.webhooks.weather = Weather(lost_request=0.5, lost_response=0.3, repeated=0.3)
            case 4:
                self.webhooks.weather = Weather(repeated=0.5, slow_seconds=3)  # which also reorders them
            case 5 | 7:
                self.kill_some_instance()
            case 6 if self._shared is not None:
                self._shared.is_down = not self._shared.is_down
                self._shared.lose_everything()
            case _:
                pass
        self.database_fails = chance.choice([0, 0, 0.02, 0.1])

    def calm(self) -> None:
        """Let nothing fail from now on."""
        for way in (self.to_kombo, self.to_app, self.webhooks):
            way.weather = Weather()
        self.database_fails = 0.0
        if self._shared is not None:
            self._shared.is_down = False
        for instance in self.instances:
            instance.process.dies_after = None

    def _fail_statement(self, *_: object) -> None:
        if process.get() is not None and self.chance.random() < self.database_fails:
            raise sqlite3.OperationalError("disk I/O error")

    def _fail_commit(self, _connection: object) -> None:
        if process.get() is not None and self.chance.random() < self.database_fails * 3:
            raise sqlite3.OperationalError("database or disk is full")

    # --- the rest ------------------------------------------------------------------------------------------

    def _way(self, choose: Callable[[], tuple[Process, httpx.AsyncBaseTransport] | None]) -> Way:
        return Way(choose, chance=self.chance, weather=Weather())

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Close everything, dead processes included: their tasks must not be destroyed half-way."""
        self.calm()
        event.remove(Engine, "before_cursor_execute", self._fail_statement)
        event.remove(Engine, "commit", self._fail_commit)
        for instance in self._ever:
            instance.process.bury()
        await self.sandbox.aclose()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            if task.get_name() != "kombo-embed transaction":  # it ends by itself, in its thread
                task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for instance in self._ever:
            await instance.embed.close()
        self._reader.close()


def _end(future: asyncio.Future[bool], *, is_done: bool) -> None:
    if not future.done():
        future.set_result(is_done)
