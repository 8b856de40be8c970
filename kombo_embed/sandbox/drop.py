"""Closing a connection without an answer, which ASGI has no word for."""

import httpx
from starlette.types import Receive


async def drop_connection(receive: Receive) -> None:
    """Break off the call, so that its client sees no byte of an answer.

    Under uvicorn the socket is closed. A caller in the same process gets the exception that httpx
    raises for a closed socket, so that its code cannot tell the difference.

    Raises:
        httpx.RemoteProtocolError: there is no socket to close.
    """
    # uvicorn answers 500 for any exception; the request cycle behind `receive` owns the transport.
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass
