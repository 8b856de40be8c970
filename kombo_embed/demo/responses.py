"""The demo's responses: its pages, their files, JSON with an entity tag, and problems (RFC 9457)."""

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from http import HTTPStatus
from importlib.resources import files
from string import Template

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

PAGES = files("kombo_embed.demo") / "pages"
ASSETS = {
    path.name: path.read_bytes() for path in PAGES.iterdir() if path.name.endswith((".css", ".js", ".svg"))
}
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
NO_STORE = {**SAFE, "Cache-Control": "no-store"}


def page(name: str, *, frames_from: str, context: Mapping[str, object]) -> HTMLResponse:
    """Return one of the pages, which may frame this origin and whose scripts read ``context`` as JSON."""
    images = "'self'" if frames_from == "'none'" else f"'self' {frames_from}"  # also the tools' logos
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
        f"base-uri 'none'; frame-ancestors 'none'; frame-src {frames_from}; img-src {images}"
    )
    html = Template((PAGES / f"{name}.html").read_text(encoding="utf-8"))
    # These could end the script block that the JSON is in.
    escapes = str.maketrans({character: f"\\u{ord(character):04x}" for character in "&<>"})
    return HTMLResponse(
        html.substitute(context=json.dumps(context).translate(escapes)),
        headers={**NO_STORE, "Content-Security-Policy": policy},
    )


async def asset(request: Request) -> Response:
    """``GET /assets/{name}``, and the icon at the path that browsers request by themselves."""
    name = request.path_params.get("name", "icon.svg")
    if name not in ASSETS:
        raise HTTPException(404, "There is no such file.")
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _tagged(request, Response(ASSETS[name], media_type=media_type), cache_control="no-cache")


def tagged_json(request: Request, content: Mapping[str, object]) -> Response:
    """Return JSON with an entity tag, or 304 if the browser has it already."""
    return _tagged(request, JSONResponse(content), cache_control="no-store")


async def problem(_request: Request, error: Exception) -> Response:
    """Return an ``HTTPException`` as a problem."""
    status, detail, headers = 500, "Something went wrong.", None
    if isinstance(error, HTTPException):
        status, detail, headers = error.status_code, error.detail, error.headers
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, {**(headers or {}), **NO_STORE}, media_type="application/problem+json")


def _tagged(request: Request, response: Response, *, cache_control: str) -> Response:
    tag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    known = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if tag in known:
        response = Response(status_code=304)
    response.headers.update({**SAFE, "Cache-Control": cache_control, "ETag": tag})
    return response
