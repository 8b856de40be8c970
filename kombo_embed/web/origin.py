"""Refuses what other sites make a browser send here.

``Sec-Fetch-Site`` is set by the browser and cannot be set by a page, so it decides where it is there (W3C,
Fetch Metadata); older browsers send ``Origin``, which is compared with ``Host`` by host and port: TLS may end
in front of us, so the scheme says nothing. A client that sends neither is no browser.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from kombo_embed.errors import CrossOriginRefused

DEFAULT_PORTS = {"http": 80, "https": 443}


def verify_origin(connection: HTTPConnection, allowed: Collection[str]) -> None:
    """Return if the request comes from this origin, an allowed one, or no browser.

    Raises:
        CrossOriginRefused: It comes from another site's page.
    """
    origin = connection.headers.get("origin")
    if origin is not None and origin.lower() in allowed:
        return
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        if site in {"same-origin", "none"}:
            return
    elif origin is None or _is_own(origin, connection.headers.get("host", "")):
        return
    raise CrossOriginRefused(
        "This page may not call this endpoint. If it is yours, add its origin to KOMBO_ALLOWED_ORIGINS."
    )


def _is_own(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
        own = urlsplit(f"//{host}")
        ports = parts.port, own.port
    except ValueError:
        return False
    default = DEFAULT_PORTS.get(parts.scheme)
    if default is None or not parts.hostname:
        return False
    # Without a port, Host means the default one of whatever scheme the browser used.
    return parts.hostname == own.hostname and (ports[0] or default) == (ports[1] or default)
