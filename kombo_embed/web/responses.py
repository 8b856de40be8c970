"""Answers as JSON, with the headers that all of ours carry, and entity tags."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

# Answers name customers or carry links: nothing keeps them, nothing guesses at them, no address travels on.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class ReadyAnswer(Response):
    """A JSON answer whose bytes are there already: nothing is left to encode but its length.

    Args:
        body: The JSON.
        cache_status: What the link cache did (RFC 9211).
    """

    def __init__(self, body: bytes, *, cache_status: bytes) -> None:
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [
            *_RAW_HEADERS,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-status", cache_status),
        ]


class NoContent(Response):
    """The answer without a body to what was done: 204."""

    def __init__(self) -> None:
        self.status_code = 204
        self.background = None
        self.body = b""
        self.raw_headers = [*_RAW_HEADERS]  # its own: middlewares add to it


def answer(
    content: Mapping[str, object], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer."""
    return Response(
        encoded(content),
        status_code=status,
        headers={**HEADERS, **(headers or {})},
        media_type="application/json",
    )


def tagged_answer(request: Request, content: Mapping[str, object]) -> Response:
    """A JSON answer with an entity tag; 304 without a body where the browser has it already."""
    return tagged(request, encoded(content), media_type="application/json", headers=HEADERS)


def tagged(request: Request, body: bytes, *, media_type: str, headers: Mapping[str, str]) -> Response:
    """These bytes with an entity tag, or 304 (RFC 9110, 13.1.2)."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**headers, "ETag": tag}
    if _matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)


def _matches(if_none_match: str | None, tag: str) -> bool:
    if if_none_match is None:
        return False
    given = [candidate.strip().removeprefix("W/") for candidate in if_none_match.split(",")]
    return tag in given or "*" in given


def encoded(content: Mapping[str, object]) -> bytes:
    """Compact JSON, in UTF-8; half an emoji, which a host may cut off from its words, becomes a ?."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
