"""In any order, repeated and concurrent, on a real database: the records end the same.

The rules as such are tested in test_merge.py; here is what the transactions add: rows, events, processes.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kombo_embed.integration import Integration
from kombo_embed.kombo.webhooks import parse_report
from kombo_embed.store.host_events import HostEvent
from kombo_embed.store.store import Store
from kombo_embed.store.support import RecordsReader
from kombo_embed.upstream import ReportedIntegration, WebhookEvent
from tests.store.samples import fixed_clock, opened_store
from tests.support import SQLITE_URL

SHUFFLES = int(os.environ.get("CONVERGENCE_SHUFFLES", "50"))  # `make soak` sets more
REPORTS = 6  # of those below, in one shuffle
COMPARED = ("tool", "category", "status", "setup_status", "origin_id")
# Kombo's minute, the state, the setup status; an older form of the event has no setup status.
STATES = [
    (1, "ACTIVE", "INCOMPLETE"),
    (2, "INVALID", "COMPLETED"),
    (3, "ACTIVE", None),
    (3, "INACTIVE", None),
    (0, "INVALID", "FINAL_SYNC_PENDING"),
]


@dataclass(frozen=True)
class Report:
    """One report of Kombo's: its kind and content for the oracle, and how it is saved."""

    kind: str
    save: Callable[[Store], Coroutine[Any, Any, object]]
    origin_id: str
    data: dict[str, Any]


def received(kind: str, origin_id: str, event_id: str, type_: str, **data: Any) -> Report:
    event = WebhookEvent(event_id, type_, data)
    return Report(kind, lambda store: store.save_event(event, parse_report(event)), origin_id, data)


def completed(integration_id: str, origin_id: str, setup_status: str) -> Report:
    reported = ReportedIntegration(
        integration_id=integration_id,
        tool="personio",
        origin_id=origin_id,
        organization_name="Acme",
        email=None,
        setup_status=setup_status,
    )
    token = f"{integration_id} {setup_status}"
    return Report(
        "completed",
        lambda store: store.save_completion(reported, activation_token=token, origin_id=origin_id),
        origin_id,
        {"setup_status": setup_status},
    )


def reports_about(integration_id: str, origin_id: str) -> list[Report]:
    """Everything that Kombo may report of one integration, and of another one equal to it."""
    without_origin = {"id": integration_id, "tool": "personio", "end_user": {"origin_id": None}}
    complete = without_origin | {"category": "HRIS", "end_user": {"origin_id": origin_id}}
    twin = complete | {"id": f"{integration_id}-2"}

    def created(kind: str, event_id: str, data: dict[str, Any]) -> Report:
        return received(kind, origin_id, f"{integration_id} {event_id}", "integration-created", **data)

    reports = [
        created("created", "created", complete),
        created("created", "created again", complete),
        created("created without origin", "created without origin", without_origin),
        created("twin", "twin", twin),
        completed(integration_id, origin_id, "INCOMPLETE"),
        completed(integration_id, origin_id, "COMPLETED"),
        received("deleted", origin_id, f"{integration_id} deleted", "integration-deleted", **complete),
        received(
            "synced", origin_id, f"{integration_id} synced", "data-changed", integration_id=integration_id
        ),
    ]
    for number, (minute, state, setup_status) in enumerate(STATES):
        for event_id in (f"{integration_id} {number}", f"{integration_id} {number} again"):
            data = {
                "integration_id": integration_id,
                "state": state,
                "setup_status": setup_status,
                "updated_at": f"2026-01-01T00:0{minute}:00Z",
            }
            reports.append(received("state", origin_id, event_id, "integration-state-changed", **data))
    return reports


def expected(reports: list[Report]) -> tuple[object, ...] | None:
    """The record after these reports, whatever their order; None if there must be none."""
    kinds = {report.kind for report in reports}
    if "deleted" in kinds or not kinds & {"created", "created without origin", "completed"}:
        return None
    states = [report.data for report in reports if report.kind == "state"]

    def newest(name: str) -> str | None:
        values = [(state["updated_at"], state[name]) for state in states if state[name] is not None]
        return max(values)[1] if values else None

    by_token = {report.data["setup_status"] for report in reports if report.kind == "completed"}
    furthest = next((one for one in ("COMPLETED", "INCOMPLETE") if one in by_token), None)
    category = "HRIS" if "created" in kinds else None
    origin_id = reports[0].origin_id if kinds & {"created", "completed"} else None
    return ("personio", category, newest("state"), newest("setup_status") or furthest, origin_id)


async def save_all(stores: list[Store], reports: list[Report], chance: random.Random) -> None:
    """Save the reports in order, but some concurrently, some twice, in one process or another."""
    left = list(reports)
    while left:
        together = [left.pop() for _ in range(min(len(left), chance.randint(1, 3)))]
        if chance.random() < 0.2:
            together.append(chance.choice(reports))
        await asyncio.gather(*(report.save(chance.choice(stores)) for report in together))


async def all_events() -> dict[str, list[HostEvent]]:
    """Every event in the outbox, in order, by Kombo's id of the integration."""
    events: dict[str, list[HostEvent]] = defaultdict(list)
    async with RecordsReader(SQLITE_URL, environment="default", clock=fixed_clock()).opened() as records:
        for event in reversed(await records.events(delivered=True, limit=100 * SHUFFLES) or []):
            events[event.integration_id or ""].append(event)
    return events


def last_snapshot(events: list[HostEvent]) -> tuple[object, ...] | None:
    """Assert that each change has one event: connected first, once; deleted last. Return the last record."""
    changes = [event for event in events if event.type not in {"integration.duplicate", "kombo.event"}]
    types = [event.type for event in changes]
    if not types:
        return None
    assert types[0] == "integration.connected"
    assert types.count("integration.connected") == 1
    assert types.count("integration.deleted") <= 1
    assert "integration.deleted" not in types[:-1]
    snapshots = [tuple((event.integration or {})[name] for name in COMPARED) for event in changes]
    for (before, after), type_ in zip(pairwise(snapshots), types[1:], strict=True):
        assert before != after or type_ == "integration.deleted"
    return snapshots[-1]


async def test_whatever_the_order_the_records_end_the_same_and_each_change_has_one_event(
    record_property: Callable[[str, object], None],
) -> None:
    shuffled: dict[str, list[Report]] = {}
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened_store(SQLITE_URL)) for _ in range(2)]
        for number in range(SHUFFLES):
            chance = random.Random(number)  # noqa: S311 - repeatable
            integration_id = f"personio:{number}"
            reports = chance.sample(reports_about(integration_id, f"customer-{number}"), REPORTS)
            # Only some in two processes: those wait for each other by polling, which takes long.
            await save_all(stores if number % 25 == 0 else stores[:1], reports, chance)
            shuffled[integration_id] = reports
        integrations = await stores[0].list_integrations_after("", limit=10 * SHUFFLES)
    events = await all_events()
    found = {one.integration_id: one for one in integrations}
    for integration_id, reports in shuffled.items():
        twin_events = events[f"{integration_id}-2"]
        assert_converged(reports, found.get(integration_id), events[integration_id], twin_events)
    record_property("figure", f"{SHUFFLES:,} orders: the same end")


def assert_converged(
    reports: list[Report], found: Integration | None, events: list[HostEvent], twin_events: list[HostEvent]
) -> None:
    kinds = [report.kind for report in reports]
    end = expected(reports)
    assert (tuple(getattr(found, name) for name in COMPARED) if found else None) == end
    last = last_snapshot(events)
    if end is not None:
        assert last == end
    types = [event.type for event in events]
    if "deleted" in kinds:
        assert types.count("integration.deleted") == ("integration.connected" in types)
    duplicates = [event for event in [*events, *twin_events] if event.type == "integration.duplicate"]
    are_equal = end is not None and None not in (end[1], end[4]) and "twin" in kinds
    assert len(duplicates) == are_equal or ("deleted" in kinds and len(duplicates) <= 1)
    assert types.count("kombo.event") <= kinds.count("synced")
    assert [event.type for event in twin_events].count("integration.connected") == kinds.count("twin")


async def test_repeated_reports_about_a_changed_integration_change_nothing() -> None:
    reports = [one for one in reports_about("personio:x", "acme") if one.kind != "deleted"]
    async with opened_store(SQLITE_URL) as store:
        await save_all([store], reports, random.Random(1))  # noqa: S311 - repeatable
        before = await store.find_integration("personio:x"), await all_events()
        for report in reports:
            await report.save(store)
        assert (await store.find_integration("personio:x"), await all_events()) == before
    assert len(before[1]["personio:x"]) > 1
