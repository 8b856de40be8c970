"""In whatever order, how often and how concurrently Kombo's words come: the records end the same."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from kombo_embed.integration import Event, Integration
from kombo_embed.kombo.webhooks import parse_report
from kombo_embed.store.outbox import _delivery
from kombo_embed.store.store import Store
from kombo_embed.store.tables import outbox
from kombo_embed.upstream import ReportedIntegration, WebhookEvent
from tests.support import ManualClock

SHUFFLES = 1000 if os.environ.get("CI") else 200
FACTS = 6  # of those below, in one shuffle
SHOWN = ("tool", "category", "status", "setup_status", "origin_id")
# Of each: Kombo's minute, the state, the setup status; an older form of the event has none.
STATES = [
    (1, "ACTIVE", "INCOMPLETE"),
    (2, "INVALID", "COMPLETED"),
    (3, "ACTIVE", None),
    (3, "INACTIVE", None),
    (0, "INVALID", "FINAL_SYNC_PENDING"),
]


@dataclass(frozen=True)
class Fact:
    """Something that Kombo says: what it is, for the oracle, and how it reaches the store."""

    kind: str
    tell: Callable[[Store], Coroutine[Any, Any, object]]
    owner: str
    says: dict[str, Any]


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose disk does not slow down a thousand examples, where there is one."""
    memory = Path("/dev/shm")  # noqa: S108 - made unguessable below
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def told(kind: str, owner: str, event_id: str, type_: str, **data: Any) -> Fact:
    event = WebhookEvent(event_id, type_, data)
    return Fact(kind, lambda store: store.save_event(event, parse_report(event)), owner, data)


def completed(integration_id: str, origin_id: str, setup_status: str) -> Fact:
    reported = ReportedIntegration(
        integration_id=integration_id,
        tool="personio",
        origin_id=origin_id,
        organization_name="Acme",
        email=None,
        setup_status=setup_status,
    )
    token = f"{integration_id} {setup_status}"
    return Fact(
        "completed",
        lambda store: store.save_completion(reported, activation_token=token, origin_id=origin_id),
        origin_id,
        {"setup_status": setup_status},
    )


def facts_of(integration_id: str, origin_id: str) -> list[Fact]:
    """What Kombo may say of one integration, and of another one like it."""
    nobody = {"id": integration_id, "tool": "personio", "end_user": {"origin_id": None}}
    somebody = nobody | {"category": "HRIS", "end_user": {"origin_id": origin_id}}
    twin = somebody | {"id": f"{integration_id}-2"}

    def created(kind: str, event_id: str, data: dict[str, Any]) -> Fact:
        return told(kind, origin_id, f"{integration_id} {event_id}", "integration-created", **data)

    facts = [
        created("created", "created", somebody),
        created("created", "created again", somebody),
        created("created for nobody", "created for nobody", nobody),
        created("other", "other", twin),
        completed(integration_id, origin_id, "INCOMPLETE"),
        completed(integration_id, origin_id, "COMPLETED"),
        told("deleted", origin_id, f"{integration_id} deleted", "integration-deleted", **somebody),
        told("synced", origin_id, f"{integration_id} synced", "data-changed", integration_id=integration_id),
    ]
    for number, (minute, state, setup_status) in enumerate(STATES):
        for event_id in (f"{integration_id} {number}", f"{integration_id} {number} again"):
            data = {
                "integration_id": integration_id,
                "state": state,
                "setup_status": setup_status,
                "updated_at": f"2026-01-01T00:0{minute}:00Z",
            }
            facts.append(told("state", origin_id, event_id, "integration-state-changed", **data))
    return facts


def expected(facts: list[Fact]) -> tuple[object, ...] | None:
    """How the record must be after these facts, whatever their order; None where there must be none."""
    kinds = {fact.kind for fact in facts}
    if "deleted" in kinds or not kinds & {"created", "created for nobody", "completed"}:
        return None
    states = [fact.says for fact in facts if fact.kind == "state"]

    def newest(name: str) -> str | None:
        said = [(state["updated_at"], state[name]) for state in states if state[name] is not None]
        return max(said)[1] if said else None

    by_token = {fact.says["setup_status"] for fact in facts if fact.kind == "completed"}
    furthest = next((one for one in ("COMPLETED", "INCOMPLETE") if one in by_token), None)
    category = "HRIS" if "created" in kinds else None
    owner = facts[0].owner if kinds & {"created", "completed"} else None
    return ("personio", category, newest("state"), newest("setup_status") or furthest, owner)


async def happen(stores: list[Store], facts: list[Fact], chance: random.Random) -> None:
    """In this order, but some at once, some replayed, and in one process or another."""
    left = list(facts)
    while left:
        together = [left.pop() for _ in range(min(len(left), chance.randint(1, 3)))]
        if chance.random() < 0.2:
            together.append(chance.choice(facts))
        await asyncio.gather(*(fact.tell(chance.choice(stores)) for fact in together))


async def all_events(store: Store) -> dict[str, list[Event]]:
    """Everything that waits in the outbox, in order, by Kombo's id of the integration."""
    events: dict[str, list[Event]] = defaultdict(list)
    async with store._database.reading() as connection:  # noqa: SLF001 - past every lease
        rows = (await connection.execute(select(outbox).order_by(outbox.c.id))).mappings().all()
    for row in rows:
        delivery = _delivery(row)
        assert delivery is not None
        events[row["integration_id"]].append(delivery.event)
    return events


def assert_each_change_is_told_once(events: list[Event]) -> tuple[object, ...] | None:
    """Connected first and once, each update different, deleted last and once; what was told last."""
    changes = [event for event in events if event.type not in {"integration.duplicate", "kombo.event"}]
    types = [event.type for event in changes]
    if not types:
        return None
    assert types[0] == "integration.connected"
    assert types.count("integration.connected") == 1
    assert types.count("integration.deleted") <= 1
    assert "integration.deleted" not in types[:-1]
    snapshots = [tuple(getattr(event.integration, name) for name in SHOWN) for event in changes]
    for before, after, type_ in zip(snapshots, snapshots[1:], types[1:], strict=False):
        assert before != after or type_ == "integration.deleted"
    return snapshots[-1]


async def test_whatever_the_order_the_records_end_the_same_and_each_fact_is_told_once(
    quick_folder: Path,
) -> None:
    url = f"sqlite+aiosqlite:///{quick_folder}/kombo_embed.db"
    stores = [Store(url, environment="default", clock=ManualClock()) for _ in range(2)]
    for store in stores:
        await store.open()
    shuffled: dict[str, list[Fact]] = {}
    for number in range(SHUFFLES):
        chance = random.Random(number)  # noqa: S311 - repeatable
        integration_id = f"personio:{number}"
        facts = chance.sample(facts_of(integration_id, f"customer-{number}"), FACTS)
        # Now and then in two processes: they wait for each other by polling, which takes its time.
        await happen(stores if number % 50 == 0 else stores[:1], facts, chance)
        shuffled[integration_id] = facts
    events = await all_events(stores[0])
    found = {
        one.integration_id: one for one in await stores[0].list_integrations_after("", limit=10 * SHUFFLES)
    }
    for integration_id, facts in shuffled.items():
        twin = f"{integration_id}-2"
        assert_the_end(facts, found.get(integration_id), events[integration_id], events[twin])
    for store in stores:
        await store.aclose()


def assert_the_end(
    facts: list[Fact], found: Integration | None, events: list[Event], of_twin: list[Event]
) -> None:
    kinds = [fact.kind for fact in facts]
    end = expected(facts)
    assert (tuple(getattr(found, name) for name in SHOWN) if found else None) == end
    last = assert_each_change_is_told_once(events)
    if end is not None:
        assert last == end
    types = [event.type for event in events]
    if "deleted" in kinds:
        assert types.count("integration.deleted") == ("integration.connected" in types)
    told_twice = [event for event in [*events, *of_twin] if event.type == "integration.duplicate"]
    are_twins = end is not None and None not in (end[1], end[4]) and "other" in kinds
    assert len(told_twice) == are_twins or ("deleted" in kinds and len(told_twice) <= 1)
    assert types.count("kombo.event") <= kinds.count("synced")
    assert [event.type for event in of_twin].count("integration.connected") == kinds.count("other")


async def test_events_replayed_to_a_changed_record_change_nothing(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/kombo_embed.db"
    store = Store(url, environment="default", clock=ManualClock())
    await store.open()
    facts = facts_of("personio:x", "acme")
    facts = [fact for fact in facts if fact.kind != "deleted"]
    await happen([store], facts, random.Random(1))  # noqa: S311 - repeatable
    before = await store.find_integration("personio:x"), await all_events(store)
    for fact in facts:
        await fact.tell(store)
    assert (await store.find_integration("personio:x"), await all_events(store)) == before
    assert len(before[1]["personio:x"]) > 1
    await store.aclose()
