"""Requests as bytes, with what a browser sends."""

from __future__ import annotations

import json
from collections.abc import Mapping

from benchmarks.people import SESSION_COOKIE, session_cookie

LINKS = "/kombo/links"
WEBHOOKS = "/kombo/webhooks"
BROWSER = {
    "Host": "app.example",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "application/json",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Origin": "https://app.example",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
    "Content-Type": "application/json",
}
SENDER = {"Host": "app.example", "User-Agent": "node", "Accept": "*/*", "Content-Type": "application/json"}


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole POST request."""
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def ask_for_link(number: int = 1, **choice: object) -> bytes:
    """An end user with a session asks for a link."""
    cookie = {"Cookie": f"{SESSION_COOKIE}={session_cookie(number)}"}
    return post(LINKS, json.dumps(choice).encode(), {**BROWSER, **cookie})


def ask_for_link_with_token(token: str) -> bytes:
    """An end user with a bearer token asks for a link."""
    return post(LINKS, b"{}", {**BROWSER, "Authorization": f"Bearer {token}"})
