"""Which hosts are this machine, which URLs are safe from eavesdroppers, and which links a browser may get.

Origins are as browsers write them in the ``Origin`` header (WHATWG HTML, 7.1.1; WHATWG URL, 3.5).
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

LINK_MAX_LENGTH = 8192
NOT_IN_LINKS = re.compile(r"[\s\x00-\x1f\x7f\\]")
DEFAULT_PORTS = {"http": 80, "https": 443}
# Pages of these have the origin null, or are no pages.
NO_ORIGINS = {"about", "blob", "data", "file", "ftp", "javascript", "mailto", "view-source", "ws", "wss"}
ORIGIN = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(:(?P<port>[1-9][0-9]{0,4}))?",
    re.ASCII,
)
IPV4_LIKE = re.compile(r"(.*\.)?([0-9]+|0[xX][0-9A-Fa-f]*)\.?", re.ASCII)
PORT_MAX = 65_535


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Python 3.13 and newer count IPv4-mapped IPv6 addresses, older ones do not.
    is_mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    return address.is_loopback and not is_mapped


def is_same_origin(url: str, other: str) -> bool:
    """Return whether two URLs have the same scheme, host and port (RFC 6454)."""
    try:
        origins = [(parts.scheme, parts.hostname, _port(parts)) for parts in map(urlsplit, (url, other))]
    except ValueError:
        return False
    return origins[0] == origins[1] and bool(origins[0][1])


def is_private_url(url: str) -> bool:
    """Return whether nothing between can read or change the traffic: https, or http on this machine.

    A URL with credentials in it does not count.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.password is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_safe_link(link: str, *, api_url: str) -> bool:
    """Return whether a browser may get this URL of Kombo's: https, or http for the sandbox.

    The sandbox is on this machine, or it is the configured API itself, for example in another container: its
    links then have the very origin to which the API key is sent over plain http already. A URL that browsers
    cannot parse does not count: Kombo's SDK would refuse every later one, too. Nor does one with credentials.
    """
    if len(link) > LINK_MAX_LENGTH or not link.isascii() or NOT_IN_LINKS.search(link):
        return False
    try:
        parts = urlsplit(link)
        parse_origin(f"{parts.scheme}://{parts.netloc}")
    except ValueError:
        return False
    if parts.scheme == "http":
        return is_loopback(parts.hostname or "") or is_same_origin(link, api_url)
    return parts.scheme == "https"


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, as browsers write an origin (RFC 6454, 6.2)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


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


def _port(parts: SplitResult) -> int | None:
    return parts.port or DEFAULT_PORTS.get(parts.scheme)


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
