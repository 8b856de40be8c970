"""``KOMBO_AUTH=session``: the end user is in the session, and a forged cookie causes no error."""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import itsdangerous
import pytest
from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request, cookie_parser
from starlette.responses import Response
from starlette.routing import Route

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.auth.logged import logged_reason
from tests.support import make_settings, minted, running

SECRET_KEY = "a-key-of-the-host's"
ADA = {"email": "ada@acme.example", "organization_name": "Acme", "organization_id": "acme"}


def cookie(session: Any, *, key: str = SECRET_KEY) -> str:
    """A session cookie as Starlette signs it."""
    signer = itsdangerous.TimestampSigner(key)
    return signer.sign(base64.b64encode(json.dumps(session).encode())).decode()


async def log_in(request: Request) -> Response:
    request.session["user"] = await request.json()
    return Response()


@asynccontextmanager
async def host(
    kombo: httpx.AsyncBaseTransport, *, with_sessions: bool = True, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    embed = KomboEmbed(settings=make_settings(auth="session", **settings), http_transport=kombo)
    app = Starlette(routes=[Route("/log-in", log_in, methods=["POST"])])
    embed.install(app)
    if with_sessions:
        app.add_middleware(SessionMiddleware, secret_key=SECRET_KEY)
    async with running(app) as client:
        yield client


async def ask(client: httpx.AsyncClient, header: str | bytes) -> httpx.Response:
    header = header.encode("latin-1", "replace") if isinstance(header, str) else header
    return await client.post("/kombo/links", json={}, headers={b"Cookie": header})


async def test_only_a_signed_in_end_user_gets_a_link(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    async with host(kombo) as client:
        answer = await client.post("/kombo/links", json={})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert "WWW-Authenticate" not in answer.headers  # there is no scheme to sign in with
        await client.post("/log-in", json=ADA)
        assert (await client.post("/kombo/links", json={})).status_code == 200
        assert minted(sandbox) == 1


@pytest.mark.parametrize(
    "session", [{}, {"user": None}, {"user": {}}, {"user": ""}, {"user": []}, {"other": ADA}], ids=str
)
async def test_a_session_without_an_entry_is_not_signed_in(
    session: Any, kombo: httpx.AsyncBaseTransport
) -> None:
    async with host(kombo) as client:
        assert (await ask(client, f"session={cookie(session)}")).status_code == 401


async def test_the_entry_and_the_claims_are_named_by_the_settings(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    paths: dict[str, Any] = {
        "session_key": "profile",
        "claim_email": "contact.email",
        "claim_organization_name": "https://acme.example/org.name",
        "claim_origin_id": "https://acme.example/org.id",
    }
    profile = {
        "contact": {"email": "ada@acme.example"},
        "https://acme.example/org": {"name": "Acme", "id": 7},
    }
    async with host(kombo, **paths) as client:
        answer = await ask(client, f"session={cookie({'profile': profile})}")
        flow = await sandbox.complete(answer.json()["link"], "personio")
        done = await client.post(
            "/kombo/completions",
            json={"activation_token": flow.activation_token},
            headers={"Cookie": f"session={cookie({'profile': profile})}"},
        )
    assert done.status_code == 201


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("ada", "the session's 'user' (KOMBO_SESSION_KEY) must be a mapping, not str"),
        ([ADA], "must be a mapping, not list"),
        (7, "must be a mapping, not int"),
        ({**ADA, "email": None}, "there is no 'email', where KOMBO_CLAIM_EMAIL says to look"),
        ({"email": "ada@acme.example", "organization_id": 7}, "KOMBO_CLAIM_ORGANIZATION_NAME"),
        ({**ADA, "organization_id": None}, "KOMBO_CLAIM_ORIGIN_ID"),
        ({**ADA, "organization_id": True}, "EndUser.origin_id must be a string, not bool"),
        ({**ADA, "organization_id": 1.5}, "EndUser.origin_id must be a string, not float"),
        ({**ADA, "organization_id": "  "}, "EndUser.origin_id must not be empty"),
        ({**ADA, "email": "hidden-person"}, "EndUser.email is not an email address"),
        ({**ADA, "organization_name": ["hidden-person"]}, "EndUser.organization_name must be a string"),
    ],
    ids=str,
)
async def test_an_incomplete_identity_is_an_error_of_the_host_and_the_log_names_the_claim(
    entry: Any,
    reason: str,
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with host(kombo) as client:
        answer = await ask(client, f"session={cookie({'user': entry})}")
    assert (answer.status_code, answer.json()["code"]) == (500, "identity_error")
    logged = logged_reason(caplog)
    assert reason in logged
    for text in (logged, answer.text):
        assert "acme.example" not in text
        assert "hidden-person" not in text
    assert "CLAIM" not in answer.text
    assert minted(sandbox) == 0


async def test_without_the_middleware_the_log_says_how_to_add_it(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    async with host(kombo, with_sessions=False) as client:
        answer = await ask(client, f"session={cookie({'user': ADA})}")
    assert (answer.status_code, answer.json()["code"]) == (500, "identity_error")
    assert "app.add_middleware(SessionMiddleware, secret_key=...)" in logged_reason(caplog)


GOOD = cookie({"user": ADA})
COOKIES = int(os.environ.get("MUTATED_COOKIES", "1000"))  # `make soak` sets more
VALUE, STAMP, SIGNATURE = GOOD.split(".")
FORGED = {
    "another key": cookie({"user": ADA}, key="guessed"),
    "an empty key": cookie({"user": ADA}, key=""),
    "no signature": VALUE,
    "an empty signature": f"{VALUE}.{STAMP}.",
    "no time": f"{VALUE}.{SIGNATURE}",
    "another time": f"{VALUE}.{'A' * len(STAMP)}.{SIGNATURE}",
    "another value": f"{cookie({'user': {**ADA, 'organization_id': 'x'}}).split('.')[0]}.{STAMP}.{SIGNATURE}",
    "truncated": GOOD[:-9],
    "doubled": GOOD + GOOD,
    "too long": GOOD + "A" * 100_000,
    "a very long value": "A" * 100_000 + GOOD,
    "many dots": "." * 10_000,
    "empty": "",
    "quoted": f'"{GOOD[:-2]}"',
    "not ASCII": GOOD[:-3] + "\u00e9\u00ff",
    "control characters": GOOD[:-3] + "\x01\x7f",
    "the word null": "null",
    "octal escapes": '"\\377\\000' + GOOD + '"',
}


async def test_a_forged_cookie_is_not_signed_in(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport) -> None:
    async with host(kombo) as client:
        for name, value in FORGED.items():
            assert (await ask(client, f"session={value}")).status_code == 401, name
        assert (await ask(client, b"session=\xff\xfe\xf0" + GOOD.encode())).status_code == 401
        # Of two cookies with one name, one counts; a forged one gains nothing.
        for header in (f"session={GOOD}; session=x", f"session=x; session={GOOD}", "session; session="):
            assert (await ask(client, header)).status_code in {200, 401}
        assert minted(sandbox) <= 1


async def test_no_mutated_cookie_is_signed_in_or_causes_an_error(
    kombo: httpx.AsyncBaseTransport, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(21)  # noqa: S311 - not for secrets
    letters = 'ABCxyz019-_.=+/;, "\\%\x01\x7f\u00e9\u00ff'
    async with host(kombo) as client:
        for _ in range(COOKIES):
            at, length = chance.randrange(len(GOOD)), chance.randrange(0, 4)
            filling = "".join(chance.choices(letters, k=chance.randrange(0, 4)))
            header = f"session={GOOD[:at]}{filling}{GOOD[at + length :]}"
            answer = await ask(client, header)
            if not is_equivalent(header):
                assert answer.status_code == 401, header
    record_property("figure", f"{COOKIES:,} cookies: 0 accepted, no 5xx")


def is_equivalent(header: str) -> bool:
    """Return whether a cookie differs from the valid one only in what base64 ignores."""
    value, _, signature = cookie_parser(header).get("session", "").rpartition(".")
    try:
        decoded = itsdangerous.encoding.base64_decode(signature.encode())
    except itsdangerous.BadData:
        return False
    return value == f"{VALUE}.{STAMP}" and decoded == itsdangerous.encoding.base64_decode(SIGNATURE)


@pytest.mark.parametrize(
    ("organizations", "expected"), [([{"id": 7}], 200), ([{"id": 7}, {"id": 8}], 500), ([], 500)], ids=str
)
async def test_a_star_in_a_claim_path_accepts_exactly_one_organization(
    organizations: Any,
    expected: int,
    kombo: httpx.AsyncBaseTransport,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with host(kombo, claim_origin_id="organizations.*.id") as client:
        entry = {**ADA, "organizations": organizations}
        answer = await ask(client, f"session={cookie({'user': entry})}")
    assert answer.status_code == expected
    if expected != 200:
        assert answer.json()["code"] == "identity_error"
        assert "'organizations.*.id', where KOMBO_CLAIM_ORIGIN_ID says to look" in logged_reason(caplog)
