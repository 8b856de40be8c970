"""The files of the pages."""

from __future__ import annotations

from importlib.resources import files

from starlette.responses import Response

from kombo_embed.console.visit import Visit

FILES = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


async def serve(visit: Visit) -> Response:
    """Return a file. Browsers keep it for five minutes."""
    name = visit.request.scope["path"].rpartition("/")[2]
    content = (files("kombo_embed.console") / "static" / name).read_bytes()
    return Response(content, headers={"Cache-Control": "private, max-age=300"}, media_type=FILES[name])
