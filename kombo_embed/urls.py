"""Which hosts are this machine, and which URLs are safe from eavesdroppers."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

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


def _port(parts: SplitResult) -> int | None:
    return parts.port or DEFAULT_PORTS.get(parts.scheme)
