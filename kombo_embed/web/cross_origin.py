"""The cross-origin check: rejects requests that pages of other sites make a browser send.

``Sec-Fetch-Site`` is set by the browser, and pages cannot change it, so it decides if it is present (W3C,
Fetch Metadata). Older browsers send ``Origin``, which is compared with ``Host`` by host and port only: TLS
may end at a proxy, so the scheme proves nothing. A client that sends neither is not a browser.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.requests import HTTPConnection

from kombo_embed.errors import CrossOriginRefused

ORIGIN_MAX_LENGTH = 300  # RFC 1035 allows 253 characters in a name
DEFAULT_PORTS = {"http": "80", "https": "443"}
HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(:(?P<port>[1-9][0-9]{0,4}))?")
ORIGIN = re.compile(rf"(?P<scheme>https?)://{HOST.pattern}", re.IGNORECASE)  # RFC 6454, 6.2


def verify_origin(connection: HTTPConnection, allowed: Collection[str]) -> None:
    """Raise `CrossOriginRefused` unless the request comes from our own origin, an allowed one, or no browser.

    A header that is sent twice proves nothing.
    """
    sites = connection.headers.getlist("sec-fetch-site")
    if sites in (["same-origin"], ["none"]):
        return
    origins = connection.headers.getlist("origin")
    if len(origins) == 1 and origins[0] in allowed:
        return
    if not sites and (not origins or _is_own(origins, connection.headers.getlist("host"))):
        return
    raise CrossOriginRefused(
        "Pages of this origin may not call this endpoint. If the page is yours, add its origin to "
        "KOMBO_ALLOWED_ORIGINS."
    )


def _is_own(origins: list[str], hosts: list[str]) -> bool:
    if any(len(value) > ORIGIN_MAX_LENGTH for value in (*origins, *hosts)):
        return False
    origin = ORIGIN.fullmatch(origins[0]) if len(origins) == 1 else None
    host = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if origin is None or host is None:
        return False
    # Without a port, Host means the default port of the scheme that the browser used.
    default = DEFAULT_PORTS[origin["scheme"].lower()]
    same_port = (origin["port"] or default) == (host["port"] or default)
    return same_port and origin["host"].lower() == host["host"].lower()
