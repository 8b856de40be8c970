"""The endpoints: each resolves the end user, parses the request, calls the flow, and serializes the result.

`kombo_embed.web.routes` has the table that gives them their paths.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from kombo_embed.auth.callable import link_options
from kombo_embed.clock import rfc3339
from kombo_embed.core.counting import Counting
from kombo_embed.core.erasure import Eraser
from kombo_embed.core.flow import ConnectionFlow
from kombo_embed.core.importer import Importer
from kombo_embed.core.link_request import LinkChoice
from kombo_embed.core.list_tags import ListTags
from kombo_embed.core.reconcile import Reconciler
from kombo_embed.core.tools import ToolCatalogue
from kombo_embed.errors import (
    BrowserModuleMissing,
    StoreUnavailable,
    Unauthenticated,
)
from kombo_embed.models import EndUser, LinkOptions
from kombo_embed.ports import EndUserResolver, LinkOptionsCallable
from kombo_embed.settings import Settings
from kombo_embed.store.store import Store
from kombo_embed.telemetry import Telemetry
from kombo_embed.web import queries, requests
from kombo_embed.web.bodies import LARGE_BODIES
from kombo_embed.web.responses import (
    EmbedResponse,
    LinkResponse,
    json_response,
    json_response_with_etag,
    not_modified,
    prefetch_response,
    response_with_etag,
)
from kombo_embed.web.schemas import EndUserAction, serialize_integration, serialize_integrations
from kombo_embed.web.webhook_rejections import WebhookRejections

BROWSER_MODULES = ("kombo-embed.js", "kombo-integrations.js")

logger = logging.getLogger("kombo_embed.web")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the endpoints work with, built by `kombo_embed.composition`."""

    settings: Settings
    flow: ConnectionFlow
    list_tags: ListTags
    catalogue: ToolCatalogue
    store: Store
    end_user: EndUserResolver
    link_options: LinkOptionsCallable | None
    default_link_options: LinkOptions
    browser_modules: Mapping[str, bytes]  # by file name; none if the installation was built without npm
    openapi: Mapping[str, object]
    reconciler: Reconciler
    counting: Counting
    eraser: Eraser
    importer: Importer
    is_redis_up: Callable[[], bool] | None  # None without Redis
    webhook_rejections: WebhookRejections
    telemetry: Telemetry
    run_due: Callable[[], Awaitable[bool]]  # for the tests of hosts, see `KomboEmbed.run_due`
    large_bodies: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_BODIES))


async def issue_link(services: Services, request: Request) -> Response:
    """Issue a connection link to the signed-in end user."""
    end_user = await _end_user(services, request)
    choice = await requests.parse_link_choice(request)
    options = await _link_options(services, request, end_user)
    issued = await services.flow.issue_link(end_user, choice, options)
    return prefetch_response(issued) if choice.prefetch else LinkResponse(issued)


async def complete_flow(services: Services, request: Request) -> Response:
    """Record the integration that a finished flow created."""
    end_user = await _end_user(services, request)
    body = await requests.parse_json(request, requests.CompletionBody)
    completion = await services.flow.complete(end_user, body.activation_token)
    content = {"integration": serialize_integration(completion.integration)}
    return json_response(content, status=201 if completion.first else 200)


async def list_integrations(services: Services, request: Request) -> Response:
    """List the organization's integrations, a page at a time."""
    end_user = await _end_user(services, request)
    query = queries.parse_integration_query(request)
    known = services.list_tags.find(end_user.origin_id, query)
    if known is not None and (unchanged := not_modified(request, known)) is not None:
        return unchanged
    remember = services.list_tags.before_read(end_user.origin_id, query)
    page = await services.flow.list_integrations(end_user, query)
    actions: list[EndUserAction] = ["disconnect"] if services.settings.allow_disconnect else []
    response = json_response_with_etag(request, serialize_integrations(page, actions=actions))
    remember(response.headers["etag"])
    return response


async def get_integration(services: Services, request: Request) -> Response:
    """Get one of the organization's integrations."""
    end_user = await _end_user(services, request)
    integration = await services.flow.integration(end_user, request.path_params["id"])
    return json_response_with_etag(request, {"integration": serialize_integration(integration)})


async def issue_relink(services: Services, request: Request) -> Response:
    """Issue a link that renews an integration's credentials."""
    end_user = await _end_user(services, request)
    body = await requests.parse_json(request, requests.RelinkBody)
    choice = LinkChoice(language=body.language, fresh=body.fresh)
    options = await _link_options(services, request, end_user)
    public_id = request.path_params["id"]
    return LinkResponse(await services.flow.issue_relink(end_user, public_id, choice, options))


async def issue_setup_link(services: Services, request: Request) -> Response:
    """Issue a link to an integration's remaining setup steps."""
    end_user = await _end_user(services, request)
    body = await requests.parse_json(request, requests.RelinkBody)
    choice = LinkChoice(language=body.language, fresh=body.fresh)
    return LinkResponse(await services.flow.issue_setup_link(end_user, request.path_params["id"], choice))


async def disconnect(services: Services, request: Request) -> Response:
    """Delete an integration, at Kombo too."""
    end_user = await _end_user(services, request)
    await requests.parse_json(request, requests.EmptyBody)
    await services.flow.disconnect(end_user, request.path_params["id"])
    return EmbedResponse(status_code=204)


async def list_tools(services: Services, request: Request) -> Response:
    """List the tools of a category."""
    end_user = await _end_user(services, request)
    category = queries.parse_category(request, services.settings)
    tools = await services.catalogue.list_tools(category)
    connected = await services.flow.connected_tools(end_user, category)
    content = [
        {"id": tool.id, "label": tool.label, "logo_url": tool.logo_url, "connected": tool.id in connected}
        for tool in tools
    ]
    return json_response_with_etag(request, {"tools": content})


def load_browser_modules() -> Mapping[str, bytes]:
    """Return the browser modules of this installation; none of them if it was built without npm."""
    folder = resources.files("kombo_embed") / "web/static"
    files = [folder / name for name in BROWSER_MODULES]
    if all(file.is_file() for file in files):
        return {file.name: file.read_bytes() for file in files}
    remedy = "install Node.js, then install kombo-embed again"
    logger.warning("browser_module.missing", extra={"remedy": remedy})
    return {}


async def serve_browser_module(services: Services, request: Request) -> Response:
    """Get the browser module: the functions and the button."""
    return _browser_module(services, request, name="kombo-embed.js")


async def serve_integrations_module(services: Services, request: Request) -> Response:
    """Get the browser module of the list of integrations; it imports the first one."""
    return _browser_module(services, request, name="kombo-integrations.js")


def _browser_module(services: Services, request: Request, *, name: str) -> Response:
    module = services.browser_modules.get(name)
    if module is None:
        raise BrowserModuleMissing(
            "kombo-embed was installed without its browser module, because npm was missing. "
            "Install Node.js, then install kombo-embed again."
        )
    media_type = "text/javascript; charset=utf-8"
    response = response_with_etag(request, module, media_type=media_type)
    # It is the same for everyone: browsers may store it, and revalidate it by its entity tag.
    response.headers["Cache-Control"] = "no-cache"
    return response


async def serve_openapi(services: Services, request: Request) -> Response:
    """Get this document."""
    return json_response_with_etag(request, services.openapi)


async def check_health(services: Services, request: Request) -> Response:
    """Check whether the database and Redis can be reached, and when the last webhook arrived.

    Does not call Kombo.
    """
    del request
    is_up = services.is_redis_up
    checks = {} if is_up is None else {"redis": "ok" if is_up() else "gone"}
    status, code, last_received_at = "degraded" if "gone" in checks.values() else "ok", 200, None
    try:
        last_received_at = await services.store.check()
        checks = {"store": "ok", **checks}
    except StoreUnavailable:
        status, code, checks = "failing", 503, {"store": "failing", **checks}
    arrivals = {
        "configured": bool(services.settings.webhook_secret),
        "last_received_at": rfc3339(last_received_at) if last_received_at else None,
    }
    return json_response({"status": status, "checks": checks, "webhooks": arrivals}, status=code)


async def _end_user(services: Services, request: Request) -> EndUser:
    end_user = await services.end_user(request)
    if end_user is None:
        raise Unauthenticated
    return end_user


async def _link_options(services: Services, request: Request, end_user: EndUser) -> LinkOptions:
    if services.link_options is None:
        return services.default_link_options
    options = await link_options(services.link_options, request, end_user)
    return options.over(services.default_link_options)
