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
from kombo_embed.web.headers import header_table, header_values

OWN_SITES = (b"same-origin", b"none")
DEFAULT_PORTS = {"http": "80", "https": "443"}
HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(:(?P<port>[1-9][0-9]{0,4}))?")
ORIGIN = re.compile(rf"(?P<scheme>https?)://{HOST.pattern}", re.IGNORECASE)  # RFC 6454, 6.2


def verify_origin(connection: HTTPConnection, allowed: Collection[str]) -> None:
    """Return if the request comes from this origin, an allowed one, or no browser.

    Raises:
        CrossOriginRefused: It comes from another site's page.
    """
    table = header_table(connection)
    if table.get(b"sec-fetch-site") in OWN_SITES and len(table) == len(connection.scope["headers"]):
        return  # as nearly always: said by the browser, and no header stands there twice
    sites = header_values(connection, b"sec-fetch-site")
    if sites in (["same-origin"], ["none"]):
        return
    origins = header_values(connection, b"origin")
    if len(origins) == 1 and origins[0] in allowed:
        return
    if not sites and (not origins or _is_own(origins, header_values(connection, b"host"))):
        return
    raise CrossOriginRefused(
        "This page may not call this endpoint. If it is yours, add its origin to KOMBO_ALLOWED_ORIGINS."
    )


def _is_own(origins: list[str], hosts: list[str]) -> bool:
    theirs = ORIGIN.fullmatch(origins[0]) if len(origins) == 1 else None
    own = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if theirs is None or own is None:
        return False
    # Without a port, Host means the default one of whatever scheme the browser used.
    default = DEFAULT_PORTS[theirs["scheme"].lower()]
    same_port = (theirs["port"] or default) == (own["port"] or default)
    return same_port and theirs["host"].lower() == own["host"].lower()
