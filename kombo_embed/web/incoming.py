"""The way in of a request's body: most come in one piece, which is there before anybody asks for it."""

from __future__ import annotations

from starlette.types import Message, Receive

from kombo_embed.web.deadlines import Begun, begin


class Incoming:
    """A request's ``receive`` that can give the whole body at once; the host's callables read it as ever."""

    __slots__ = ("_held", "_is_taken", "_is_used", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._held: Message | Begun[Message] | None = None
        self._is_taken = False
        self._is_used = False

    def at_once(self) -> bytes | None:
        """The body, if all of it is there and nobody has read any; else None, and all is still to come."""
        if self._is_used:
            return None
        self._is_used = True
        message = begin(self._next())
        if isinstance(message, Begun) or message.get("more_body") or message["type"] != "http.request":
            self._held = message
            return None
        self._is_taken = True
        body: bytes = message.get("body", b"")
        return body

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            RuntimeError: The body was taken already.
        """
        if self._is_taken:
            raise RuntimeError("kombo-embed has read the body of this request already")
        self._is_used = True
        held, self._held = self._held, None
        if held is None:
            return await self._receive()
        return await held if isinstance(held, Begun) else held

    async def _next(self) -> Message:
        return await self._receive()  # any awaitable, says ASGI; this is a coroutine
