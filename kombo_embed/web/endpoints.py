"""Our endpoints: each asks who is there, reads the body, calls the flow, and answers.

`kombo_embed.web.routes` has the table that gives them their paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from kombo_embed.auth.callable import link_options
from kombo_embed.core.flow import ConnectionFlow
from kombo_embed.core.link_request import LinkChoice
from kombo_embed.core.reconcile import Reconciler
from kombo_embed.core.tools import ToolCatalogue
from kombo_embed.errors import (
    BrowserModuleMissing,
    StoreUnavailable,
    Unauthenticated,
)
from kombo_embed.kombo import webhooks
from kombo_embed.models import CacheStatus, EndUser, IssuedLink, LinkOptions
from kombo_embed.ports import EndUserResolver, LinkOptionsCallable
from kombo_embed.settings import Settings
from kombo_embed.store.store import Store
from kombo_embed.web.headers import header_value
from kombo_embed.web.requests import (
    WEBHOOK_MAX_BYTES,
    CompletionBody,
    NoBody,
    RelinkBody,
    read_body,
    read_category,
    read_choice,
    read_json,
)
from kombo_embed.web.responses import HEADERS, NoContent, ReadyAnswer, answer, tagged, tagged_answer
from kombo_embed.web.shown import show

HIT = b"kombo-embed; hit; ttl=%d"  # RFC 9211
CACHE_STATUS = {
    CacheStatus.STORED: b"kombo-embed; fwd=uri-miss; stored",
    CacheStatus.COLLAPSED: b"kombo-embed; fwd=uri-miss; collapsed",
    CacheStatus.PASSED: b"kombo-embed; fwd=uri-miss",
    CacheStatus.STALE: b"kombo-embed; hit; ttl=%(ttl)d; detail=kombo-unavailable",
}
SIGNATURE = webhooks.SIGNATURE_HEADER.lower().encode()
MODULE_HEADERS = {**HEADERS, "Cache-Control": "no-cache"}  # it is nobody's: kept, and asked for by its tag


class Shared(Protocol):
    """What the processes share, and can do without for a while."""

    @property
    def is_up(self) -> bool:
        """Whether it is there."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the endpoints work with, composed by `kombo_embed.composition`."""

    settings: Settings
    flow: ConnectionFlow
    catalogue: ToolCatalogue
    store: Store
    end_user: EndUserResolver
    link_options: LinkOptionsCallable | None
    default_link_options: LinkOptions
    browser_module: bytes | None
    openapi: Mapping[str, object]
    reconciler: Reconciler
    redis: Shared | None


async def issue_link(services: Services, request: Request) -> Response:
    """``POST /links``."""
    end_user = await _signed_in(services, request)
    choice = await read_choice(request)
    options = await _options(services, request, end_user)
    return _link(await services.flow.issue_link(end_user, choice, options))


async def complete(services: Services, request: Request) -> Response:
    """``POST /completions``."""
    end_user = await _signed_in(services, request)
    body = await read_json(request, CompletionBody)
    completion = await services.flow.complete(end_user, body.activation_token)
    shown = {"integration": show(completion.integration)}
    return answer(shown, status=201 if completion.first else 200)


async def list_integrations(services: Services, request: Request) -> Response:
    """``GET /integrations``."""
    end_user = await _signed_in(services, request)
    found = await services.flow.integrations(end_user.origin_id)
    return tagged_answer(request, {"integrations": [show(integration) for integration in found]})


async def show_integration(services: Services, request: Request) -> Response:
    """``GET /integrations/{id}``."""
    end_user = await _signed_in(services, request)
    integration = await services.flow.integration(end_user, request.path_params["id"])
    return tagged_answer(request, {"integration": show(integration)})


async def issue_relink(services: Services, request: Request) -> Response:
    """``POST /integrations/{id}/relink``."""
    end_user = await _signed_in(services, request)
    body = await read_json(request, RelinkBody)
    choice = LinkChoice(language=body.language, fresh=body.fresh)
    options = await _options(services, request, end_user)
    return _link(await services.flow.issue_relink(end_user, request.path_params["id"], choice, options))


async def issue_setup_link(services: Services, request: Request) -> Response:
    """``POST /integrations/{id}/setup-link``."""
    end_user = await _signed_in(services, request)
    body = await read_json(request, RelinkBody)
    choice = LinkChoice(language=body.language, fresh=body.fresh)
    return _link(await services.flow.issue_setup_link(end_user, request.path_params["id"], choice))


async def disconnect(services: Services, request: Request) -> Response:
    """``DELETE /integrations/{id}``."""
    end_user = await _signed_in(services, request)
    await read_json(request, NoBody)
    await services.flow.disconnect(end_user, request.path_params["id"])
    return NoContent()


async def list_tools(services: Services, request: Request) -> Response:
    """``GET /tools``: with what the organisation has connected already."""
    end_user = await _signed_in(services, request)
    category = read_category(request, services.settings)
    tools = await services.catalogue.list_tools(category)
    integrations = await services.flow.integrations(end_user.origin_id)
    connected = {integration.tool for integration in integrations if integration.category in (None, category)}
    shown = [
        {"id": tool.id, "label": tool.label, "logo_url": tool.logo_url, "connected": tool.id in connected}
        for tool in tools
    ]
    return tagged_answer(request, {"tools": shown})


async def receive_webhook(services: Services, request: Request) -> Response:
    """``POST /webhooks``: answered after the commit, never before."""
    body = await read_body(request, limit=WEBHOOK_MAX_BYTES)
    secrets = [secret.get_secret_value() for secret in services.settings.webhook_secret]
    webhooks.verify_signature(body, header_value(request, SIGNATURE), secrets)
    await services.flow.apply_webhook(body)
    return NoContent()


async def serve_browser_module(services: Services, request: Request) -> Response:
    """``GET /kombo-embed.js``: the browser half, built from ``frontend_snippet/``."""
    if services.browser_module is None:
        raise BrowserModuleMissing(
            "kombo-embed was installed without its browser module, since npm was missing. "
            "Install Node.js, then install kombo-embed again."
        )
    return tagged(
        request, services.browser_module, media_type="text/javascript; charset=utf-8", headers=MODULE_HEADERS
    )


async def describe(services: Services, request: Request) -> Response:
    """``GET /openapi.json``: this table, in OpenAPI 3.1."""
    return tagged_answer(request, services.openapi)


async def report_health(services: Services, request: Request) -> Response:
    """``GET /health``: whether the database can be read, and Redis is there. Kombo is not asked."""
    del request
    redis = services.redis
    checks = {} if redis is None else {"redis": "ok" if redis.is_up else "gone"}
    try:
        await services.store.check()
    except StoreUnavailable:
        return answer({"status": "failing", "checks": {"store": "failing", **checks}}, status=503)
    status = "degraded" if "gone" in checks.values() else "ok"
    return answer({"status": status, "checks": {"store": "ok", **checks}})


async def _signed_in(services: Services, request: Request) -> EndUser:
    end_user = await services.end_user(request)
    if end_user is None:
        raise Unauthenticated
    return end_user


async def _options(services: Services, request: Request, end_user: EndUser) -> LinkOptions:
    if services.link_options is None:
        return services.default_link_options
    chosen = await link_options(services.link_options, request, end_user)
    return chosen.over(services.default_link_options)


def _link(issued: IssuedLink) -> Response:
    link, outcome, remaining = issued
    status = HIT % remaining if outcome is CacheStatus.HIT else CACHE_STATUS[outcome] % {b"ttl": remaining}
    return ReadyAnswer(link.body, cache_status=status)
