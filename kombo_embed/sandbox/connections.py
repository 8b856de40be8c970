"""Flows and the integrations that they make: completion, activation, change and deletion. No HTTP here."""

from dataclasses import replace
from datetime import datetime, timedelta

from kombo_embed.sandbox import records, webhook_events
from kombo_embed.sandbox.errors import ActivationUnknown, IntegrationUnknown
from kombo_embed.sandbox.links import Links
from kombo_embed.sandbox.schemas import Order, SetupStatus, Status
from kombo_embed.sandbox.webhooks import WebhookSender

# Kombo documents it as "short lived", without a figure.
ACTIVATION_LIFETIME = timedelta(minutes=10)
_ACTIVATION_PAYLOAD = b'{"message":"This token is opaque, too."}'
_MILLISECOND = timedelta(milliseconds=1)


class Connections:
    """Completes flows, exchanges activation tokens, changes integrations, and sends the event of each.

    All methods that name an integration raise `IntegrationUnknown`, also if it was deleted. The two that take
    a link raise what `Links` raises.
    """

    def __init__(self, state: records.State, links: Links, sender: WebhookSender) -> None:
        self._state = state
        self._links = links
        self._sender = sender
        self._last_change: datetime | None = None

    async def complete(
        self,
        link: str,
        tool: str | None = None,
        *,
        order: Order | None = None,
        duplicate: bool = False,
        incomplete: bool = False,
    ) -> records.Completion:
        """Complete a link's flow as `Sandbox.complete` describes."""
        opened = self._links.find_open(link)
        renews = opened.terms.kind != "connect"
        integration, event = self._renew(opened) if renews else self._connect(opened, tool)
        if incomplete:
            integration = _with_setup_steps(integration)
        self._state.integrations[integration.id] = integration
        token = self._activate(integration)
        held_until = token if order == "browser_first" else None
        self._sender.send(event, duplicate=duplicate, after_exchange_of=held_until)
        if order == "webhook_first":
            await self._sender.settle()
        return records.Completion(token, integration.id)

    def fail(self, link: str, tool: str | None = None) -> None:
        """Enter wrong credentials in a link's flow, which may be completed afterwards."""
        opened = self._links.find_open(link)
        self._sender.send(
            webhook_events.connection_flow_failed(opened, self._links.choose_tool(opened, tool))
        )

    def exchange(self, activation_token: str) -> records.Integration:
        """Return the integration that an activation token proves, or raise `ActivationUnknown`."""
        activation = self._state.activations.get(activation_token)
        if activation is None or self._state.now() >= activation.expires_at:
            raise ActivationUnknown("The activation token is unknown or expired.")
        integration = self._state.integrations.get(activation.integration_id)
        if integration is None:
            raise ActivationUnknown("The integration of this activation token was deleted.")
        if self._state.switches.activation_mode == "single_use":
            del self._state.activations[activation_token]
        self._sender.release(activation_token)
        return integration

    def find(self, integration_id: str) -> records.Integration:
        """Return an integration."""
        integration = self._state.integrations.get(integration_id)
        if integration is None:
            raise IntegrationUnknown(f"There is no integration {integration_id!r}.")
        return integration

    def change_state(
        self, integration_id: str, *, status: Status | None = None, setup_status: SetupStatus | None = None
    ) -> records.Integration:
        """Change an integration's status, setup status, or both."""
        known = self.find(integration_id)
        integration = replace(
            known,
            status=status or known.status,
            setup_status=setup_status or known.setup_status,
            updated_at=self._next_change(),
        )
        self._state.integrations[integration.id] = integration
        self._sender.send(webhook_events.integration_state_changed(integration))
        return integration

    def leave_incomplete(self, integration_id: str) -> None:
        """Give an integration setup steps that are not finished, which a setup link finishes."""
        self._state.integrations[integration_id] = _with_setup_steps(self.find(integration_id))
        self.change_state(integration_id, setup_status="INCOMPLETE")

    def change_data(self, integration_id: str) -> None:
        """Report new data of an integration: docs.kombo.dev/api-reference/data-changed."""
        self._sender.send(webhook_events.data_changed(self.find(integration_id)))

    def set_enabled(self, integration_id: str, *, enabled: bool) -> None:
        """Switch an integration on or off. No event is sent if nothing changes."""
        inactive = self.find(integration_id).status == "INACTIVE"
        if inactive == enabled:
            self.change_state(integration_id, status="ACTIVE" if enabled else "INACTIVE")

    def delete(self, integration_id: str) -> None:
        """Delete an integration."""
        integration = self.find(integration_id)
        del self._state.integrations[integration.id]
        self._state.deleted_integrations.append(integration.id)
        self._sender.send(webhook_events.integration_deleted(integration, self._next_change()))

    def _connect(self, link: records.Link, chosen: str | None) -> tuple[records.Integration, records.Event]:
        tool = self._links.choose_tool(link, chosen)
        now = self._next_change()
        integration = records.Integration(
            id=f"{tool}:{records.new_id()}",
            tool=tool,
            category=link.terms.category,
            end_user=link.terms.end_user,
            options=link.terms.options,
            created_at=now,
            updated_at=now,
        )
        if integration.has_setup_steps:
            integration = replace(integration, setup_status="INCOMPLETE")
        return integration, webhook_events.integration_created(integration)

    def _renew(self, link: records.Link) -> tuple[records.Integration, records.Event]:
        known = self.find(link.terms.integration_id or "")
        integration = replace(known, updated_at=self._next_change())
        if link.terms.kind == "setup":
            integration = replace(integration, setup_status="COMPLETED")
        else:
            scope_config_id = link.terms.options.scope_config_id or known.options.scope_config_id
            options = replace(known.options, scope_config_id=scope_config_id)
            integration = replace(integration, status="ACTIVE", options=options)
        return integration, webhook_events.integration_state_changed(integration)

    def _activate(self, integration: records.Integration) -> str:
        token = records.new_jwt_lookalike(_ACTIVATION_PAYLOAD)
        now = self._state.now()
        self._state.activations[token] = records.Activation(integration.id, now + ACTIVATION_LIFETIME)
        records.forget_oldest(self._state.activations, is_over=lambda known: known.expires_at <= now)
        return token

    def _next_change(self) -> datetime:
        # Receivers compare the times of one integration, so two changes need two times, even while a test's
        # clock stands still.
        now = self._state.now()
        if self._last_change and now <= self._last_change < now + _MILLISECOND * 1000:
            now = self._last_change + _MILLISECOND
        self._last_change = now
        return now


def _with_setup_steps(integration: records.Integration) -> records.Integration:
    options = replace(integration.options, field_mapping=True)
    return replace(integration, setup_status="INCOMPLETE", options=options)
