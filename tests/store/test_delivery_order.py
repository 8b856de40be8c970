"""Whatever processes do: each handler gets each event, in order per integration, and no lane is stuck.

A state machine over one to four processes, a worker of the previous version among them, which write, take,
succeed, fail, die, park and replay on one database, in any order that hypothesis finds.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Interval, insert, literal, select, update

from kombo_embed import Integration
from kombo_embed.deliveries import Delivery, DeliveryOutcome
from kombo_embed.store import replay
from kombo_embed.store.database import Database
from kombo_embed.store.deliveries import Outbox
from kombo_embed.store.outbox import write_event
from kombo_embed.store.store import migrate
from kombo_embed.store.tables import deliveries, ended_deliveries, events, outbox
from kombo_embed.store.transaction import Transaction
from tests.store.samples import NOW

EXAMPLES = int(os.environ.get("DELIVERY_EXAMPLES", "20"))  # `make soak` sets more
STEPS = 40
LEASE_SECONDS = 10
HANDLERS = ("one", "two", "three")
TYPES = ("flow.failed", "kombo.event")  # which may concern no integration
LANES = ("personio:a", "personio:b", None)
INTEGRATION = Integration("", "public", "acme", "personio", None, None, None, None, None, NOW, NOW)

Result = TypeVar("Result")

handlers = st.sampled_from(HANDLERS)
types = st.sampled_from(TYPES)
lanes = st.sampled_from(LANES)
numbers = st.integers(0, 3)


@dataclass
class Written:
    """An event: when it was written, and the handlers that existed then."""

    number: int
    lane: str | None
    type: str
    handlers: set[str]
    step: int


@dataclass
class Held:
    """A leased lane: what is left of it, and when its lease ends."""

    left: list[Delivery]
    ends_at: datetime


@dataclass
class Process:
    """A process with an outbox of its own."""

    outbox: Outbox
    held: list[Held] = field(default_factory=list)
    unsaved: list[DeliveryOutcome] = field(default_factory=list)


class Shared:
    """The databases' connections, which the examples share; each example has an environment of its own."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.url = url
        self.databases = [Database(url) for _ in range(4)]

    def close(self) -> None:
        for database in self.databases:
            self.runner.run(database.aclose())
        self.runner.close()


class Deliveries(RuleBasedStateMachine):
    """The processes, and what must become of each event."""

    shared: Shared

    @initialize(count=st.integers(1, 4))
    def start(self, count: int) -> None:
        self.environment = secrets.token_hex(8)
        databases = self.shared.databases[:count]
        self.processes = [Process(Outbox(one, environment=self.environment)) for one in databases]
        self.now, self.step = NOW, 0
        self.written: list[Written] = []
        self.registered: dict[tuple[str, str], int] = {}  # a name and type, with the step of its registration
        self.called: dict[str, list[int]] = defaultdict(list)  # successful calls by handler
        self.exempt: set[tuple[str, int]] = set()  # dead letters and parked deliveries: they lose their place
        self.by_old_worker: set[int] = set()

    # What processes do

    @rule(process=numbers, lane=lanes, event_type=types)
    def write(self, process: int, lane: str | None, event_type: str) -> None:
        number = self._written(lane, event_type)
        integration = None if lane is None else replace(INTEGRATION, integration_id=lane)

        async def run(transaction: Transaction) -> None:
            if lane is not None:
                await transaction.lock(lane)
            await write_event(
                transaction, event_type, origin_id="acme", integration=integration, data={"number": number}
            )

        self._transact(run, process)

    @rule(name=handlers, event_type=types, process=numbers)
    def register(self, name: str, event_type: str, process: int) -> None:
        self.step += 1
        self.registered.setdefault((name, event_type), self.step)
        own = [one for one in TYPES if (name, one) in self.registered]
        self._run(self._process(process).outbox.register({name: own}, now=self.now))

    @rule(process=numbers, limit=st.integers(1, 3))
    def take(self, process: int, limit: int) -> None:
        taker = self._process(process)
        slots = {name: limit for name, _ in self.registered}
        if not slots:
            return
        for lane in self._run(taker.outbox.take(slots, now=self.now, lease_seconds=LEASE_SECONDS)):
            self._assert_is_free(lane[0])
            taker.held.append(Held(lane, self.now + timedelta(seconds=LEASE_SECONDS)))

    @rule(process=numbers, which=numbers, result=st.sampled_from(["ok", "ok", "ok", "fails", "dies out"]))
    def call(self, process: int, which: int, result: str) -> None:
        caller = self._process(process)
        if not caller.held:
            return
        held = caller.held[which % len(caller.held)]
        delivery, *held.left = held.left
        if result == "ok":
            self.called[delivery.handler].append(self._number(delivery))
            successor = held.left[0] if held.left else None
            caller.unsaved.append(DeliveryOutcome(delivery, successor=successor))
        else:
            held.left = []
            seconds = 5.0 if result == "fails" else None
            caller.unsaved.append(DeliveryOutcome(delivery, error="RuntimeError", retry_seconds=seconds))
            if seconds is None:
                self.exempt.add((delivery.handler, self._number(delivery)))
        if not held.left:
            caller.held.remove(held)

    @rule(process=numbers)
    def save(self, process: int) -> None:
        saver = self._process(process)
        outcomes, saver.unsaved = saver.unsaved, []
        saver.unsaved = self._run(saver.outbox.save(outcomes, now=self.now, lease_seconds=LEASE_SECONDS))
        for held in saver.held:  # a lane that goes on has a new lease
            if any(one.successor is held.left[0] for one in outcomes):
                held.ends_at = self.now + timedelta(seconds=LEASE_SECONDS)

    @rule(process=numbers)
    def die(self, process: int) -> None:
        dead = self._process(process)
        dead.held, dead.unsaved = [], []

    @rule(process=numbers)
    def close(self, process: int) -> None:
        self.save(process)
        closing = self._process(process)
        leased = [one.delivery for one in closing.unsaved] + [held.left[0] for held in closing.held]
        if leased:
            self._run(closing.outbox.release(leased, now=self.now))
        closing.held, closing.unsaved = [], []

    @rule(seconds=st.integers(1, 15))
    def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        if self.shared.url.startswith("postgresql"):
            self._transact(lambda transaction: shift(transaction, seconds))

    @rule(name=handlers, event_type=types)
    @precondition(lambda self: bool(self.registered))
    def park(self, name: str, event_type: str) -> None:
        """No process was seen with this handler for a day; those that have its deliveries are dead."""
        if (name, event_type) not in self.registered:
            return
        for process in self.processes:
            process.held = [held for held in process.held if held.left[0].handler != name]
            process.unsaved = [one for one in process.unsaved if one.delivery.handler != name]
        for one in self.written:
            if one.type == event_type and (name in one.handlers or not one.handlers):
                self.exempt.add((name, one.number))
        self._run(self.processes[0].outbox.park(name, event_type, now=self.now))

    @rule(name=handlers)
    def replay(self, name: str) -> None:
        self._transact(lambda transaction: replay.replay_handler(transaction, name, new_name=None))
        self._transact(replay.replay_dead)

    @rule()
    def sweep(self) -> None:
        self._run(self.processes[-1].outbox.ready_lanes(now=self.now))

    # What a worker of the previous version does

    @rule(lane=lanes, event_type=types)
    def write_into_the_old_outbox(self, lane: str | None, event_type: str) -> None:
        number = self._written(lane, event_type)
        self.written[number].handlers.clear()  # the worker does not know the registry
        integration = None
        if lane is not None:
            times = {"connected_at": NOW.isoformat(), "updated_at": NOW.isoformat()}
            integration = {name: getattr(INTEGRATION, name) for name in Integration.__dataclass_fields__}
            integration |= times | {"integration_id": lane}
        row: dict[str, Any] = {
            "environment": self.environment,
            "event_id": secrets.token_hex(16),
            "type": event_type,
            "integration_id": lane,
            "integration": integration,
            "data": {"number": number},
            "occurred_at": self.now,
            "attempts": 0,
            "done_handlers": [],
            "due_at": self.now,
        }
        self._transact(lambda transaction: transaction.connection.execute(insert(outbox), row))

    @rule()
    def lease_in_the_old_outbox(self) -> None:
        async def run(transaction: Transaction) -> None:
            waiting = select(outbox).where(
                outbox.c.environment == self.environment, outbox.c.delivered_at.is_(None)
            )
            rows = (await transaction.connection.execute(waiting.order_by(outbox.c.id))).mappings().all()
            if rows and (rows[0]["lease_ends_at"] is None or rows[0]["lease_ends_at"] <= NOW):
                ends_at = transaction.now + timedelta(seconds=LEASE_SECONDS)
                if self.shared.url.startswith("postgresql"):
                    ends_at = datetime.now(NOW.tzinfo) + timedelta(seconds=LEASE_SECONDS)
                lease = {"lease_owner": "old", "lease_ends_at": ends_at}
                await transaction.connection.execute(
                    update(outbox).where(outbox.c.id == rows[0]["id"]).values(**lease)
                )

        self._transact(run)

    @rule()
    def deliver_from_the_old_outbox(self) -> None:
        async def run(transaction: Transaction) -> list[int]:
            ours = outbox.c.environment == self.environment, outbox.c.lease_owner == "old"
            done = update(outbox).where(*ours, outbox.c.delivered_at.is_(None))
            rows = await transaction.connection.execute(
                done.values(delivered_at=transaction.now, lease_owner=None).returning(outbox.c.data)
            )
            return [data["number"] for data in rows.scalars()]

        for number in self._transact(run):
            self.by_old_worker.add(number)
            for name in HANDLERS:
                self.called[name].append(number)

    # What must hold in the end

    def teardown(self) -> None:
        if not hasattr(self, "processes"):
            return
        for number in range(len(self.processes)):
            self.die(number)
        for name in HANDLERS:
            for event_type in TYPES:
                self.register(name, event_type, 0)
        self._finish()
        assert self._rows(deliveries) == []
        ended = {
            (row["handler"], row["event_row_id"]): row["outcome"] for row in self._rows(ended_deliveries)
        }
        assert set(ended.values()) <= {"delivered"}
        numbers_by_id = {row["id"]: row["data"]["number"] for row in self._rows(events)}
        delivered = {(name, numbers_by_id[row_id]) for name, row_id in ended}
        for event in self.written:
            got_it = {name for name in HANDLERS if (name, event.number) in delivered}
            # Without a handler at the time of the writing, it is for those that exist when it is claimed.
            assert got_it == (event.handlers or got_it), event
            assert got_it or event.number in self.by_old_worker, event
            assert all(event.number in self.called[name] for name in got_it), event
        for name in HANDLERS:
            self._assert_order(name, [one for one in self.written if one.number in self.called[name]])

    def _finish(self) -> None:
        """Deliver all that is left: parked, dead, stuck and unclaimed deliveries, and the old outbox."""
        for _ in range(3):
            for name in HANDLERS:
                self.replay(name)
            self.sweep()  # a lane waits for it if an old worker ended the event before its first one
            quiet = 0
            while quiet < 3:
                self.pass_time(15)
                self.take(0, 3)
                quiet = 0 if self.processes[0].held else quiet + 1
                while self.processes[0].held:
                    self.call(0, 0, "ok")
                self.save(0)

    def _assert_order(self, name: str, received: list[Written]) -> None:
        """Assert that the first successful calls about an integration are in the order of its events."""
        calls = self.called[name]
        for lane in {event.lane for event in self.written} - {None}:
            mine = [one for one in received if one.lane == lane and (name, one.number) not in self.exempt]
            for index, earlier in enumerate(mine):
                for later in mine[index + 1 :]:
                    if later.number in self.by_old_worker:
                        continue  # it does not see the events in the new tables
                    if not earlier.handlers and later.step < self.registered[name, earlier.type]:
                        continue  # the handler was registered for the earlier one's type after the later one
                    assert calls.index(earlier.number) < calls.index(later.number), (name, earlier, later)

    def _assert_is_free(self, taken: Delivery) -> None:
        for process in self.processes:
            for held in process.held:
                same = held.left[0].handler == taken.handler and held.left[0].lane == taken.lane
                assert taken.lane is None or not same or held.ends_at <= self.now, (
                    "two processes have the lane"
                )

    # Details

    def _written(self, lane: str | None, event_type: str) -> int:
        self.step += 1
        names = {name for name, one in self.registered if one == event_type}
        self.written.append(Written(len(self.written), lane, event_type, names, self.step))
        return len(self.written) - 1

    def _process(self, number: int) -> Process:
        return self.processes[number % len(self.processes)]

    @staticmethod
    def _number(delivery: Delivery) -> int:
        number = delivery.event.data["number"]
        assert isinstance(number, int)
        return number

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.shared.runner.run(work)

    def _transact(
        self, work: Callable[[Transaction], Coroutine[Any, Any, Result]], process: int = 0
    ) -> Result:
        async def run() -> Result:
            database = self.shared.databases[process % len(self.processes)]
            async with database.writing() as connection:
                return await work(Transaction(connection, self.environment, self.now))

        return self._run(run())

    def _rows(self, table: Any) -> list[Any]:
        async def run(transaction: Transaction) -> list[Any]:
            query = select(table).where(table.c.environment == self.environment)
            return list((await transaction.connection.execute(query)).mappings())

        return self._transact(run)


async def shift(transaction: Transaction, seconds: int) -> None:
    """Let time pass on PostgreSQL, whose own clock counts: move what is due back."""
    for table in (deliveries, outbox):
        for column in (table.c.due_at, table.c.lease_ends_at):
            passed = {column.name: column - literal(timedelta(seconds=seconds), Interval())}
            ours = table.c.environment == transaction.environment, column.is_not(None)
            await transaction.connection.execute(update(table).where(*ours).values(passed))


def test_each_handler_gets_each_event_in_order_whatever_happens(database_url: str) -> None:
    asyncio.run(migrate(database_url))
    shared = Shared(database_url)

    class Machine(Deliveries):
        pass

    Machine.shared = shared
    quietly = list(HealthCheck)
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=quietly,
                database=None,
            ),
        )
    finally:
        shared.close()


def test_an_event_from_before_its_handler_is_delivered_before_later_ones_of_its_type(
    database_url: str,
) -> None:
    """A case that the machine finds once in some thousand examples."""
    asyncio.run(migrate(database_url))
    machine = Deliveries()
    machine.shared = Shared(database_url)
    try:
        machine.start(count=1)
        machine.write(process=0, lane="personio:a", event_type="flow.failed")
        machine.register(name="three", event_type="kombo.event", process=0)
        machine.write(process=0, lane="personio:a", event_type="kombo.event")
        machine.register(name="three", event_type="flow.failed", process=0)
        machine.write(process=0, lane="personio:a", event_type="flow.failed")
        machine.teardown()
        assert machine.called["three"] == [1, 0, 2]
    finally:
        machine.shared.close()
