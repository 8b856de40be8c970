"""A request's headers as they came: what is looked at in each request is found without reading the others.

Names are in lower case, as servers give them (ASGI, HTTP connection scope).
"""

from __future__ import annotations

from starlette.requests import HTTPConnection


def header_value(connection: HTTPConnection, name: bytes) -> str | None:
    """The header's first value."""
    for key, value in connection.scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


def header_values(connection: HTTPConnection, name: bytes) -> list[str]:
    """All values of the header, in their order."""
    return [str(value, "latin-1") for key, value in connection.scope["headers"] if key == name]
