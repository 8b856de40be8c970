"""How the demo answers: its pages, their files, JSON with an entity tag, and problems (RFC 9457)."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from http import HTTPStatus
from importlib.resources import files
from string import Template

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

PAGES = files("kombo_embed.demo") / "pages"
ASSETS = {
    path.name: path.read_bytes() for path in PAGES.iterdir() if path.name.endswith((".css", ".js", ".svg"))
}
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}


def page(name: str, *, frames_from: str, context: Mapping[str, object]) -> HTMLResponse:
    """One of the pages, with what its scripts need to know.

    Args:
        name: The file, without ``.html``.
        frames_from: Whose pages it may show in a frame: the Connect page's origin.
        context: Given to the page's scripts as JSON.
    """
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        f"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; frame-src {frames_from}"
    )
    html = Template((PAGES / f"{name}.html").read_text(encoding="utf-8"))
    headers = {**SAFE, "Cache-Control": "no-store", "Content-Security-Policy": policy}
    return HTMLResponse(html.substitute(context=_script_safe(context)), headers=headers)


async def asset(request: Request) -> Response:
    """``GET /assets/{name}``, and the icon where browsers look for it unasked."""
    name = request.path_params.get("name", "icon.svg")
    if name not in ASSETS:
        raise HTTPException(404, "There is no such file.")
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _tagged(request, ASSETS[name], media_type=media_type, cache_control="no-cache")


def tagged_json(request: Request, content: Mapping[str, object]) -> Response:
    """JSON with an entity tag; 304 where the browser has just this already."""
    body = json.dumps(content, ensure_ascii=False).encode()
    return _tagged(request, body, media_type="application/json", cache_control="no-store")


async def problem(request: Request, error: Exception) -> Response:
    """An ``HTTPException`` as a problem."""
    del request
    status, detail, headers = 500, "Something went wrong.", None
    if isinstance(error, HTTPException):
        status, detail, headers = error.status_code, error.detail, error.headers
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(
        json.dumps(body),
        status_code=status,
        headers={**(headers or {}), **SAFE, "Cache-Control": "no-store"},
        media_type="application/problem+json",
    )


def _tagged(request: Request, body: bytes, *, media_type: str, cache_control: str) -> Response:
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**SAFE, "Cache-Control": cache_control, "ETag": tag}
    known = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if tag in known:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)


def _script_safe(content: Mapping[str, object]) -> str:
    """JSON that cannot end the script block that it stands in."""
    text = json.dumps(content)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
