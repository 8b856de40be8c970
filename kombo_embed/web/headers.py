"""A request's headers as they came.

Names are in lower case, as servers give them (ASGI, HTTP connection scope).
"""

from __future__ import annotations

from starlette.requests import HTTPConnection

_TABLE = "kombo_embed.headers"


def header_table(connection: HTTPConnection) -> dict[bytes, bytes]:
    """Each header's first value, made once for each request: looking one up is cheaper than reading all."""
    table: dict[bytes, bytes] | None = connection.scope.get(_TABLE)
    if table is None:
        table = connection.scope[_TABLE] = dict(reversed(list(connection.scope["headers"])))
    return table


def header_value(connection: HTTPConnection, name: bytes) -> str | None:
    """The header's first value."""
    value = header_table(connection).get(name)
    return None if value is None else value.decode("latin-1")


def header_values(connection: HTTPConnection, name: bytes) -> list[str]:
    """All values of the header, in their order."""
    return [str(value, "latin-1") for key, value in connection.scope["headers"] if key == name]
