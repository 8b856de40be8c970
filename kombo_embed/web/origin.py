"""Refuses what other sites make a browser send here.

``Sec-Fetch-Site`` is set by the browser and cannot be set by a page, so it decides where it is there (W3C,
Fetch Metadata); older browsers send ``Origin``, which is compared with ``Host`` by host and port: TLS may end
in front of us, so the scheme says nothing. A client that sends neither is no browser.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.requests import HTTPConnection

from kombo_embed.errors import CrossOriginRefused
from kombo_embed.web.headers import header_values

DEFAULT_PORTS = {"http": "80", "https": "443"}
HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(:(?P<port>[1-9][0-9]{0,4}))?")
ORIGIN = re.compile(rf"(?P<scheme>https?)://{HOST.pattern}", re.IGNORECASE)  # RFC 6454, 6.2


def verify_origin(connection: HTTPConnection, allowed: Collection[str]) -> None:
    """Return if the request comes from this origin, an allowed one, or no browser.

    Raises:
        CrossOriginRefused: It comes from another site's page.
    """
    origins = header_values(connection, b"origin")
    sites = header_values(connection, b"sec-fetch-site")
    if len(origins) == 1 and origins[0] in allowed:
        return
    if sites:
        if sites in (["same-origin"], ["none"]):
            return
    elif not origins or (len(origins) == 1 and _is_own(origins[0], header_values(connection, b"host"))):
        return
    raise CrossOriginRefused(
        "This page may not call this endpoint. If it is yours, add its origin to KOMBO_ALLOWED_ORIGINS."
    )


def _is_own(origin: str, hosts: list[str]) -> bool:
    theirs = ORIGIN.fullmatch(origin)
    own = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if theirs is None or own is None:
        return False
    # Without a port, Host means the default one of whatever scheme the browser used.
    default = DEFAULT_PORTS[theirs["scheme"].lower()]
    same_port = (theirs["port"] or default) == (own["port"] or default)
    return same_port and theirs["host"].lower() == own["host"].lower()
