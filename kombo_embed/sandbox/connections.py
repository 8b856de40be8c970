"""What becomes of a flow, and what happens to an integration afterwards; no HTTP in here."""

from dataclasses import replace
from datetime import datetime, timedelta

from kombo_embed.sandbox import events
from kombo_embed.sandbox.clock import MovableClock
from kombo_embed.sandbox.courier import Courier
from kombo_embed.sandbox.errors import ActivationUnknown, IntegrationUnknown
from kombo_embed.sandbox.identifiers import new_activation_token, new_integration_id
from kombo_embed.sandbox.links import Links
from kombo_embed.sandbox.records import (
    Activation,
    Completion,
    Event,
    Integration,
    IntegrationOptions,
    Link,
    SetupStatus,
    Status,
)
from kombo_embed.sandbox.state import State

# Documented as "short lived", without a figure.
ACTIVATION_LIFETIME = timedelta(minutes=10)
_MILLISECOND = timedelta(milliseconds=1)


class Connections:
    """Finishes flows, exchanges activation tokens and changes integrations, telling the courier of each."""

    def __init__(self, state: State, clock: MovableClock, links: Links, courier: Courier) -> None:
        self._state = state
        self._clock = clock
        self._links = links
        self._courier = courier
        self._last_stamp: datetime | None = None

    def finish(
        self,
        link: Link,
        tool: str | None = None,
        *,
        duplicate: bool = False,
        browser_first: bool = False,
    ) -> Completion:
        """Do what an end user's successful flow does: connect makes a new integration each time.

        Args:
            link: An open link.
            tool: The chosen tool; a link that names one needs no choice.
            duplicate: Send the webhook twice.
            browser_first: Keep the webhook back until the activation token was exchanged.

        Raises:
            InputInvalid: the link is for another tool, or the tool is refused.
            IntegrationUnknown: the integration to reconnect or set up was deleted.
        """
        integration, event = self._connect(link, tool) if link.terms.kind == "connect" else self._renew(link)
        self._state.integrations[integration.id] = integration
        activation = self._activate(integration)
        self._courier.post(event, duplicate=duplicate, until=activation.token if browser_first else None)
        return Completion(activation.token, integration.id)

    def fail(self, link: Link, tool: str | None = None) -> None:
        """Do what wrong credentials do: Kombo tells of the failure, and the flow may still succeed.

        Raises:
            InputInvalid: the link is for another tool, or the tool is refused.
        """
        self._courier.post(events.connection_flow_failed(link, self._links.choose_tool(link, tool)))

    def exchange(self, activation_token: str) -> Integration:
        """Find the integration that an activation token proves.

        Raises:
            ActivationUnknown: unknown, expired, used up, or its integration was deleted.
        """
        activation = self._state.activations.get(activation_token)
        if activation is None or self._clock.now() >= activation.expires_at:
            raise ActivationUnknown("The activation token is unknown or expired.")
        integration = self._state.integrations.get(activation.integration_id)
        if integration is None:
            raise ActivationUnknown("The integration of this activation token was deleted.")
        if self._state.switches.activation_mode == "single_use":
            del self._state.activations[activation_token]
        self._courier.release(activation_token)
        return integration

    def find(self, integration_id: str) -> Integration:
        """Find an integration by its id.

        Raises:
            IntegrationUnknown: no such integration, or it was deleted.
        """
        integration = self._state.integrations.get(integration_id)
        if integration is None:
            raise IntegrationUnknown(f"There is no integration {integration_id!r}.")
        return integration

    def change_state(
        self, integration_id: str, *, status: Status | None = None, setup_status: SetupStatus | None = None
    ) -> Integration:
        """Put an integration into a state, and tell of it.

        Raises:
            IntegrationUnknown: no such integration, or it was deleted.
        """
        known = self.find(integration_id)
        integration = replace(
            known,
            status=status or known.status,
            setup_status=setup_status or known.setup_status,
            updated_at=self._stamp(),
        )
        self._state.integrations[integration.id] = integration
        self._courier.post(events.integration_state_changed(integration))
        return integration

    def set_enabled(self, integration_id: str, *, enabled: bool) -> None:
        """Switch an integration off, or on again; nothing is told where nothing changes.

        Raises:
            IntegrationUnknown: no such integration, or it was deleted.
        """
        inactive = self.find(integration_id).status == "INACTIVE"
        if inactive == enabled:
            self.change_state(integration_id, status="ACTIVE" if enabled else "INACTIVE")

    def delete(self, integration_id: str) -> None:
        """Delete an integration for ever.

        Raises:
            IntegrationUnknown: no such integration, or it was deleted already.
        """
        integration = self.find(integration_id)
        del self._state.integrations[integration.id]
        self._state.deleted_integrations.append(integration.id)
        self._courier.post(events.integration_deleted(integration, self._stamp()))

    def _connect(self, link: Link, chosen: str | None) -> tuple[Integration, Event]:
        tool = self._links.choose_tool(link, chosen)
        now = self._stamp()
        integration = Integration(
            id=new_integration_id(tool),
            tool=tool,
            category=link.terms.category,
            end_user=link.terms.end_user,
            options=link.terms.options,
            created_at=now,
            updated_at=now,
        )
        if integration.has_setup_steps:
            integration = replace(integration, setup_status="INCOMPLETE")
        return integration, events.integration_created(integration)

    def _renew(self, link: Link) -> tuple[Integration, Event]:
        known = self.find(link.terms.integration_id or "")
        integration = replace(known, updated_at=self._stamp())
        if link.terms.kind == "setup":
            integration = replace(integration, setup_status="COMPLETED")
        else:
            integration = replace(integration, status="ACTIVE", options=_renewed(known, link.terms.options))
        return integration, events.integration_state_changed(integration)

    def _activate(self, integration: Integration) -> Activation:
        expires_at = self._clock.now() + ACTIVATION_LIFETIME
        activation = Activation(new_activation_token(), integration.id, expires_at)
        self._state.activations[activation.token] = activation
        return activation

    def _stamp(self) -> datetime:
        # Times of one integration are compared with each other, so that two changes need two times, even
        # where a test's clock stands still.
        now = self._clock.now()
        if self._last_stamp and now <= self._last_stamp < now + _MILLISECOND * 1000:
            now = self._last_stamp + _MILLISECOND
        self._last_stamp = now
        return now


def _renewed(known: Integration, asked: IntegrationOptions) -> IntegrationOptions:
    scope_config_id = asked.scope_config_id or known.options.scope_config_id
    return replace(known.options, scope_config_id=scope_config_id)
