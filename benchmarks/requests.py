"""The requests of browsers and of Kombo as bytes, with made-up end users, secrets and events."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import time
from collections.abc import Mapping

import itsdangerous
from joserfc import jwt
from joserfc.jwk import RSAKey

LINKS, WEBHOOKS, COMPLETIONS = "/kombo/links", "/kombo/webhooks", "/kombo/completions"
SIGNATURE = "X-Kombo-Signature"
API_KEY, WEBHOOK_SECRET, SESSION_SECRET = "ks_dev_made-up", "whsec_made-up", "made-up, one for all apps"
ISSUER, AUDIENCE = "https://login.example", "kombo-embed-benchmarks"
SENDER = {"Host": "app.example", "User-Agent": "node", "Accept": "*/*", "Content-Type": "application/json"}
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


def person(number: int) -> dict[str, str]:
    """Return the session's user mapping of one end user."""
    return {
        "email": f"person-{number}@customer-{number}.example",
        "organization_name": f"Customer {number}",
        "organization_id": f"org_{number:09}",
    }


def event(event_type: str, number: int, data: Mapping[str, object]) -> bytes:
    """Return the body of an event about one integration."""
    data = {"integration_id": f"personio:{number:024}", "id": f"personio:{number:024}", **data}
    return json.dumps({"id": f"{event_type}-{number:012}", "type": event_type, "data": data}).encode()


def sign(body: bytes) -> str:
    """Return Kombo's signature of a body (docs.kombo.dev/webhooks)."""
    digest = hmac.digest(WEBHOOK_SECRET.encode(), body, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def created_event(number: int, filler_bytes: int = 0) -> bytes:
    """Return the body of an event: one more organization has connected a tool."""
    user = person(number)
    end_user = {
        "origin_id": user["organization_id"],
        "creator_email": user["email"],
        "organization_name": user["organization_name"],
    }
    data = {"tool": "personio", "category": "HRIS", "end_user": end_user, "scopes": "x" * filler_bytes}
    return event("integration-created", number, data)


def webhook(number: int, body: bytes | None = None, *, signed: bool = True) -> bytes:
    """Return the delivery of an event, by default of a `created_event` of 2 KB."""
    body = created_event(number, filler_bytes=1600) if body is None else body
    return post(WEBHOOKS, body, {**SENDER, SIGNATURE: sign(body if signed else b"")})


def link_request(number: int = 1, body: bytes = b"{}") -> bytes:
    """Return the request of an end user with a session for a link."""
    return post(LINKS, body, {**BROWSER, **session_cookie(number)})


def completion(number: int) -> bytes:
    """Return the completion of an end user's flow; the fake Kombo reads the owner from the token."""
    body = json.dumps({"activation_token": f"{person(number)['organization_id']}.{number:020}"})
    return post(COMPLETIONS, body.encode(), {**BROWSER, **session_cookie(number)})


def session_cookie(number: int) -> dict[str, str]:
    """Return the header with which Starlette's SessionMiddleware signs an end user in."""
    entries = base64.b64encode(json.dumps({"user": person(number)}).encode())
    return {"Cookie": f"session={itsdangerous.TimestampSigner(SESSION_SECRET).sign(entries).decode()}"}


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return a whole POST request."""
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


@functools.cache
def issuer_key() -> RSAKey:
    """Return the key of the made-up issuer of bearer tokens."""
    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": "bench"})


def link_request_with_token(*, forged: bool = False) -> bytes:
    """Return the request of an end user with a bearer token for a link."""
    now, header = int(time.time()), {"alg": "RS256", "kid": "bench", "typ": "JWT"}
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "1", "iat": now, "exp": now + 24 * 3600, **person(1)}
    signed, _, signature = jwt.encode(header, claims, issuer_key()).rpartition(".")
    token = f"{signed}.{signature[::-1] if forged else signature}"
    return post(LINKS, b"{}", {**BROWSER, "Authorization": f"Bearer {token}"})
