from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kombo_embed import Event
from kombo_embed.demo.activity import EVENTS_PER_CUSTOMER, Activity
from kombo_embed.demo.people import PEOPLE


def event(number: int = 1, *, origin_id: str | None = "org_a", data: Any = None) -> Event:
    return Event(
        id=str(number),
        type="kombo.event",
        occurred_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        origin_id=origin_id,
        integration=None,
        data=data or {},
    )


async def test_an_event_that_is_delivered_twice_is_listed_once() -> None:
    activity = Activity(["org_a"])
    await activity.add(event())
    await activity.add(event())
    assert [entry["id"] for entry in activity.of("org_a")] == ["1"]
    assert activity.of("org_a")[0]["occurred_at"] == "2026-01-02T03:04:05Z"


async def test_only_the_newest_events_are_kept() -> None:
    activity = Activity(["org_a"])
    for number in range(EVENTS_PER_CUSTOMER + 5):
        await activity.add(event(number))
    entries = activity.of("org_a")
    assert (len(entries), entries[0]["id"], entries[-1]["id"]) == (
        EVENTS_PER_CUSTOMER,
        str(EVENTS_PER_CUSTOMER + 4),
        "5",
    )


@pytest.mark.parametrize("origin_id", [None, "", "org_b"])
async def test_events_of_unknown_organizations_are_ignored(origin_id: str | None) -> None:
    activity = Activity(["org_a"])
    await activity.add(event(origin_id=origin_id))
    assert activity.of("org_a") == []
    assert activity.of("org_b") == []


async def test_an_event_of_kombos_is_listed_with_the_name_of_the_end_user_and_without_ids() -> None:
    activity = Activity(["org_a"])
    sent = {
        "integration_tool": "hibob",
        "integration_category": "HRIS",
        "state": "INVALID",
        "end_user": {"creator_email": PEOPLE["grace"].email},
        "integration_id": "hibob:secret",
    }
    await activity.add(event(data={"id": "1", "type": "something-new", "data": sent}))
    [entry] = activity.of("org_a")
    assert entry["kombo_type"] == "something-new"
    assert (entry["tool"], entry["category"], entry["status"]) == ("hibob", "HRIS", "INVALID")
    assert entry["by"] == "Grace Harper"
    assert "hibob:secret" not in entry.values()


@pytest.mark.parametrize(
    "data",
    [
        {"type": 1, "data": None},
        {"type": "x", "data": [1]},
        {"type": "x", "data": {"end_user": "ada", "tool": 5, "state": {"a": 1}}},
        {"data": {"end_user": {"creator_email": ["ada"]}}},
    ],
)
async def test_an_event_of_any_shape_is_listed(data: Any) -> None:
    activity = Activity(["org_a"])
    await activity.add(event(data=data))
    [entry] = activity.of("org_a")
    assert all(value is None or isinstance(value, str) for value in entry.values())
