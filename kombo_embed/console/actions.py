"""What people do by the forms of the pages. Each act is in the audit trail, with who did it."""

from __future__ import annotations

from starlette.responses import Response

from kombo_embed.console.visit import Visit, required
from kombo_embed.core.link_request import LinkChoice
from kombo_embed.errors import InvalidRequest, KomboEmbedError, RouteNotFound
from kombo_embed.integration import Integration
from kombo_embed.models import EndUser
from kombo_embed.store.support.customers import Customer
from kombo_embed.web.endpoints import Services


async def mint_magic_link(visit: Visit) -> Response:
    """Mint a link for a customer to connect a tool, and show it once."""
    services, customer = _services(visit), await _customer(visit)
    end_user = _end_user(visit, customer)
    choice = LinkChoice(category=visit.form.get("category") or None, tool=visit.form.get("tool") or None)
    link = await services.flow.mint_magic_link(
        end_user, choice, services.default_link_options, actor=visit.acts_as
    )
    return visit.page("link.html", link=link, customer=customer, email=end_user.email, integration=None)


async def mint_repair_link(visit: Visit) -> Response:
    """Mint a link to reconnect an integration, or to finish its setup, and show it once."""
    services, customer = _services(visit), await _customer(visit)
    integration = _integration(visit, customer)
    end_user = _end_user(visit, customer)
    scope_config_id = services.default_link_options.scope_config_id
    link = await services.flow.mint_repair_link(
        end_user, integration, scope_config_id=scope_config_id, actor=visit.acts_as
    )
    return visit.page(
        "link.html", link=link, customer=customer, email=end_user.email, integration=integration
    )


async def read_again(visit: Visit) -> Response:
    """Read an integration again from Kombo."""
    services, customer = _services(visit), await _customer(visit)
    integration = _integration(visit, customer)
    about = {"origin_id": customer.origin_id, "integration_id": integration.integration_id}
    await visit.desk.support.customers.write_audit("integration_read", actor=visit.acts_as, **about)
    is_known = await services.reconciler.read_one(integration)
    return visit.redirect("/customer", id=customer.origin_id, done="read" if is_known else "unknown")


async def replay(visit: Visit) -> Response:
    """Make an event's unfinished deliveries now."""
    event_id = required(visit.form.get("event", ""))
    found = await visit.desk.support.events.replay(event_id, actor=visit.acts_as)
    return visit.redirect("/event", id=event_id, done="replayed" if found else "nothing")


async def resend(visit: Visit) -> Response:
    """Deliver an event again, to all its handlers or to one."""
    event_id, handler = required(visit.form.get("event", "")), visit.form.get("handler") or None
    names = await visit.desk.support.events.resend(event_id, handler=handler, actor=visit.acts_as)
    return visit.redirect("/event", id=event_id, done="resent" if names else "nothing")


def _services(visit: Visit) -> Services:
    if visit.desk.services is None:
        raise RouteNotFound("There is no such page.")
    return visit.desk.services


async def _customer(visit: Visit) -> Customer:
    customer = await visit.desk.support.customers.read(required(visit.form.get("customer", "")))
    if customer is None:
        raise RouteNotFound("There is no such page.")
    return customer


def _integration(visit: Visit, customer: Customer) -> Integration:
    for one in customer.integrations:
        if one.public_id == visit.form.get("integration") and one.integration_id not in customer.deleted_at:
            return one
    raise RouteNotFound("There is no such page.")


def _end_user(visit: Visit, customer: Customer) -> EndUser:
    """Return the recipient of a link: an address that is recorded for this customer, and no other one."""
    email = visit.form.get("email", "")
    if email not in customer.emails:
        raise InvalidRequest("No link may be sent to this address: it is not recorded for the customer.")
    name = customer.name or visit.form.get("name", "")
    if not name:
        raise InvalidRequest("Enter the name of the customer: none is recorded.")
    try:
        return EndUser(email=email, organization_name=name, origin_id=customer.origin_id)
    except KomboEmbedError:
        raise InvalidRequest("Kombo does not take this name or address.") from None
