"""The pages for people: the stand-in for Kombo Connect, the state page, and the files that they load."""

import json
import mimetypes
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from kombo_embed.sandbox.catalogue import draw_tile, find_tool, read_json, tools_of
from kombo_embed.sandbox.connections import Connections
from kombo_embed.sandbox.errors import IntegrationUnknown, LinkExpired, LinkUnknown
from kombo_embed.sandbox.links import Links
from kombo_embed.sandbox.records import Link
from kombo_embed.sandbox.schemas import FlowBody, Language

# Any page may frame these, as it may frame Kombo's: no frame-ancestors, no X-Frame-Options.
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'"
    ),
}
_ASSET_HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
_STATIC = files("kombo_embed.sandbox") / "static"
_ASSETS = {path.name for path in _STATIC.iterdir() if path.name.endswith((".css", ".js", ".svg"))}
_TOOL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Pages:
    """The routes of the pages, and the two calls of the Connect page."""

    def __init__(self, links: Links, connections: Connections) -> None:
        self._links = links
        self._connections = connections

    def routes(self) -> list[Route]:
        """Return the routes of the pages."""
        return [
            Route("/", _state_page, methods=["GET"]),
            Route("/connect", self._connect_page, methods=["GET"]),
            Route("/connect/finish", self._finish, methods=["POST"]),
            Route("/connect/fail", self._fail, methods=["POST"]),
            Route("/assets/tools/{tool_id}.svg", _tile, methods=["GET"]),
            Route("/assets/{name}", _asset, methods=["GET"]),
            Route("/favicon.ico", _asset, methods=["GET"]),
        ]

    async def _connect_page(self, request: Request) -> HTMLResponse:
        # Always 200: a browser reports any other status as an error in the console of the host's page.
        language: Language = "en"
        try:
            link = self._links.find(request.query_params.get("token", ""))
            language = link.terms.language
            self._links.check_open(link)
            data = self._flow_data(link)
        except LinkExpired:
            data = {"step": "expired"}
        except (LinkUnknown, IntegrationUnknown):
            data = {"step": "unknown"}
        texts = read_json("static/texts.json")[language]
        fields = {"lang": language, "title": texts["page_title"], "data": {**data, "texts": texts}}
        return HTMLResponse(_render("connect.html", fields), headers=_PAGE_HEADERS)

    async def _finish(self, request: Request) -> JSONResponse:
        body = await FlowBody.read(request)
        completion = await self._connections.complete(body.token, body.tool)
        # The browser gets the activation token alone: the integration's id stays here.
        return JSONResponse({"activation_token": completion.activation_token}, headers=_PAGE_HEADERS)

    async def _fail(self, request: Request) -> JSONResponse:
        body = await FlowBody.read(request)
        self._connections.fail(body.token, body.tool)
        return JSONResponse({}, headers=_PAGE_HEADERS)

    def _flow_data(self, link: Link) -> dict[str, object]:
        terms = link.terms
        if terms.integration_id:
            self._connections.find(terms.integration_id)
        tools = [find_tool(terms.tool)] if terms.tool else tools_of(terms.category)
        return {
            "step": "flow",
            "token": link.token,
            "kind": terms.kind,
            "category": terms.category,
            "organization": terms.end_user.organization_name,
            "preset": terms.tool is not None,
            # The page draws the tiles itself: a list of a hundred tools makes no hundred requests.
            "tools": [
                {"id": tool.id, "label": tool.label, "initials": tool.initials, "colour": tool.colour}
                for tool in tools
            ],
        }


async def _state_page(_request: Request) -> HTMLResponse:
    return HTMLResponse(_render("state.html", {}), headers=_PAGE_HEADERS)


async def _asset(request: Request) -> Response:
    name = request.path_params.get("name", "icon.svg")
    if name not in _ASSETS:
        raise HTTPException(404)
    return Response(_read(name), media_type=mimetypes.guess_type(name)[0], headers=_ASSET_HEADERS)


async def _tile(request: Request) -> Response:
    tool_id = request.path_params["tool_id"]
    if not _TOOL_ID.fullmatch(tool_id):
        raise HTTPException(404)
    tile = draw_tile(find_tool(tool_id), black="black" in request.query_params)
    headers = _ASSET_HEADERS | {"Cache-Control": "max-age=86400", "Access-Control-Allow-Origin": "*"}
    return Response(tile, media_type="image/svg+xml", headers=headers)


def _render(name: str, fields: Mapping[str, object]) -> str:
    # The icon is part of the page: leaving the page at once would abort a request for it.
    texts = {"icon": "data:image/svg+xml," + quote(_read("icon.svg"))}
    texts |= {
        key: escape(value) if isinstance(value, str) else _script_safe(value) for key, value in fields.items()
    }
    return Template(_read(name)).substitute(texts)


def _script_safe(value: object) -> str:
    # Within a script block only these could end it or begin a comment; JSON has an escape for each.
    text = json.dumps(value)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _read(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
