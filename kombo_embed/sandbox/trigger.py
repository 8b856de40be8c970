"""Sends one webhook event to a running app, as Kombo would, without a running sandbox."""

from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from kombo_embed.sandbox import webhook_events, webhooks
from kombo_embed.sandbox.catalogue import catalogue
from kombo_embed.sandbox.records import (
    EndUserRecord,
    Event,
    Integration,
    IntegrationOptions,
    Link,
    LinkTerms,
    new_id,
)
from kombo_embed.sandbox.schemas import Category, Status

DEADLINE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event is about: an integration, its customer, and the state that it has now."""

    integration_id: str
    origin_id: str | None
    state: Status = "INVALID"

    @property
    def tool(self) -> str:
        """Return the tool, with which Kombo's ids begin."""
        return self.integration_id.partition(":")[0]


def new_integration_id() -> str:
    """Return an id in the form of Kombo's."""
    return f"personio:{new_id()}"


def build_event(event_type: str, subject: Subject) -> Event:
    """Return an event of any type; those without a documented form name the integration."""
    integration = _integration(subject)
    match event_type:
        case "integration-created":
            return webhook_events.integration_created(integration)
        case "integration-deleted":
            return webhook_events.integration_deleted(integration, integration.updated_at)
        case "integration-state-changed":
            return webhook_events.integration_state_changed(integration)
        case "connection-flow-failed":
            return webhook_events.connection_flow_failed(_link(integration), subject.tool)
    data = {"integration_id": subject.integration_id, "integration_tool": subject.tool}
    return webhook_events.new_event(event_type, data)


async def send(event: Event, *, url: str, webhook_secret: str) -> tuple[int, str]:
    """Send an event once, signed; return the receiver's status and the detail of its problem, if any.

    Raises `ConnectionError` if nothing answers.
    """
    signature = {webhooks.SIGNATURE_HEADER: webhooks.sign(event.body, webhook_secret)}
    headers = {"Content-Type": "application/json", "User-Agent": "kombo-embed-sandbox", **signature}
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_SECONDS) as client:
            response = await client.post(url, content=event.body, headers=headers)
    except httpx.HTTPError as error:
        raise ConnectionError(type(error).__name__) from None
    return response.status_code, _detail(response)


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return ""


def _integration(subject: Subject) -> Integration:
    now = datetime.now(UTC)
    return Integration(
        id=subject.integration_id,
        tool=subject.tool,
        category=_category(subject.tool),
        end_user=EndUserRecord("ada@northwind.example", "Northwind", subject.origin_id),
        options=IntegrationOptions(),
        created_at=now,
        updated_at=now,
        status=subject.state,
    )


def _category(tool: str) -> Category:
    known = catalogue().get(tool)
    return known.categories[0] if known else "HRIS"


def _link(integration: Integration) -> Link:
    terms = LinkTerms(
        kind="connect",
        link_type="EMBEDDED",
        language="en",
        end_user=integration.end_user,
        category=integration.category,
        tool=integration.tool,
        options=integration.options,
    )
    now = integration.created_at
    return Link(new_id(), "https://app.kombo.dev", terms, created_at=now, expires_at=now)
