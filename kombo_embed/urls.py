"""Which hosts are this machine, which URLs are safe from eavesdroppers, and which links a browser may get."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

LINK_MAX_LENGTH = 8192
NOT_IN_LINKS = re.compile(r"[\s\x00-\x1f\x7f\\]")
DEFAULT_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
    links then have the very origin to which the API key is sent over plain http already.
    """
    if len(link) > LINK_MAX_LENGTH or not link.isascii() or NOT_IN_LINKS.search(link):
        return False
    try:
        parts = urlsplit(link)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "http":
        return is_loopback(host) or is_same_origin(link, api_url)
    return parts.scheme == "https" and host != ""


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, as browsers write an origin (RFC 6454, 6.2)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def _port(parts: SplitResult) -> int | None:
    return parts.port or DEFAULT_PORTS.get(parts.scheme)
