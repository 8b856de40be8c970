"""Builds responses: JSON, links, entity tags, and the headers that every response carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from kombo_embed.clock import rfc3339
from kombo_embed.models import CacheStatus, IssuedLink
from kombo_embed.urls import origin_of

# Responses name customers or carry links: they are not stored, not sniffed, and not named in a Referer.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
CACHE_STATUS = {  # RFC 9211
    CacheStatus.HIT: "kombo-embed; hit; ttl={ttl}",
    CacheStatus.STORED: "kombo-embed; fwd=uri-miss; stored",
    CacheStatus.COLLAPSED: "kombo-embed; fwd=uri-miss; collapsed",
    CacheStatus.PASSED: "kombo-embed; fwd=uri-miss",
    CacheStatus.STALE: "kombo-embed; hit; ttl={ttl}; detail=kombo-unavailable",
}


class EmbedResponse(Response):
    """A response with `HEADERS`, as all of ours are."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Add the headers that do not change, encoded once."""
        super().init_headers(headers)
        self.raw_headers += _RAW_HEADERS


class LinkResponse(Response):
    """A link, with what the link cache did in ``Cache-Status``.

    It sets the attributes of a `Response` itself. Starlette's constructor, which encodes each header, adds
    4 % to the CPU of a cached link (measured as for `kombo_embed.web.bodies._within`).
    """

    def __init__(self, issued: IssuedLink) -> None:
        self.status_code = 200
        self.background = None
        self.body = issued.link.body
        self.raw_headers = [
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
            (b"cache-status", _cache_status(issued).encode()),
            *_RAW_HEADERS,
        ]


def prefetch_response(issued: IssuedLink) -> Response:
    """Return what a page may know about a link that it does not get: its end, and where to connect to."""
    link = issued.link
    response = json_response({"expires_at": rfc3339(link.expires_at), "link_origin": origin_of(link.link)})
    response.headers["Cache-Status"] = _cache_status(issued)
    return response


def json_response(content: Mapping[str, object], *, status: int = 200) -> Response:
    """Return a JSON response."""
    return EmbedResponse(encode_json(content), status_code=status, media_type="application/json")


def json_response_with_etag(request: Request, content: Mapping[str, object]) -> Response:
    """Return a JSON response with an entity tag, or 304 if the browser has it already."""
    return response_with_etag(request, encode_json(content), media_type="application/json")


def response_with_etag(request: Request, body: bytes, *, media_type: str) -> Response:
    """Return these bytes with an entity tag, or 304 if ``If-None-Match`` names it (RFC 9110, 13.1.2)."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    unchanged = not_modified(request, etag)
    return unchanged or EmbedResponse(body, headers={"ETag": etag}, media_type=media_type)


def not_modified(request: Request, etag: str) -> Response | None:
    """Return 304 if ``If-None-Match`` names this entity tag."""
    if not _matches(request.headers.get("if-none-match"), etag):
        return None
    return EmbedResponse(status_code=304, headers={"ETag": etag})


def encode_json(content: Mapping[str, object]) -> bytes:
    """Return compact JSON in UTF-8. A lone surrogate, which a host's own text may contain, becomes ``?``."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _cache_status(issued: IssuedLink) -> str:
    return CACHE_STATUS[issued.cache_status].format(ttl=int(issued.remaining_seconds))


def _matches(if_none_match: str | None, etag: str) -> bool:
    # The entity tag is unlike any other text, so a long list need not be split.
    return if_none_match is not None and (etag in if_none_match or if_none_match.strip() == "*")
