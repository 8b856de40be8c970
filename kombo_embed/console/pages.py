"""The pages. Each answers a question of a person who supports customers."""

from __future__ import annotations

from datetime import datetime, timedelta

from starlette.responses import Response

from kombo_embed.console import charts
from kombo_embed.console.visit import Visit, required
from kombo_embed.core.link_request import CATEGORIES
from kombo_embed.errors import RouteNotFound
from kombo_embed.store.support import counts
from kombo_embed.store.support.event_pages import EventQuery
from kombo_embed.store.support.overview import OverviewData

PERIODS, PERIOD = (7, 30, 90), 30  # days
HOURS = 48
EVENTS_SHOWN = 30
BROKEN_SHOWN, BROKEN_MATCHES = 5, 30


async def overview(visit: Visit) -> Response:
    """Answer where people give up, what is broken, and whether webhooks and deliveries flow."""
    asked = visit.query("days")
    days = int(asked) if asked in {str(one) for one in PERIODS} else PERIOD
    support = visit.desk.support
    data = await support.overview.read(days=days, hours=HOURS)
    broken, _, _ = await support.customers.newest(broken=True, matches=BROKEN_MATCHES)
    connected, webhooks = _charts(data, days=days)
    return visit.page(
        "overview.html",
        data=data,
        days=days,
        periods=PERIODS,
        funnel=charts.funnel(data),
        tools=charts.tools(data),
        given_up=sum(data.totals.get(counts.ABANDONED, {}).values()),
        failed=sum(data.totals.get(counts.FAILED, {}).values()),
        broken=broken[:BROKEN_SHOWN],
        connected=connected,
        webhooks=webhooks,
    )


async def customers(visit: Visit) -> Response:
    """List the newest customers, or those whose integrations do not work."""
    broken, asked = visit.query("show") == "broken", visit.query("before")
    before = int(asked[:19]) if asked.isdecimal() else None
    found, has_more, last = await visit.desk.support.customers.newest(broken=broken, before=before)
    return visit.page("customers.html", found=found, has_more=has_more, last=last, broken=broken, term=None)


async def search_customers(visit: Visit) -> Response:
    """Find customers. The term may be an address, which has no place in a URL."""
    term = visit.form.get("term", "")
    if not term:
        return visit.redirect("/customers")
    found, has_more = await visit.desk.support.customers.search(term)
    return visit.page("customers.html", found=found, has_more=has_more, last=None, broken=False, term=term)


async def customer(visit: Visit) -> Response:
    """Answer whether a customer has connected, what she has to do, and since when something is broken."""
    found = await visit.desk.support.customers.read(required(visit.query("id")))
    if found is None:
        raise RouteNotFound("There is no such page.")
    may_link, may_replay = await visit.may("link"), await visit.may("replay")
    settings = visit.desk.services.settings if visit.desk.services else None
    return visit.page(
        "customer.html",
        customer=found,
        may_link=may_link,
        may_replay=may_replay,
        categories=(settings and settings.allowed_categories) or CATEGORIES,
        category=settings.integration_category if settings else None,
        tools=settings.allowed_tools if settings else (),
    )


async def events(visit: Visit) -> Response:
    """Answer whether the host's handlers ran."""
    names = ("before", "type", "customer", "integration", "handler", "show")
    before, event_type, customer, integration, handler, show = (visit.query(name) or None for name in names)
    undelivered = show == "undelivered" and handler is None
    if handler or undelivered:  # such a list has no filters, and the page shows none
        event_type = customer = integration = None
    query = EventQuery(
        limit=EVENTS_SHOWN + 1,
        before=before,
        types=(event_type,) if event_type else (),
        origin_id=None if integration else customer,
        integration_id=integration,
        undelivered=undelivered,
        handler=handler,
    )
    found = await visit.desk.support.events.list(query)
    if found is None:
        raise RouteNotFound("There is no such page.")
    last = found[EVENTS_SHOWN - 1].id if len(found) > EVENTS_SHOWN else None
    asked = {name: value for name, value in visit.request.query_params.items() if name != "before"}
    return visit.page("events.html", found=found[:EVENTS_SHOWN], query=query, last=last, asked=asked)


async def event(visit: Visit) -> Response:
    """Show an event, and each handler's delivery of it."""
    found = await visit.desk.support.events.find(required(visit.query("id")))
    if found is None:
        raise RouteNotFound("There is no such page.")
    return visit.page("event.html", event=found, may_replay=await visit.may("replay"))


async def webhooks(visit: Visit) -> Response:
    """Show which webhooks Kombo sent, and which of them could not be read."""
    now, asked = visit.desk.now(), visit.query("before")
    try:
        before = now + (datetime.fromisoformat(asked) - now) if asked else None
    except (ValueError, OverflowError, TypeError):  # no time, one that UTC does not have, one without a zone
        raise RouteNotFound("There is no such page.") from None
    support = visit.desk.support
    found = await support.events.received(limit=EVENTS_SHOWN + 1, before=before)
    data = await support.overview.read(days=1, hours=24)
    return visit.page(
        "webhooks.html",
        found=found[:EVENTS_SHOWN],
        last=found[EVENTS_SHOWN - 1].received_at if len(found) > EVENTS_SHOWN else None,
        malformed=await support.events.malformed(limit=EVENTS_SHOWN),
        data=data,
    )


async def health(visit: Visit) -> Response:
    """Show what `kombo-embed check` finds."""
    findings, checked_at = await visit.desk.findings()
    order = {"error": 0, "warning": 1, "ok": 2}
    return visit.page(
        "health.html", findings=sorted(findings, key=lambda one: order[one.level]), checked_at=checked_at
    )


def _charts(data: OverviewData, *, days: int) -> tuple[list[charts.Bar], list[charts.Bar]]:
    """Return the bars of the connections per day, and of the webhooks per hour."""
    hour = data.now.replace(minute=0, second=0, microsecond=0)
    first_day, day = hour.replace(hour=0) - timedelta(days=days - 1), timedelta(days=1)
    first_hour, an_hour = hour - timedelta(hours=HOURS - 1), timedelta(hours=1)
    return (
        charts.bars(data.series[counts.CONNECTED], first=first_day, step=day, number=days),
        charts.bars(data.series[counts.WEBHOOKS], first=first_hour, step=an_hour, number=HOURS),
    )
