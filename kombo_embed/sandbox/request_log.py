"""The log of the API's calls: the newest ones with their bodies, from which secrets are removed at once."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import count

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kombo_embed.sandbox.records import ApiRequest, State
from kombo_embed.sandbox.redaction import redact_body, redact_path

# What of a body is read, to be redacted as JSON, and what of the result is kept.
READ_BYTES = 65_536
KEPT_CHARACTERS = 6_000
KEPT_PATH_CHARACTERS = 300
FAULT = "kombo_sandbox.fault"  # in the scope: the mode of the fault that the call met


class RequestLog:
    """ASGI middleware that records the calls below ``/v1`` in the state.

    ``secrets`` returns the sandbox's own secrets, which are removed wherever a body contains them.
    """

    def __init__(self, app: ASGIApp, *, state: State, secrets: Callable[[], Iterable[str]]) -> None:
        self._app = app
        self._state = state
        self._secrets = secrets
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on and record it when it has ended."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        created_at, started = self._state.now(), time.perf_counter()
        try:
            await exchange.read_ahead()
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            self._record(scope, exchange, created_at=created_at, milliseconds=milliseconds)

    def _record(
        self, scope: Scope, exchange: "_Exchange", *, created_at: datetime, milliseconds: float
    ) -> None:
        secrets = {*self._secrets(), _key_of(scope)} - {""}
        request = ApiRequest(
            number=next(self._numbers),
            created_at=created_at,
            method=scope["method"],
            path=redact_path(scope["path"])[:KEPT_PATH_CHARACTERS],
            status=exchange.status,
            milliseconds=milliseconds,
            fault=scope.get(FAULT),
            request_body=exchange.request.text(secrets),
            response_body=exchange.response.text(secrets),
        )
        self._state.requests.append(request)


class _Exchange:
    """One call while it runs: passes its messages on, and keeps copies of its bodies."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._ahead: deque[Message] = deque()
        self.status: int | None = None
        self.request = _Body()
        self.response = _Body()

    @property
    def transport(self) -> object:
        """Return the server's socket, which a fault may close."""
        return getattr(getattr(self._receive, "__self__", None), "transport", None)

    async def read_ahead(self) -> None:
        """Read the request's body, also if a fault responds before the app reads it."""
        is_more = True
        while is_more and not self.request.is_long:
            message = await self._receive()
            self._ahead.append(message)
            self.request.add(message.get("body", b""))
            is_more = message.get("more_body", False)

    async def receive(self) -> Message:
        """Return the next message of the client's."""
        return self._ahead.popleft() if self._ahead else await self._receive()

    async def send(self, message: Message) -> None:
        """Send the app's next message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.response.add(message.get("body", b""))
        await self._send(message)


class _Body:
    """The beginning of a body."""

    def __init__(self) -> None:
        self._content = bytearray()
        self.is_long = False

    def add(self, part: bytes) -> None:
        """Append a part."""
        self.is_long = self.is_long or len(self._content) + len(part) > READ_BYTES
        if not self.is_long:
            self._content += part

    def text(self, secrets: Iterable[str]) -> str:
        """Return the body for people, without secrets."""
        if self.is_long:
            # Cut JSON cannot be parsed, and so not be redacted by its names.
            return f"[longer than {READ_BYTES // 1024} KiB]"
        text = redact_body(bytes(self._content), secrets=secrets)
        return text if len(text) <= KEPT_CHARACTERS else text[:KEPT_CHARACTERS] + "\n[…]"


def _key_of(scope: Scope) -> str:
    return Headers(scope=scope).get("authorization", "").partition(" ")[2].strip()
