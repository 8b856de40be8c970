"""Origins, as browsers write them in the ``Origin`` header (WHATWG HTML, 7.1.1; WHATWG URL, 3.5)."""

import difflib
import ipaddress
import re

from kombo_embed.urls import DEFAULT_PORTS

# Pages of these have the origin null, or are no pages.
NO_ORIGINS = {"about", "blob", "data", "file", "ftp", "javascript", "mailto", "view-source", "ws", "wss"}
ORIGIN = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(:(?P<port>[1-9][0-9]{0,4}))?",
    re.ASCII,
)
IPV4_LIKE = re.compile(r"(.*\.)?([0-9]+|0[xX][0-9A-Fa-f]*)\.?", re.ASCII)
PORT_MAX = 65_535


def parse_origin(value: str) -> str:
    """Return the origin as browsers write it; raise `ValueError` if no browser ever sends it."""
    match = ORIGIN.fullmatch(value)
    if match is None or int(match["port"] or 1) > PORT_MAX:
        raise ValueError("not an origin")
    scheme = match["scheme"].lower()
    if scheme in DEFAULT_PORTS:
        port = "" if match["port"] in (None, str(DEFAULT_PORTS[scheme])) else f":{match['port']}"
        return f"{scheme}://{_web_host(match['host'].lower())}{port}"
    if scheme in NO_ORIGINS or difflib.get_close_matches(scheme, DEFAULT_PORTS, cutoff=0.7):
        raise ValueError("not an origin of pages")
    return f"{scheme}{value[len(scheme) :]}"  # an app's or an extension's; its host may be case-sensitive


def _web_host(host: str) -> str:
    if host.startswith("["):
        canonical = f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
    elif IPV4_LIKE.fullmatch(host):
        canonical = str(ipaddress.IPv4Address(host))
    else:
        canonical = host if all(host.removesuffix(".").split(".")) else ""
    if host != canonical:
        raise ValueError("not a host as browsers write it")
    return host
