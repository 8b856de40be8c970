"""``kombo-embed console``: a code opens it on this machine alone, and it changes nothing without --write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.types import ASGIApp

from kombo_embed.cli.console import opened
from kombo_embed.console import local
from kombo_embed.sandbox.local_only import LocalOnly, changes_something
from tests.cli.runner import run
from tests.support import API_KEY, SQLITE_URL

CODE = "ABCD-2345"


@asynccontextmanager
async def browser(app: ASGIApp, *, host: str = "localhost:8002") -> AsyncIterator[httpx.AsyncClient]:
    guarded = LocalOnly(local.SignIn(app, code=CODE), is_protected=changes_something, exempt="//")
    transport = httpx.ASGITransport(guarded)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        yield client


@pytest.fixture
async def app(records: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ASGIApp]:
    del records
    monkeypatch.setenv("KOMBO_DATABASE_URL", SQLITE_URL)
    async with opened(write=False) as app:
        yield app


async def test_the_code_is_typed_into_a_form_and_is_in_no_url(app: ASGIApp) -> None:
    async with browser(app) as client:
        first = await client.get("/customers")
        assert (first.status_code, "acme" in first.text) == (401, False)
        assert first.headers["x-frame-options"] == "DENY"
        signed_in = await client.post("/sign-in", data={"code": " abcd 2345 "})
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
        cookie = signed_in.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        page = await client.get("/customers")
        assert (page.status_code, "acme" in page.text) == (200, True)


async def test_a_wrong_code_opens_nothing_and_ten_of_them_end_it(app: ASGIApp) -> None:
    async with browser(app) as client:
        for _ in range(local.ATTEMPTS):
            assert (await client.post("/sign-in", data={"code": "ABCD-2346"})).status_code == 403
        assert (await client.post("/sign-in", data={"code": CODE})).status_code == 429
        assert (await client.get("/")).status_code == 401


async def test_pages_of_other_sites_and_other_names_of_this_machine_get_nothing(app: ASGIApp) -> None:
    async with browser(app) as client:
        forged = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        response = await client.post("/sign-in", data={"code": CODE}, headers=forged)
        assert response.status_code == 403
    async with browser(app, host="rebound.example") as client:
        assert (await client.get("/")).status_code == 403


async def test_without_write_there_are_no_buttons_and_no_forms_that_change_something(app: ASGIApp) -> None:
    async with browser(app) as client:
        await client.post("/sign-in", data={"code": CODE})
        page = await client.get("/customer?id=acme")
        assert "Create magic link" not in page.text
        token = (await client.get("/customers")).text.partition('name="token" value="')[2].partition('"')[0]
        for path in ("/magic-link", "/repair-link", "/re-read", "/replay", "/resend"):
            fields = {"token": token, "customer": "acme", "event": "0" * 32, "email": "ada@acme.example"}
            assert (await client.post(path, data=fields)).status_code == 404
        assert (await client.post("/customers", data={"token": token, "term": "acme"})).status_code == 200


async def test_with_write_events_are_replayed_and_no_work_of_the_app_runs(
    records: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    del records
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    async with opened(write=True) as app, browser(app) as client:
        await client.post("/sign-in", data={"code": CODE})
        page = (await client.get("/events?handler=app.shaky")).text
        event_id = page.partition("/event?id=")[2].partition('"')[0]
        assert event_id
        page = (await client.get(f"/event?id={event_id}")).text
        token = page.partition('name="token" value="')[2].partition('"')[0]
        done = await client.post("/resend", data={"token": token, "event": event_id})
        assert done.headers["location"].endswith("done=resent")
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not names & {"kombo-embed housekeeping", "kombo-embed counting", "kombo-embed reconciliation"}


def test_it_creates_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    for arguments in (["console", "--no-open"], ["console", "--no-open", "--write"]):
        result = run(*arguments, "--port", "0")
        assert result.exit_code == 1
        assert "There is no database at" in result.output


def test_a_code_has_forty_bits_and_is_another_each_time() -> None:
    codes = {local.make_code() for _ in range(200)}
    assert len(codes) == 200
    assert {len(code.replace("-", "")) for code in codes} == {8}
