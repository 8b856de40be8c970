"""Pages with ``<kombo-integrations>`` whose backend returns made-up integrations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Route, expect

from tests.browser.stage import Stage, Visit, visiting

PAGE = "integrations.html"
NEXT_ACTIONS = ("none", "reconnect", "finish_setup", "enable", "wait_for_sync", "pending")
LONG = "Donaudampfschifffahrtsgesellschaftskapitänswitwenrentenauszahlungsstelle" * 2


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"int_{number}",
        "tool": f"tool{number}",
        "tool_label": f"Tool {number}",
        "logo_url": None,
        "category": "HRIS",
        "organization_name": LONG,
        "status": "ACTIVE",
        "setup_status": "COMPLETED",
        "next_action": NEXT_ACTIONS[number % len(NEXT_ACTIONS)],
        "connected_at": f"2026-01-{number % 28 + 1:02}T00:00:00Z",
        "updated_at": "2026-02-01T00:00:00Z",
        **changes,
    }


@asynccontextmanager
async def showing(
    browser: Browser, stage: Stage, rows: list[dict[str, Any]], **options: Any
) -> AsyncIterator[Visit]:
    """Open the page with a backend that returns these rows."""

    async def respond(route: Route) -> None:
        await route.fulfill(json={"integrations": rows, "actions": ["disconnect"], "next_cursor": None})

    async with visiting(browser, stage, **options) as visit:
        await visit.page.route("**/kombo/integrations*", respond)
        await visit.open(PAGE)
        await expect(visit.page.get_by_test_id("integration")).to_have_count(len(rows))
        yield visit
